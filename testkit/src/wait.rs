//! Waiting for a condition, never for a duration.

use std::{fmt::Display, time::Duration};

use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Asks `check` until it answers `Ok`, and gives its value.
///
/// # Errors
/// The last answer, once `deadline` has passed since the call.
pub async fn poll<T, E, F, Fut>(deadline: Duration, mut check: F) -> Result<T, E>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    let end = Instant::now() + deadline;
    loop {
        match check().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => sleep(POLL).await,
        }
    }
}

/// As [`poll`], for tests.
///
/// # Panics
/// When the deadline has passed: with what was waited for, and how it stood at the end.
pub async fn until<T, E, F, Fut>(what: &str, deadline: Duration, check: F) -> T
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    match poll(deadline, check).await {
        Ok(value) => value,
        Err(last) => panic!("waited {deadline:?} for: {what}. At the end: {last}"),
    }
}
