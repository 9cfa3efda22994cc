//! Changes that look something up, in a transaction: begin, lock the streams, read, write, commit.
//!
//! The streams are locked first although only their last line needs it, because a merge reads what it
//! changes: nobody but other writers of the same streams waits for it.

use std::collections::HashMap;

use common::{Epoch, Seq, Stream, time::unix_ms};
use sqlx::{Connection, PgConnection, PgTransaction, Row};

use super::{
    statements::{LockWait, Statements, unless_locked},
    steps::{Attempt, find},
    write::{Basis, write},
};
use crate::{
    operations::Statement,
    store::{
        Committed, Limits, StoreError,
        plan::{Batch, State, decide},
        rows,
        timing::timed,
    },
};

/// The heads of a batch's streams when they were locked, and their history.
pub(super) struct Locked {
    pub(super) epoch: Epoch,
    pub(super) heads: HashMap<Stream, Seq>,
}

/// Decides and commits in one transaction.
pub(super) async fn commit(
    connection: &mut PgConnection,
    sql: &Statements,
    batch: &Batch<'_>,
    limits: &Limits,
    lock_wait: LockWait,
) -> Result<Attempt, StoreError> {
    let mut transaction = connection.begin().await?;
    match lock(&mut transaction, sql, batch, lock_wait).await? {
        Ok(locked) => finish(transaction, sql, batch, limits, locked, lock_wait).await,
        Err(obstacle) => {
            transaction.rollback().await?;
            Ok(obstacle)
        }
    }
}

/// Decides a batch whose streams are locked by the transaction, writes, and ends it.
pub(super) async fn finish(
    mut transaction: PgTransaction<'_>,
    sql: &Statements,
    batch: &Batch<'_>,
    limits: &Limits,
    Locked { epoch, heads }: Locked,
    lock_wait: LockWait,
) -> Result<Attempt, StoreError> {
    let mut state = State { heads, ..State::default() };
    let lookups = batch.lookups();
    if !lookups.is_empty() {
        // A statement of its own: its snapshot is younger than the locks, so it sees what the last
        // holder of each committed.
        let found = find(&mut transaction, sql, &lookups).await?;
        rows::fill_state(found.into_iter().map(|found| found.lookup), batch, &mut state)?;
    }
    let basis = Basis { epoch: Some(epoch.clone()), heads: state.heads.clone() };
    let now = unix_ms();
    let plan = decide(batch, &mut state, limits, now);
    if plan.changes_nothing() {
        transaction.rollback().await?;
    } else if let Err(obstacle) = write(&mut transaction, sql, &plan, &basis, now, lock_wait).await? {
        transaction.rollback().await?;
        return Ok(obstacle);
    } else {
        transaction.commit().await?;
    }
    Ok(Attempt::Committed(Committed { epoch, events: plan.events, answers: plan.answers }))
}

async fn lock(
    transaction: &mut PgTransaction<'_>,
    sql: &Statements,
    batch: &Batch<'_>,
    lock_wait: LockWait,
) -> Result<Result<Locked, Attempt>, StoreError> {
    let names: Vec<String> = batch.streams().iter().map(Stream::key).collect();
    let lock = sqlx::query(sql.lock.clone()).bind(names).bind(lock_wait.setting());
    let rows = timed(Statement::Lock, lock.fetch_all(&mut **transaction)).await;
    let Some(rows) = unless_locked(rows)? else { return Ok(Err(Attempt::Locked)) };
    if rows.len() < batch.streams().len() {
        return Ok(Err(Attempt::NewStreams));
    }
    let Some(first) = rows.first() else { return Ok(Err(Attempt::NewStreams)) };
    let epoch = rows::epoch(first.try_get("epoch")?)?;
    let heads = rows.iter().map(|row| rows::position(row.try_get("name")?, row.try_get("head")?));
    Ok(Ok(Locked { epoch, heads: heads.collect::<Result<_, _>>()? }))
}
