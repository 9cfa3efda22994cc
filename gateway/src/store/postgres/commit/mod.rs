//! Commits.
//!
//! A commit is one of three, by what a batch depends on, whatever its size. Appends that depend on nothing are
//! one statement (`append`). Changes of drafts are read and, if nobody else has changed their streams since,
//! written: two statements (`optimistic`). All else, and whoever was overtaken, takes a transaction of five
//! round trips (`locked`). Where another transaction holds a lock for long, the batch is committed without what
//! needs it (`around`).

/// Bounds how long the statement, and all later ones of its transaction, wait for a lock. A statement reads
/// `patience` before it locks anything. It needs no round trip of its own, and leaves nothing behind in a session
/// that is somebody else's next, as a pooler makes it.
macro_rules! patience_sql {
    ($parameter:literal) => {
        concat!("patience AS MATERIALIZED (SELECT set_config('lock_timeout', ", $parameter, ", true))")
    };
}

mod append;
mod around;
mod locked;
mod optimistic;

use std::{collections::HashMap, time::Duration};

use common::{Epoch, Seq, Stream};
use sqlx::{PgConnection, SqlStr};

use super::{column, history::Template};
use crate::store::{
    Committed, Limits, StoreError, Write,
    plan::{Batch, Lookup, Plan, State, decide},
    rows::{self, LookupRow, signed},
};

/// Attempts at one commit. Each that fails makes one obstacle known: streams without a row, another node that
/// writes to them, or a key that another batch was using at the same moment. Where more are in the way, the
/// writes go one by one, and each meets at most one of each.
const ATTEMPTS_MAX: usize = 5;

/// The statements of all three, over the tables of one schema.
pub(super) struct Statements {
    append: SqlStr,
    lock: SqlStr,
    lock_free: SqlStr,
    epoch: SqlStr,
    create_streams: SqlStr,
    find: SqlStr,
    write: SqlStr,
}

impl Statements {
    pub(super) fn new(template: &Template<'_>) -> Self {
        Self {
            append: template.sql(append::APPEND),
            lock: template.sql(locked::LOCK),
            lock_free: template.sql(around::LOCK_FREE),
            epoch: template.sql(around::EPOCH),
            create_streams: template.sql(CREATE_STREAMS),
            find: template.sql(FIND),
            write: template.sql(WRITE),
        }
    }
}

/// What came of an attempt to commit; only the first has done anything.
enum Attempt {
    Committed(Committed),
    /// A stream has no row yet.
    NewStreams,
    /// A batch for other streams has remembered a command under the key of one of ours.
    KeyTaken,
    /// Another transaction holds a row or a key for longer than is waited for.
    Locked,
    /// The streams have moved since they were looked at, or there is nothing to write.
    NeedsLocks,
}

/// How long a statement waits for each lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct LockWait(pub(super) Duration);

impl LockWait {
    /// As Postgres takes it. Zero would be without end.
    fn setting(self) -> String {
        format!("{}ms", self.0.as_millis().max(1))
    }
}

/// The rows of a statement; `None` when it was ended because it had to wait for a lock for too long.
fn unless_locked<T>(answer: Result<T, sqlx::Error>) -> Result<Option<T>, StoreError> {
    match answer {
        // lock_not_available
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => Ok(None),
        other => Ok(Some(other?)),
    }
}

/// Decides and commits writes, of which there is one at least, without those that another transaction keeps
/// from being tried for longer than `lock_wait`.
pub(super) async fn commit_within(
    connection: &mut PgConnection,
    sql: &Statements,
    writes: &[Write],
    limits: &Limits,
    lock_wait: Duration,
) -> Result<Committed, StoreError> {
    match attempt(connection, sql, &Batch::new(writes), limits, LockWait(lock_wait)).await? {
        Some(committed) => Ok(committed),
        None => around::commit(connection, sql, writes, limits, lock_wait).await,
    }
}

/// Decides and commits writes, of which there is one at least, all of them or none.
pub(super) async fn commit(
    connection: &mut PgConnection,
    sql: &Statements,
    writes: &[Write],
    limits: &Limits,
    lock_wait: Duration,
) -> Result<Committed, StoreError> {
    let committed = attempt(connection, sql, &Batch::new(writes), limits, LockWait(lock_wait)).await?;
    committed.ok_or_else(|| StoreError::Unavailable("another transaction holds a lock".to_owned()))
}

/// Decides and commits a batch; `None` when a lock is in the way.
///
/// # Errors
/// [`StoreError::Failed`] also when others are in the way time and again: the writes of a batch go one by one
/// then.
async fn attempt(
    connection: &mut PgConnection,
    sql: &Statements,
    batch: &Batch<'_>,
    limits: &Limits,
    lock_wait: LockWait,
) -> Result<Option<Committed>, StoreError> {
    let mut needs_locks = false;
    for _ in 0..ATTEMPTS_MAX {
        let attempt = if !needs_locks && batch.lookups().is_empty() {
            append::commit(connection, sql, batch, limits, lock_wait).await?
        } else if !needs_locks && batch.changes_drafts_only() {
            optimistic::commit(connection, sql, batch, limits, lock_wait).await?
        } else {
            locked::commit(connection, sql, batch, limits, lock_wait).await?
        };
        match attempt {
            Attempt::Committed(committed) => return Ok(Some(committed)),
            Attempt::NewStreams => {
                if !create_streams(connection, sql, batch.streams(), lock_wait).await? {
                    return Ok(None);
                }
            }
            Attempt::Locked => return Ok(None),
            // Whoever used the key has committed: the next attempt sees it.
            Attempt::KeyTaken => {}
            Attempt::NeedsLocks => needs_locks = true,
        }
    }
    Err(StoreError::Failed("keys of commands keep being taken by others".to_owned()))
}

const CREATE_STREAMS: &str = concat!(
    "WITH ",
    patience_sql!("$2"),
    " INSERT INTO {schema}.streams (name)
    SELECT name FROM patience, unnest($1::text[]) AS new (name) ORDER BY name COLLATE \"C\"
    ON CONFLICT DO NOTHING"
);

/// What writes depend on, with where the streams of their users stand at the same moment.
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

/// Writes if the streams still stand where the decision was made, in the same history.
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

/// Makes the rows of streams that had no event yet, in a transaction of its own: made inside the
/// commit, a row would be locked out of order, after streams that sort behind it.
///
/// Returns whether they are there; otherwise another transaction is making one of them.
async fn create_streams(
    connection: &mut PgConnection,
    sql: &Statements,
    streams: &[Stream],
    lock_wait: LockWait,
) -> Result<bool, StoreError> {
    let names: Vec<String> = streams.iter().map(Stream::key).collect();
    let create = sqlx::query(sql.create_streams.clone()).bind(names).bind(lock_wait.setting());
    Ok(unless_locked(create.execute(connection).await)?.is_some())
}

/// A lookup's row, and where the stream of its user stood then; no head where that has no row yet.
#[derive(sqlx::FromRow)]
struct Found {
    #[sqlx(flatten)]
    lookup: LookupRow,
    epoch: String,
    head: Option<i64>,
}

async fn find(
    connection: &mut PgConnection,
    sql: &Statements,
    lookups: &[Lookup<'_>],
) -> Result<Vec<Found>, StoreError> {
    let rows = sqlx::query_as(sql.find.clone())
        .bind(column(lookups, |lookup| lookup.user.as_str()))
        .bind(column(lookups, |lookup| lookup.device.as_str()))
        .bind(column(lookups, |lookup| lookup.id.map(|id| id.as_str())))
        .bind(column(lookups, |lookup| lookup.draft_id.map(|id| id.as_str())))
        .bind(column(lookups, |lookup| lookup.count))
        .bind(column(lookups, |lookup| signed(lookup.index as u64)))
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

/// Writes what was decided when the streams stood at `before`; or answers what is in the way, and has done
/// nothing. A key that is taken also ends the transaction, if there is one.
async fn write(
    connection: &mut PgConnection,
    sql: &Statements,
    plan: &Plan,
    before: &HashMap<Stream, Seq>,
    epoch: &Epoch,
    now: u64,
    lock_wait: LockWait,
) -> Result<Option<Attempt>, StoreError> {
    let Plan { drafts, commands, events, heads, .. } = plan;
    // In the order in which the database compares their names.
    let mut heads: Vec<_> = heads.iter().map(|(stream, head)| (stream.key(), stream, head)).collect();
    heads.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let heads = heads.as_slice();
    let stood = |stream| signed(before.get(stream).copied().unwrap_or_default().0);
    let json = |value| serde_json::to_string(value).expect("an answer consists of strings and numbers");
    let fields = |value| serde_json::to_string(value).expect("a map with keys that are strings");
    let written = sqlx::query_scalar::<_, i64>(sql.write.clone())
        .bind(column(drafts, |(user, ..)| user.as_str()))
        .bind(column(drafts, |(_, id, _)| id.as_str()))
        .bind(column(drafts, |(.., row)| signed(row.version.0)))
        .bind(column(drafts, |(.., row)| row.kind.as_str()))
        .bind(column(drafts, |(.., row)| row.content.as_ref().map(|content| content.json())))
        .bind(column(drafts, |(.., row)| fields(&row.fields)))
        .bind(column(drafts, |(.., row)| signed(row.created_at)))
        .bind(column(drafts, |(.., row)| signed(row.updated_at)))
        .bind(signed(now))
        .bind(column(commands, |(user, ..)| user.as_str()))
        .bind(column(commands, |(_, device, ..)| device.as_str()))
        .bind(column(commands, |(_, _, id, _)| id.as_str()))
        .bind(column(commands, |(.., remembered)| remembered.fingerprint))
        .bind(column(commands, |(.., remembered)| json(&remembered.answer)))
        .bind(column(events, |event| event.stream.key()))
        .bind(column(events, |event| signed(event.seq.0)))
        .bind(column(events, |event| event.kind.as_str()))
        .bind(column(events, |event| event.origin.as_str()))
        .bind(column(events, |event| signed(event.timestamp)))
        .bind(column(events, |event| i16::from(event.priority.number())))
        .bind(column(events, |event| event.payload.get()))
        .bind(column(heads, |(key, ..)| key.as_str()))
        .bind(column(heads, |(_, stream, _)| stood(*stream)))
        .bind(column(heads, |(.., head)| signed(head.0)))
        .bind(epoch.to_string())
        .bind(lock_wait.setting())
        .fetch_one(connection)
        .await;
    match written {
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("commands_pkey") => {
            Ok(Some(Attempt::KeyTaken))
        }
        other => Ok(match unless_locked(other)? {
            None => Some(Attempt::Locked),
            Some(0) => Some(Attempt::NeedsLocks),
            Some(_) => None,
        }),
    }
}

#[cfg(test)]
mod tests;
