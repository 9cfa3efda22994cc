//! The statements of all ways to commit.
//!
//! A statement that locks bounds its own wait for a lock. That needs no round trip, and leaves nothing behind in
//! a session that is somebody else's next, as a pooler makes it.

use std::time::Duration;

use sqlx::SqlStr;

use crate::store::{StoreError, postgres::history::Template, timing};

/// Bounds how long the statement, and all later ones of its transaction, wait for a lock. A statement reads
/// `patience` before it locks anything.
macro_rules! patience_sql {
    ($parameter:literal) => {
        concat!("patience AS MATERIALIZED (SELECT set_config('lock_timeout', ", $parameter, ", true))")
    };
}

/// The statements, over the tables of one schema.
pub(crate) struct Statements {
    pub(super) lock: SqlStr,
    pub(super) lock_free: SqlStr,
    pub(super) epoch: SqlStr,
    pub(super) create_streams: SqlStr,
    pub(super) find: SqlStr,
    pub(super) write_one: SqlStr,
    pub(super) write_many: SqlStr,
}

impl Statements {
    pub(crate) fn new(template: &Template<'_>) -> Self {
        Self {
            lock: template.sql(LOCK),
            lock_free: template.sql(LOCK_FREE),
            epoch: template.sql(EPOCH),
            create_streams: template.sql(CREATE_STREAMS),
            find: template.sql(FIND),
            write_one: template.sql(&write(MOVE_ONE, one)),
            write_many: template.sql(&write(MOVE_MANY, many)),
        }
    }
}

/// How long a statement waits for each lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockWait(pub(super) Duration);

impl LockWait {
    /// As Postgres takes it. Zero would be without end.
    pub(super) fn setting(self) -> String {
        format!("{}ms", self.0.as_millis().max(1))
    }
}

/// Returns the result of a statement; `None` when it was ended because it had to wait too long for a lock.
pub(super) fn unless_locked<T>(answer: Result<T, sqlx::Error>) -> Result<Option<T>, StoreError> {
    match answer {
        Err(error) if timing::is_lock_timeout(&error) => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Locks the streams of a batch.
const LOCK: &str = concat!(
    "WITH ",
    patience_sql!("$2"),
    " SELECT s.name, s.head, {epoch} AS epoch FROM patience, {schema}.streams s WHERE s.name = ANY($1) ORDER BY s.name FOR UPDATE OF s"
);

/// The name of the history.
const EPOCH: &str = "SELECT {epoch}";

/// Locks the streams that nobody else has, and says of the others whether they have a row.
const LOCK_FREE: &str = concat!(
    "WITH ",
    patience_sql!("$2"),
    ", epoch AS MATERIALIZED (SELECT {epoch} AS epoch), free AS MATERIALIZED (
        SELECT s.name, s.head FROM patience, {schema}.streams s WHERE s.name = ANY($1)
        ORDER BY s.name FOR UPDATE OF s SKIP LOCKED
    )
    SELECT w.name, free.head, epoch.epoch, s.name IS NOT NULL AS exists
    FROM epoch CROSS JOIN unnest($1::text[]) AS w (name)
    LEFT JOIN free ON free.name = w.name
    LEFT JOIN {schema}.streams s ON s.name = w.name"
);

/// Makes the rows of streams that have none.
const CREATE_STREAMS: &str = concat!(
    "WITH ",
    patience_sql!("$2"),
    " INSERT INTO {schema}.streams (name)
    SELECT name FROM patience, unnest($1::text[]) AS new (name) ORDER BY name COLLATE \"C\"
    ON CONFLICT DO NOTHING"
);

/// Looks up what writes depend on, with the heads of their users' streams at the same moment.
const FIND: &str = "WITH epoch AS MATERIALIZED (SELECT {epoch} AS epoch)
    SELECT epoch.epoch, s.head, w.ord, c.fingerprint, c.answer::text, d.version, d.kind, d.content::text,
        d.fields::text, d.created_at, d.updated_at,
        CASE WHEN w.counts THEN (
            SELECT count(*) FROM {schema}.drafts WHERE user_id = w.user_id AND live AND content IS NOT NULL
        ) END AS live
    FROM epoch
    CROSS JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::bigint[])
        AS w (user_id, device, id, draft_id, counts, ord)
    LEFT JOIN {schema}.streams s ON s.name = 'user:' || w.user_id
    LEFT JOIN {schema}.commands c ON c.user_id = w.user_id AND c.device = w.device AND c.id = w.id
    LEFT JOIN {schema}.drafts d ON d.user_id = w.user_id AND d.draft_id = w.draft_id";

/// Writes what was decided, if the history and those heads that the decision was made on are still the same.
///
/// It moves the heads and returns where they stood; all else is written only if it did. A stream without an
/// expected head may stand anywhere: its events are numbered behind the head that is found, and so are the answers
/// of commands, which say their numbers. In READ COMMITTED, a row that another transaction held is updated from the
/// version that this one has left, so the numbers follow each other whoever else writes.
const WRITE: &str = concat!(
    "WITH ",
    patience_sql!("$1"),
    ", epoch AS MATERIALIZED (
        SELECT {epoch} AS epoch
    ), {move}, written_drafts AS (
        INSERT INTO {schema}.drafts
            (user_id, draft_id, version, kind, content, live, fields, created_at, updated_at)
        SELECT w.user_id, w.draft_id, w.version, w.kind, w.content::json, w.content IS NOT NULL, w.fields::json,
            w.created_at, w.updated_at
        FROM {drafts} AS w (user_id, draft_id, version, kind, content, fields, created_at, updated_at), unchanged
        WHERE w.user_id IS NOT NULL
        ON CONFLICT (user_id, draft_id) DO UPDATE SET version = excluded.version,
            content = excluded.content, live = excluded.live, fields = excluded.fields,
            updated_at = excluded.updated_at
    ), written_commands AS (
        INSERT INTO {schema}.commands (user_id, device, id, fingerprint, answer, ts)
        SELECT w.user_id, w.device, w.id, w.fingerprint, CASE WHEN w.stream IS NULL THEN w.answer::json
            ELSE json_build_object('first', moved.before + w.first, 'seq', moved.before + w.last) END, $3
        FROM {commands} AS w (user_id, device, id, fingerprint, answer, stream, first, last)
            CROSS JOIN unchanged LEFT JOIN moved ON moved.name = w.stream
        WHERE w.user_id IS NOT NULL
    ), written_events AS (
        INSERT INTO {schema}.events (stream, seq, kind, origin, ts, priority, payload)
        SELECT w.stream, moved.before + w.nth, w.kind, w.origin, $3, w.priority, w.payload::json
        FROM {events} AS w (stream, nth, kind, origin, priority, payload)
            JOIN moved ON moved.name = w.stream
    )
    SELECT epoch.epoch, moved.name, moved.before, (SELECT count(*) FROM unchanged) = 1 AS unchanged,
        (SELECT count(*) FROM {schema}.streams s WHERE s.name = ANY({names})
            AND NOT EXISTS (SELECT FROM unchanged)) AS exist
    FROM epoch LEFT JOIN moved ON true"
);

/// One stream with one event: the update is the lock, and the comparison. As nearly every commit of a node that is
/// not busy, it is worth a plan of its own, which takes two thirds of the time.
const MOVE_ONE: &str = "moved AS (
        UPDATE {schema}.streams SET head = streams.head + w.events
        FROM patience, epoch, {streams} AS w (name, expected, events)
        WHERE streams.name = w.name AND streams.head = coalesce(w.expected, streams.head)
            AND CASE WHEN $2::text IS NULL THEN left(epoch.epoch, 1) <> '?' ELSE epoch.epoch = $2 END
        RETURNING streams.name, streams.head - w.events AS before
    ), unchanged AS MATERIALIZED (
        SELECT true FROM moved
    )";

/// Locks in the order of the names, as every commit does.
const MOVE_MANY: &str = "locked AS MATERIALIZED (
        SELECT s.name, s.head FROM patience, {schema}.streams s WHERE s.name = ANY($4)
        ORDER BY s.name FOR UPDATE OF s
    ), unchanged AS MATERIALIZED (
        SELECT true FROM patience, epoch
        WHERE CASE WHEN $2::text IS NULL THEN left(epoch.epoch, 1) <> '?' ELSE epoch.epoch = $2 END
            AND cardinality($4::text[]) = (
                SELECT count(*) FROM locked JOIN unnest($4::text[], $5::bigint[]) AS w (name, expected)
                    ON w.name = locked.name AND locked.head = coalesce(w.expected, locked.head)
            )
    ), moved AS (
        UPDATE {schema}.streams SET head = streams.head + w.events
        FROM unchanged, {streams} AS w (name, expected, events)
        WHERE streams.name = w.name
        RETURNING streams.name, streams.head - w.events AS before
    )";

/// The statement for a set of rows, or for a single one of each kind.
fn write(move_heads: &str, rows: fn(usize, &[&str]) -> String) -> String {
    WRITE
        .replace("{move}", move_heads)
        .replace("{names}", if move_heads == MOVE_ONE { "ARRAY[$4::text]" } else { "$4::text[]" })
        .replace("{streams}", &rows(4, &["text", "bigint", "bigint"]))
        .replace(
            "{drafts}",
            &rows(7, &["text", "text", "bigint", "text", "text", "text", "bigint", "bigint"]),
        )
        .replace(
            "{commands}",
            &rows(15, &["text", "text", "text", "bigint", "text", "text", "bigint", "bigint"]),
        )
        .replace("{events}", &rows(23, &["text", "bigint", "text", "text", "smallint", "text"]))
}

/// A row of parameters. Postgres plans it as if they stood where they are used.
fn one(first: usize, types: &[&str]) -> String {
    let parameters = types.iter().zip(first..).map(|(of, at)| format!("${at}::{of}"));
    format!("(VALUES ({}))", parameters.collect::<Vec<_>>().join(", "))
}

/// Rows, with a parameter for each column.
fn many(first: usize, types: &[&str]) -> String {
    let parameters = types.iter().zip(first..).map(|(of, at)| format!("${at}::{of}[]"));
    format!("unnest({})", parameters.collect::<Vec<_>>().join(", "))
}
