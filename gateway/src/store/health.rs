//! Whether the store answers and takes writes. A database that answers questions may have no room left for
//! changes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Store;

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

/// How long an answer about the store's health holds: whoever asks, and however often, it costs the
/// store one query in that time.
const HEALTH_TTL: Duration = Duration::from_secs(1);

/// Asks the store whether it answers.
pub struct StoreHealth {
    store: Arc<dyn Store>,
    writes: Arc<WriteHealth>,
    /// When it was asked last, and whether it answered.
    known: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

impl StoreHealth {
    /// The health of a store whose commits are recorded in `writes`.
    pub fn new(store: Arc<dyn Store>, writes: Arc<WriteHealth>) -> Self {
        Self { store, writes, known: tokio::sync::Mutex::default() }
    }

    /// Returns whether the store answers, as of a moment ago, and takes writes.
    pub async fn answers(&self) -> bool {
        if self.writes.fails() {
            return false;
        }
        let mut known = self.known.lock().await;
        if let Some((asked, answers)) = *known
            && asked.elapsed() < HEALTH_TTL
        {
            return answers;
        }
        let answers = self.store.ping().await.is_ok();
        *known = Some((Instant::now(), answers));
        answers
    }
}
