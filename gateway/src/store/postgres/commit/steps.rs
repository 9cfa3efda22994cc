//! The steps that several ways to commit have in common: create the rows of streams, and look up.

use common::Stream;
use sqlx::PgConnection;

use super::statements::{LockWait, Statements, unless_locked};
use crate::{
    operations::Statement,
    store::{
        Committed, StoreError,
        plan::Lookup,
        rows::{LookupRow, column, signed},
        timing::timed,
    },
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
    /// What is remembered of the streams does not decide the batch: it has to be read.
    NeedsReads,
    /// The streams have moved since they were read, or there is nothing to write.
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
    let created = timed(Statement::CreateStreams, create.execute(connection)).await;
    Ok(unless_locked(created)?.is_some())
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
    let find = sqlx::query_as(sql.find.clone())
        .bind(column(lookups, |lookup| lookup.user.as_str()))
        .bind(column(lookups, |lookup| lookup.device.as_str()))
        .bind(column(lookups, |lookup| lookup.id.map(|id| id.as_str())))
        .bind(column(lookups, |lookup| lookup.draft_id.map(|id| id.as_str())))
        .bind(column(lookups, |lookup| lookup.count))
        .bind(column(lookups, |lookup| signed(lookup.index as u64)));
    Ok(timed(Statement::Find, find.fetch_all(connection)).await?)
}
