//! Whether writes succeed, for health. A database that answers questions may have no room left for changes.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a failure counts when nothing is written after it.
const FAILURE_MEMORY: Duration = Duration::from_secs(10);

/// How the newest commit ended.
#[derive(Debug, Default)]
pub struct WriteHealth(Mutex<Option<Instant>>);

impl WriteHealth {
    /// Notes that a commit succeeded, or failed through no fault of who asked for it.
    pub fn record(&self, succeeded: bool) {
        *self.lock() = (!succeeded).then(Instant::now);
    }

    /// Returns whether the newest commit failed, a moment ago.
    pub fn fails(&self) -> bool {
        self.lock().is_some_and(|failed| failed.elapsed() < FAILURE_MEMORY)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
