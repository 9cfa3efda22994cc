//! The steps that several ways to commit have in common: create the rows of streams, look up, write.

use std::collections::HashMap;

use common::{Epoch, Seq, Stream};
use sqlx::PgConnection;

use super::statements::{LockWait, Statements, unless_locked};
use crate::store::{
    Committed, StoreError,
    plan::{Lookup, Plan},
    rows::{LookupRow, column, signed},
};

/// The result of an attempt to commit; only the first has done anything.
pub(super) enum Attempt {
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

/// Makes the rows of streams that had no event yet, in a transaction of its own: made inside the
/// commit, a row would be locked out of order, after streams that sort behind it.
///
/// Returns whether they are there; otherwise another transaction is making one of them.
pub(super) async fn create_streams(
    connection: &mut PgConnection,
    sql: &Statements,
    streams: &[Stream],
    lock_wait: LockWait,
) -> Result<bool, StoreError> {
    let names: Vec<String> = streams.iter().map(Stream::key).collect();
    let create = sqlx::query(sql.create_streams.clone()).bind(names).bind(lock_wait.setting());
    Ok(unless_locked(create.execute(connection).await)?.is_some())
}

/// A lookup's row, and the head of its user's stream at the same moment; no head where that has no row yet.
#[derive(sqlx::FromRow)]
pub(super) struct Found {
    #[sqlx(flatten)]
    pub(super) lookup: LookupRow,
    pub(super) epoch: String,
    pub(super) head: Option<i64>,
}

/// Looks up what the decision depends on.
pub(super) async fn find(
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

/// Writes what was decided when the heads of the streams were `before`. Otherwise it writes nothing and returns
/// what is in the way. A key that is taken also ends the transaction, if there is one.
pub(super) async fn write(
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
    let head_before = |stream| signed(before.get(stream).copied().unwrap_or_default().0);
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
        .bind(column(heads, |(_, stream, _)| head_before(*stream)))
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
