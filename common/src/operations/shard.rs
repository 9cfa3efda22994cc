//! Which of several counters a thread adds to. A counter that two processors write goes back and forth between them, so
//! what is counted for every delivery has several, which are added up when somebody reads them.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counters for the same thing. More threads than these share them.
pub(super) const SHARDS: usize = 8;

/// Threads so far.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// Returns the one of this thread.
pub(super) fn shard() -> usize {
    SHARD.with(|shard| *shard)
}
