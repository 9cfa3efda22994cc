//! The statements of all ways to commit.
//!
//! A statement that locks bounds its own wait for a lock. That needs no round trip, and leaves nothing behind in
//! a session that is somebody else's next, as a pooler makes it.

use std::time::Duration;

use sqlx::SqlStr;

use crate::store::{StoreError, postgres::history::Template};

/// Bounds how long the statement, and all later ones of its transaction, wait for a lock. A statement reads
/// `patience` before it locks anything.
macro_rules! patience_sql {
    ($parameter:literal) => {
        concat!("patience AS MATERIALIZED (SELECT set_config('lock_timeout', ", $parameter, ", true))")
    };
}

/// The statements, over the tables of one schema.
pub(crate) struct Statements {
    pub(super) append: SqlStr,
    pub(super) lock: SqlStr,
    pub(super) lock_free: SqlStr,
    pub(super) epoch: SqlStr,
    pub(super) create_streams: SqlStr,
    pub(super) find: SqlStr,
    pub(super) write: SqlStr,
}

impl Statements {
    pub(crate) fn new(template: &Template<'_>) -> Self {
        Self {
            append: template.sql(APPEND),
            lock: template.sql(LOCK),
            lock_free: template.sql(LOCK_FREE),
            epoch: template.sql(EPOCH),
            create_streams: template.sql(CREATE_STREAMS),
            find: template.sql(FIND),
            write: template.sql(WRITE),
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
        // lock_not_available
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Locks in the order of the names, as every commit does; nothing moves unless all streams are there and the
/// history has a name.
///
/// A stream whose lock is waited for is updated from the version that is current then (READ COMMITTED), so
/// the numbers follow each other whoever else writes.
const APPEND: &str = concat!(
    "WITH ",
    patience_sql!("$10"),
    ", epoch AS MATERIALIZED (
        SELECT {epoch} AS epoch
    ), locked AS MATERIALIZED (
        SELECT s.name FROM patience, {schema}.streams s WHERE s.name = ANY($1)
        ORDER BY s.name FOR UPDATE OF s
    ), moved AS (
        UPDATE {schema}.streams SET head = streams.head + w.events
        FROM locked, unnest($1::text[], $2::bigint[]) AS w (name, events)
        WHERE streams.name = locked.name AND w.name = locked.name
            AND (SELECT count(*) FROM locked) = cardinality($1)
            AND (SELECT left(epoch, 1) <> '?' FROM epoch)
        RETURNING streams.name, streams.head - w.events AS before
    ), written AS (
        INSERT INTO {schema}.events (stream, seq, kind, origin, ts, priority, payload)
        SELECT w.stream, moved.before + w.nth, w.kind, w.origin, $3, w.priority, w.payload::json
        FROM unnest($4::text[], $5::bigint[], $6::text[], $7::text[], $8::smallint[], $9::text[])
                AS w (stream, nth, kind, origin, priority, payload)
            JOIN moved ON moved.name = w.stream
    )
    SELECT epoch.epoch, moved.name, moved.before FROM epoch LEFT JOIN moved ON true"
);

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

/// Writes if the heads of the streams, and the history, are still those that the decision was made on.
const WRITE: &str = concat!(
    "WITH ",
    patience_sql!("$26"),
    ", locked AS MATERIALIZED (
        SELECT s.name, s.head FROM patience, {schema}.streams s WHERE s.name = ANY($22)
        ORDER BY s.name FOR UPDATE OF s
    ), unchanged AS MATERIALIZED (
        SELECT true FROM patience
        WHERE (SELECT coalesce(array_agg(head ORDER BY name), '{}') FROM locked) = $23::bigint[]
            AND {epoch} = $25
    ), written_drafts AS (
        INSERT INTO {schema}.drafts
            (user_id, draft_id, version, kind, content, live, fields, created_at, updated_at)
        SELECT user_id, draft_id, version, kind, content::json, content IS NOT NULL, fields::json,
            created_at, updated_at
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                $7::bigint[], $8::bigint[])
            AS w (user_id, draft_id, version, kind, content, fields, created_at, updated_at), unchanged
        ON CONFLICT (user_id, draft_id) DO UPDATE SET version = excluded.version,
            content = excluded.content, live = excluded.live, fields = excluded.fields,
            updated_at = excluded.updated_at
    ), written_commands AS (
        INSERT INTO {schema}.commands (user_id, device, id, fingerprint, answer, ts)
        SELECT user_id, device, id, fingerprint, answer::json, $9
        FROM unnest($10::text[], $11::text[], $12::text[], $13::bigint[], $14::text[])
            AS w (user_id, device, id, fingerprint, answer), unchanged
    ), written_events AS (
        INSERT INTO {schema}.events (stream, seq, kind, origin, ts, priority, payload)
        SELECT stream, seq, kind, origin, ts, priority, payload::json
        FROM unnest($15::text[], $16::bigint[], $17::text[], $18::text[], $19::bigint[],
                $20::smallint[], $21::text[])
            AS w (stream, seq, kind, origin, ts, priority, payload), unchanged
    ), moved AS (
        UPDATE {schema}.streams SET head = w.head
        FROM unnest($22::text[], $24::bigint[]) AS w (name, head), unchanged
        WHERE streams.name = w.name
    )
    SELECT count(*) FROM unchanged"
);
