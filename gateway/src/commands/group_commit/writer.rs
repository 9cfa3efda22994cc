//! The task of a shard: takes what waits, and commits it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use metrics::gauge;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tracing::info;

use super::{Barrier, Job, LOCK_WAIT, Unavailable, Waiting, attempt::Commits, set_aside::SetAside};
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

/// How often a store that failed is asked whether it is back.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The task of one shard.
pub(super) struct Writer {
    pub(super) index: String,
    pub(super) bounds: Bounds,
    pub(super) window: Duration,
    pub(super) set_aside: Arc<SetAside>,
    pub(super) commits: Commits,
    pub(super) down: Arc<AtomicBool>,
    pub(super) bytes: Arc<AtomicUsize>,
}

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
    fn is_small(&self) -> bool {
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

    fn refuse(self, unavailable: Unavailable) {
        for waiting in self.waiting {
            waiting.refuse(unavailable);
        }
        for mut barrier in self.barriers.into_iter().filter_map(Arc::into_inner) {
            // Dropped without an answer: nothing was settled.
            barrier.settled.take();
        }
    }
}

impl Writer {
    pub(super) async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut began = None;
        loop {
            let waits = !jobs.is_empty();
            let Some(first) = jobs.recv().await else { return };
            let mut batch = Batch::default();
            self.take(first, &mut batch);
            // Where writes come while one is committed, they come often enough to be worth a wait.
            let until = began.filter(|_| waits).map(|began: Instant| began + self.window);
            self.collect(&mut jobs, &mut batch, until).await;
            began = Some(Instant::now());
            #[allow(clippy::cast_precision_loss)]
            {
                gauge!("draftwire_write_queue_depth", "shard" => self.index.clone()).set(jobs.len() as f64);
                gauge!("draftwire_write_queue_bytes").set(self.bytes.load(Ordering::Relaxed) as f64);
            }
            let Batch { writes, waiting, barriers, .. } = batch;
            if writes.is_empty() {
                continue;
            }
            let left = self.commits.run(writes, waiting, LOCK_WAIT).await;
            self.set_aside.add(left.locked, &barriers);
            drop(barriers);
            if left.failed {
                self.wait_for_the_store(&mut jobs).await;
            }
        }
    }

    /// Adds a job to the batch, unless it is a write whose turn does not come, or that has to wait behind one
    /// that was set aside.
    fn take(&self, job: Job, batch: &mut Batch) {
        match self.set_aside.take(job) {
            Some(Job::Write(write, waiting)) => match self.commits.missed_its_turn(&waiting) {
                Some(unavailable) => waiting.refuse(unavailable),
                None => batch.add(Job::Write(write, waiting)),
            },
            Some(barrier) => batch.add(barrier),
            None => {}
        }
    }

    /// Adds what waits, and what comes until then.
    async fn collect(&self, jobs: &mut mpsc::Receiver<Job>, batch: &mut Batch, until: Option<Instant>) {
        while batch.has_room(self.bounds) {
            let job = match (jobs.try_recv(), until) {
                (Ok(job), _) => Some(job),
                (Err(_), Some(until)) if batch.is_small() => {
                    timeout_at(until, jobs.recv()).await.ok().flatten()
                }
                (Err(_), _) => None,
            };
            match job {
                Some(job) => self.take(job, batch),
                None => return,
            }
        }
    }

    /// Refuses what waits and what comes until the store answers again.
    async fn wait_for_the_store(&self, jobs: &mut mpsc::Receiver<Job>) {
        let began = Instant::now();
        self.down.store(true, Ordering::Release);
        loop {
            let mut batch = Batch::default();
            while let Ok(job) = jobs.try_recv() {
                batch.add(job);
            }
            batch.refuse(Unavailable::Store);
            if self.commits.store.ping().await.is_ok() {
                break;
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        self.down.store(false, Ordering::Release);
        info!(shard = self.index, after_ms = began.elapsed().as_millis() as u64, "the store answers again");
    }
}
