//! How long statements take, by name, and what a slow one has waited for.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use common::operations::Outcome;
use sqlx::postgres::{PgQueryResult, PgRow};
use tracing::warn;

use super::{StoreError, failure::within};
use crate::operations::{SlowKind, Statement, may_report};

tokio::task_local! {
    /// What the present call has waited for.
    static WAITS: Waits;
}

/// What a call has waited for, until now.
#[derive(Debug, Default)]
struct Waits {
    pool: Cell<Duration>,
    locks: Cell<Duration>,
}

/// Ends a call at the store's time limit, as [`within`] does, and keeps what it waits for.
pub(super) async fn call<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    WAITS.scope(Waits::default(), within(limit, call)).await
}

/// Notes that the present call has waited for a connection.
pub(super) fn waited_for_pool(waited: Duration) {
    // A connection that is taken outside of a call, as for a check at the start, has none to add to.
    let _ = WAITS.try_with(|waits| waits.pool.set(waits.pool.get() + waited));
}

/// Runs a statement, and measures it. One that is given up, because its call has reached the time limit, counts as an
/// error.
pub(super) async fn timed<T: Rows>(
    statement: Statement,
    run: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let began = Instant::now();
    // Locking is all that this one does.
    let waits_for_locks = statement == Statement::Lock;
    let mut running = Running { statement, began, outcome: Outcome::Error, rows: 0, waits_for_locks };
    let result = run.await;
    running.outcome = Outcome::of(&result);
    match &result {
        Ok(found) => running.rows = found.rows(),
        Err(error) => running.waits_for_locks |= is_lock_timeout(error),
    }
    result
}

/// How many rows a statement has returned or written.
pub(super) trait Rows {
    fn rows(&self) -> u64;
}

impl Rows for () {
    fn rows(&self) -> u64 {
        0
    }
}

impl<T> Rows for Vec<T> {
    fn rows(&self) -> u64 {
        self.len() as u64
    }
}

impl<T> Rows for Option<T> {
    fn rows(&self) -> u64 {
        self.iter().len() as u64
    }
}

impl Rows for PgRow {
    fn rows(&self) -> u64 {
        1
    }
}

impl Rows for PgQueryResult {
    fn rows(&self) -> u64 {
        self.rows_affected()
    }
}

/// A statement under way; measured when it is dropped.
struct Running {
    statement: Statement,
    began: Instant,
    outcome: Outcome,
    rows: u64,
    /// Whether its time is that of waiting for locks.
    waits_for_locks: bool,
}

impl Drop for Running {
    fn drop(&mut self) {
        let took = self.began.elapsed();
        self.statement.meter().record(self.outcome, took);
        if self.waits_for_locks {
            let _ = WAITS.try_with(|waits| waits.locks.set(waits.locks.get() + took));
        }
        let Some(left) = may_report(SlowKind::Statement(self.statement), took) else { return };
        let waits = |of: fn(&Waits) -> &Cell<Duration>| {
            WAITS.try_with(|waits| ms(of(waits).get())).unwrap_or_default()
        };
        warn!(
            statement = self.statement.name(),
            outcome = self.outcome.label(),
            took_ms = ms(took),
            rows = self.rows,
            pool_wait_ms = waits(|waits| &waits.pool),
            lock_wait_ms = waits(|waits| &waits.locks),
            left_out = left.0,
            "slow statement"
        );
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether Postgres has ended the statement because it waited too long for a lock (`lock_not_available`).
pub(super) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(error) if error.code().as_deref() == Some("55P03"))
}
