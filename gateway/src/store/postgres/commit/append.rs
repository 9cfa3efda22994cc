//! Appends that depend on nothing but where their streams stand: one statement instead of a transaction.
//!
//! What a backend publishes without a key needs no look at what is there. So its events are numbered by the
//! database while it moves the heads: one round trip, and the streams are locked for as long as that takes.

use std::collections::HashMap;

use common::{Seq, Stream, time::unix_ms};
use sqlx::{PgConnection, Row};

use super::{
    Attempt, Batch, Committed, Limits, LockWait, State, Statements, StoreError, column, decide, rows, signed,
    unless_locked,
};

/// Locks in the order of the names, as every commit does; nothing moves unless all streams are there and the
/// history has a name.
///
/// A stream whose lock is waited for is updated from the version that is current then (READ COMMITTED), so
/// the numbers follow each other whoever else writes.
pub(super) const APPEND: &str = concat!(
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
