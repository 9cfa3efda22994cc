//! Commits.
//!
//! A batch is decided on what is known, or else read, and written with one statement if nobody else has changed its
//! streams since (`optimistic`). Whoever was overtaken takes a transaction of five round trips (`locked`). Where
//! another transaction holds a lock for long, the batch is committed without what needs it (`around`). They share
//! their statements and steps, and call nothing here.

mod around;
mod known;
mod locked;
mod optimistic;
mod statements;
mod steps;
mod write;

use std::time::Duration;

use sqlx::PgConnection;

pub(super) use self::statements::Statements;
use self::{
    optimistic::DecideOn,
    statements::LockWait,
    steps::{Attempt, create_streams},
};
use super::state_cache::StateCache;
use crate::store::{Committed, Limits, StoreError, Write, plan::Batch};

/// Attempts at one commit. Each that fails makes one obstacle known: streams without a row, another node that
/// writes to them, or a key that another batch was using at the same moment. Where more are in the way, the
/// writes go one by one, and each meets at most one of each.
const ATTEMPTS_MAX: usize = 5;

/// Decides and commits writes, of which there is one at least, without those that another transaction keeps
/// from being tried for longer than `lock_wait`.
pub(super) async fn commit_within(
    connection: &mut PgConnection,
    sql: &Statements,
    states: &StateCache,
    writes: &[Write],
    limits: &Limits,
    lock_wait: Duration,
) -> Result<Committed, StoreError> {
    match attempt(connection, sql, states, &Batch::new(writes), limits, LockWait(lock_wait)).await? {
        Some(committed) => Ok(committed),
        None => around::commit(connection, sql, writes, limits, lock_wait).await,
    }
}

/// Decides and commits writes, of which there is one at least, all of them or none.
pub(super) async fn commit(
    connection: &mut PgConnection,
    sql: &Statements,
    states: &StateCache,
    writes: &[Write],
    limits: &Limits,
    lock_wait: Duration,
) -> Result<Committed, StoreError> {
    let committed =
        attempt(connection, sql, states, &Batch::new(writes), limits, LockWait(lock_wait)).await?;
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
    states: &StateCache,
    batch: &Batch<'_>,
    limits: &Limits,
    lock_wait: LockWait,
) -> Result<Option<Committed>, StoreError> {
    // `None` under locks.
    let mut decide_on = Some(DecideOn::Memory);
    for _ in 0..ATTEMPTS_MAX {
        let attempt = match decide_on {
            Some(decide_on) => {
                optimistic::commit(connection, sql, states, batch, limits, lock_wait, decide_on).await?
            }
            None => locked::commit(connection, sql, batch, limits, lock_wait).await?,
        };
        match attempt {
            Attempt::Committed(committed) => return Ok(Some(committed)),
            Attempt::NewStreams => {
                if !create_streams(connection, sql, batch.streams(), lock_wait).await? {
                    return Ok(None);
                }
            }
            Attempt::Locked => return Ok(None),
            // Whoever used the key has committed: whoever reads it sees it.
            Attempt::KeyTaken | Attempt::NeedsReads => decide_on = decide_on.map(|_| DecideOn::Database),
            Attempt::NeedsLocks => decide_on = None,
        }
    }
    Err(StoreError::Failed("commit gave up after 5 attempts: idempotency key contention".to_owned()))
}

#[cfg(test)]
mod tests;
