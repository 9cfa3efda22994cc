//! Appends that depend on nothing but where their streams stand: one statement instead of a transaction.
//!
//! What a backend publishes without a key needs no look at what is there. So its events are numbered by the
//! database while it moves the heads: one round trip, and the streams are locked for as long as that takes.

use std::collections::HashMap;

use common::{Seq, Stream, time::unix_ms};
use sqlx::{PgConnection, Row};

use super::{
    statements::{LockWait, Statements, unless_locked},
    steps::Attempt,
};
use crate::store::{
    Committed, Limits, StoreError,
    plan::{Batch, State, decide},
    rows::{self, column, signed},
};

/// Decides and commits a batch that looks nothing up.
pub(super) async fn commit(
    connection: &mut PgConnection,
    sql: &Statements,
    batch: &Batch<'_>,
    limits: &Limits,
    lock_wait: LockWait,
) -> Result<Attempt, StoreError> {
    let now = unix_ms();
    // As if the streams were empty: what is decided does not depend on where they stand, only the numbers do.
    let mut plan = decide(batch, State::default(), limits, now);
    if plan.changes_nothing() {
        // There is nothing to ask for the epoch with.
        return Ok(Attempt::NeedsLocks);
    }
    let events = &plan.events;
    let found = sqlx::query(sql.append.clone())
        .bind(column(&plan.heads, |(stream, _)| stream.key()))
        .bind(column(&plan.heads, |(_, events)| signed(events.0)))
        .bind(signed(now))
        .bind(column(events, |event| event.stream.key()))
        .bind(column(events, |event| signed(event.seq.0)))
        .bind(column(events, |event| event.kind.as_str()))
        .bind(column(events, |event| event.origin.as_str()))
        .bind(column(events, |event| i16::from(event.priority.number())))
        .bind(column(events, |event| event.payload.get()))
        .bind(lock_wait.setting())
        .fetch_all(connection)
        .await;
    let Some(found) = unless_locked(found)? else { return Ok(Attempt::Locked) };
    let Some(first) = found.first() else { return Ok(Attempt::NewStreams) };
    let epoch = rows::epoch(first.try_get("epoch")?)?;
    if first.try_get::<Option<&str>, _>("name")?.is_none() {
        return Ok(Attempt::NewStreams);
    }
    let before = found.iter().map(|row| rows::position(row.try_get("name")?, row.try_get("before")?));
    let before: HashMap<Stream, Seq> = before.collect::<Result<_, StoreError>>()?;
    plan.continue_from(batch, &before);
    Ok(Attempt::Committed(Committed { epoch, events: plan.events, answers: plan.answers }))
}
