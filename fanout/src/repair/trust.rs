//! Whether messages of the bus can be relied on to arrive.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;

use super::canary::Canary;

/// The state of the bus at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Messages arrive, as far as canaries show.
    pub(crate) trusted: bool,
    /// Counts the moments at which messages may have been lost.
    pub(crate) generation: u64,
}

/// Knows whether the bus delivers, and what has to be compared with the log because it may not have.
pub(crate) struct BusTrust {
    canary: Arc<Canary>,
    generation: AtomicU64,
    sweep_requests: Notify,
}

impl BusTrust {
    pub(crate) fn new(canary: Arc<Canary>) -> Self {
        Self { canary, generation: AtomicU64::new(1), sweep_requests: Notify::new() }
    }

    /// Returns whether messages arrive, as far as canaries show.
    pub(crate) fn is_trusted(&self) -> bool {
        self.canary.is_heard()
    }

    /// Counts the moments at which messages may have been lost.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn now(&self) -> Trust {
        let generation = self.generation();
        Trust { trusted: self.is_trusted(), generation }
    }

    /// Begins a new generation: messages may have been lost, so every head has to be confirmed again.
    pub(crate) fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Makes the sweep start now instead of at its interval.
    pub(crate) fn request_sweep(&self) {
        self.sweep_requests.notify_one();
    }

    /// Waits for [`BusTrust::request_sweep`]. One task may wait.
    pub(super) async fn sweep_requested(&self) {
        self.sweep_requests.notified().await;
    }
}
