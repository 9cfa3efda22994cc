//! The writes that are committed together, and the bounds of such a batch.

use std::sync::Arc;

use super::{
    job::{Barrier, Job, Waiting},
    unavailable::Unavailable,
};
use crate::{config, store::Write};

/// Bytes of commands after which a batch is full, whatever their number: it must be committed within
/// the store's time limit.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that the drafts of a batch may have, which are read before they are changed, however small the
/// changes are.
const BATCH_DRAFT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A batch of at least this many events is not kept waiting for more: the share of each in what a
/// transaction costs by itself is small already.
const LARGE_ENOUGH: usize = 16;

/// What fits into one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    events_max: usize,
    drafts_max: usize,
}

impl Bounds {
    pub(super) fn new(settings: &config::Writes) -> Self {
        let drafts_max = (BATCH_DRAFT_BYTES_MAX / settings.draft_bytes_max.max(1)).max(1);
        Self { events_max: settings.batch_max, drafts_max }
    }
}

/// The writes of a batch and who waits for them, index by index.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) writes: Vec<Write>,
    pub(super) waiting: Vec<Waiting>,
    pub(super) barriers: Vec<Arc<Barrier>>,
    events: usize,
    drafts: usize,
    bytes: usize,
}

impl Batch {
    /// Whether there is room for more.
    pub(super) fn has_room(&self, bounds: Bounds) -> bool {
        self.events < bounds.events_max && self.drafts < bounds.drafts_max && self.bytes < BATCH_BYTES_MAX
    }

    /// Whether it gets much cheaper for each with more in it. Who waits for a write to be settled is not kept.
    pub(super) fn is_small(&self) -> bool {
        self.events < LARGE_ENOUGH && self.barriers.is_empty()
    }

    pub(super) fn add(&mut self, job: Job) {
        match job {
            Job::Write(write, waiting) => {
                self.events += write.events();
                self.drafts += usize::from(write.op.draft_id().is_some());
                self.bytes += waiting.size.bytes;
                self.writes.push(*write);
                self.waiting.push(waiting);
            }
            Job::Barrier(barrier) => self.barriers.push(barrier),
        }
    }

    pub(super) fn refuse(self, unavailable: Unavailable) {
        for waiting in self.waiting {
            waiting.refuse(unavailable);
        }
        for mut barrier in self.barriers.into_iter().filter_map(Arc::into_inner) {
            // Dropped without an answer: nothing was settled.
            barrier.settled.take();
        }
    }
}
