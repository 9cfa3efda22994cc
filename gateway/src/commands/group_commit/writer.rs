//! The task of a shard: takes what waits, and commits it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fanout::supervise::{RESTART_PAUSE, catch_panic};
use metrics::gauge;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tracing::info;

use super::unavailable::Unavailable;
use super::{
    attempt::Commits,
    batch::{Batch, Bounds},
    job::Job,
    set_aside::SetAside,
};

/// How long a batch waits for a lock that another transaction holds, at a time. Other nodes hold the row of a
/// stream for as long as one commit takes.
const LOCK_WAIT: Duration = Duration::from_millis(5);

/// How often a store that failed is asked whether it is back.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// The task of one shard.
pub(super) struct Writer {
    pub(super) index: String,
    pub(super) set_aside: Arc<SetAside>,
    pub(super) commits: Commits,
    pub(super) down: Arc<AtomicBool>,
    pub(super) bytes: Arc<AtomicUsize>,
}

impl Writer {
    /// Runs until nobody can queue a write any more. A panic loses the batch in hand, whose writes are answered
    /// [`Unavailable::Store`] by being dropped; everything else goes as if the store had failed.
    pub(super) async fn run_for_ever(self, mut jobs: mpsc::Receiver<Job>) {
        while catch_panic("shard writer", self.run(&mut jobs)).await.is_err() {
            self.commits.health.record(false);
            self.down.store(true, Ordering::Release);
            refuse_all(&mut jobs);
            sleep(RESTART_PAUSE).await;
        }
    }

    async fn run(&self, jobs: &mut mpsc::Receiver<Job>) {
        if self.down.load(Ordering::Acquire) {
            // It panicked.
            self.wait_for_the_store(jobs).await;
        }
        let mut began = None;
        loop {
            let waits = !jobs.is_empty();
            let Some(first) = jobs.recv().await else { return };
            let mut batch = Batch::default();
            self.take(first, &mut batch);
            // Where writes come while one is committed, they come often enough to be worth a wait.
            let until =
                began.filter(|_| waits).map(|began: Instant| began + self.commits.live.node().writes.window);
            self.collect(jobs, &mut batch, until).await;
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
                self.wait_for_the_store(jobs).await;
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
        let bounds = Bounds::new(&self.commits.live.node().writes);
        while batch.has_room(bounds) {
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
            refuse_all(jobs);
            if self.commits.store.ping().await.is_ok() {
                break;
            }
            sleep(PROBE_INTERVAL).await;
        }
        self.down.store(false, Ordering::Release);
        info!(shard = self.index, after_ms = began.elapsed().as_millis() as u64, "the store answers again");
    }
}

/// Refuses everything that waits.
fn refuse_all(jobs: &mut mpsc::Receiver<Job>) {
    let mut batch = Batch::default();
    while let Ok(job) = jobs.try_recv() {
        batch.add(job);
    }
    batch.refuse(Unavailable::Store);
}
