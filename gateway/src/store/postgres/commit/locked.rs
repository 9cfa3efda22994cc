//! Changes that look something up, in a transaction: begin, lock the streams, read, write, commit.
//!
//! The streams are locked first although only their last line needs it, because a merge reads what it
//! changes: nobody but other writers of the same streams waits for it.

use std::collections::HashMap;

use common::{Epoch, Seq, Stream, time::unix_ms};
use sqlx::{Connection, PgConnection, PgTransaction, Row};

use super::{Attempt, Batch, Committed, Limits, State, Statements, StoreError, decide, find, rows, write};

pub(super) const LOCK: &str = concat!(
    "SELECT name, head, ",
    epoch_sql!(),
    " AS epoch FROM {schema}.streams WHERE name = ANY($1) ORDER BY name FOR UPDATE"
);

/// Decides and commits in one transaction.
pub(super) async fn commit(
    connection: &mut PgConnection,
    sql: &Statements,
    batch: &Batch<'_>,
    limits: &Limits,
) -> Result<Attempt, StoreError> {
    let mut transaction = connection.begin().await?;
    let Some((epoch, heads)) = lock(&mut transaction, sql, batch).await? else {
        transaction.rollback().await?;
        return Ok(Attempt::NewStreams);
    };
    let mut state = State { heads, ..State::default() };
    let lookups = batch.lookups();
    if !lookups.is_empty() {
        // A statement of its own: its snapshot is younger than the locks, so it sees what the last
        // holder of each committed.
        let found = find(&mut transaction, sql, &lookups).await?;
        rows::file(found.into_iter().map(|found| found.lookup), batch, &mut state)?;
    }
    let before = state.heads.clone();
    let now = unix_ms();
    let plan = decide(batch, state, limits, now);
    if plan.changes_nothing() {
        transaction.rollback().await?;
    } else if let Some(obstacle) = write(&mut transaction, sql, &plan, &before, &epoch, now).await? {
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
) -> Result<Option<(Epoch, HashMap<Stream, Seq>)>, StoreError> {
    let names: Vec<String> = batch.streams().iter().map(Stream::key).collect();
    let rows = sqlx::query(sql.lock.clone()).bind(names).fetch_all(&mut **transaction).await?;
    if rows.len() < batch.streams().len() {
        return Ok(None);
    }
    let Some(first) = rows.first() else { return Ok(None) };
    let epoch = rows::epoch(first.try_get("epoch")?)?;
    let heads = rows.iter().map(|row| rows::position(row.try_get("name")?, row.try_get("head")?));
    Ok(Some((epoch, heads.collect::<Result<_, _>>()?)))
}
