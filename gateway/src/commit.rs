//! Group commit: writes of all connections of a node, collected and committed together.
//!
//! A commit costs more by itself than a write adds to it. So each shard takes whatever is waiting when the
//! commit before it ends, and commits that as one transaction. A lone write is committed at once. Where writes
//! come so often that one was waiting already, the next commit begins a window after the one before it, or as
//! soon as it is large enough, because at a thousand changes a second that takes a third of what each costs.
//! A shard is chosen by the stream, so a thousand writers to one topic are one transaction at a time, not a
//! thousand that wait for each other's row lock.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::Stream;
use fanout::Hub;
use metrics::{counter, gauge, histogram};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tracing::{error, info, warn};

use crate::{
    config,
    store::{Committed, Done, Refusal, Store, StoreError, Write},
};

/// Takes writes and answers them once they are durable. Writes to one stream keep their order. Clones
/// share the shards.
///
/// # How long a write waits
///
/// At most `wait_max` (`WRITE_WAIT_MAX`) and one time limit of the store (`STORE_TIMEOUT`), whatever
/// happens; most end long before, in one of these ways.
///
/// - The queue is full, by number ([`config::Writes::queue_max`] per shard) or by bytes (128 MiB over all
///   shards), or the store is known to be down: refused before it waits.
/// - Its turn comes within `wait_max`: it is part of a transaction, which the store ends within its time
///   limit, one way or the other.
/// - Its turn does not come, because the transactions before it are slow: refused as soon as the one
///   under way has ended, without being tried.
/// - A transaction fails because the store does not answer: everything that waits in the shard is
///   refused with it, and everything that comes, until the store answers again.
///
/// All of these are answered `unavailable`, and the client decides whether it is still worth repeating.
#[derive(Clone)]
pub struct Committer {
    shards: Arc<[Shard]>,
    /// Bytes of the writes that were queued and are not answered yet.
    bytes: Arc<AtomicUsize>,
}

/// The store is down or the queue is full. Nothing was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// More writes are waiting than the queue takes.
    #[error("too many changes are waiting; repeat it in a moment with the same id")]
    Full,
    /// Its turn did not come in time.
    #[error("the store is too slow just now; repeat it in a moment with the same id")]
    Late,
    /// The database does not answer, or refuses.
    #[error("the store does not answer; repeat it with the same id")]
    Store,
}

/// What becomes of a write.
pub type Answer = Result<Result<Done, Refusal>, Unavailable>;

/// Bytes of commands that wait or are being committed, over all shards. Past it writes are refused like
/// past the queue's count: thousands of large events must not fill the memory. One shard may take all
/// of it, so that a thousand of the largest events fit in at once for one topic.
const QUEUE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Bytes of commands after which a batch is full, whatever their number: it must be committed within
/// the store's time limit.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that the drafts of a batch may have, which are read before they are changed, however small the
/// changes are.
const BATCH_DRAFT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often a store that failed is asked whether it is back.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

struct Shard {
    queue: mpsc::Sender<Job>,
    /// The store failed and has not answered since: writes are refused without waiting for it.
    down: Arc<AtomicBool>,
}

enum Job {
    Write(Box<Write>, Waiting),
    /// Answered when everything before it has been.
    Barrier(oneshot::Sender<()>),
}

/// Who waits for a write. However it is answered, or dropped, its bytes are given back.
struct Waiting {
    since: Instant,
    answer: oneshot::Sender<Answer>,
    size: Size,
}

impl Waiting {
    fn answer(self, answer: Answer) {
        // Nobody waits any more where the client has gone.
        let _ = self.answer.send(answer);
    }

    fn refuse(self, unavailable: Unavailable) {
        unavailable.count();
        self.answer(Err(unavailable));
    }
}

/// A share of the bytes of all queues.
struct Size {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl Size {
    /// `None` when there is no room.
    fn take(bytes: usize, all: &Arc<AtomicUsize>) -> Option<Self> {
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        let size = Self { bytes, all: all.clone() };
        (before + bytes <= QUEUE_BYTES_MAX).then_some(size)
    }
}

impl Drop for Size {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Unavailable {
    /// Counts a write that is refused without having been tried.
    fn count(self) {
        let why = match self {
            Self::Full => "full",
            Self::Late => "late",
            Self::Store => "down",
        };
        counter!("draftwire_writes_refused_total", "why" => why).increment(1);
    }
}

impl Committer {
    /// Starts the shards. They end when the last clone is dropped and the queues are empty.
    pub fn start(settings: &config::Writes, store: &Arc<dyn Store>, hub: &Arc<Hub>) -> Self {
        let bytes = Arc::<AtomicUsize>::default();
        let shards = (0..settings.shards)
            .map(|index| {
                let (queue, jobs) = mpsc::channel(settings.queue_max);
                let down = Arc::<AtomicBool>::default();
                let writer = Writer {
                    index: index.to_string(),
                    batch_max: settings.batch_max,
                    batch_drafts_max: (BATCH_DRAFT_BYTES_MAX / settings.draft_bytes_max.max(1)).max(1),
                    window: settings.window,
                    wait_max: settings.wait_max,
                    store: store.clone(),
                    hub: hub.clone(),
                    down: down.clone(),
                    bytes: bytes.clone(),
                };
                tokio::spawn(writer.run(jobs));
                Shard { queue, down }
            })
            .collect();
        Self { shards, bytes }
    }

    /// Queues a write; the answer comes once it is durable, or refused. `bytes` is about what it takes in
    /// memory while it waits.
    ///
    /// The write takes its place in the queue before this returns, so calls in a row keep their
    /// order. Dropping the future does not take the write back.
    pub fn submit(&self, write: Write, bytes: usize) -> impl Future<Output = Answer> + use<> {
        let queued = self.queue(write, bytes);
        async move {
            match queued {
                Ok(answer) => answer.await.unwrap_or(Err(Unavailable::Store)),
                Err(unavailable) => Err(unavailable),
            }
        }
    }

    fn queue(&self, write: Write, bytes: usize) -> Result<oneshot::Receiver<Answer>, Unavailable> {
        let shard = self.shard(&write.stream());
        let queued = if shard.down.load(Ordering::Acquire) {
            Err(Unavailable::Store)
        } else if let Some(size) = Size::take(bytes, &self.bytes) {
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting { since: Instant::now(), answer, size };
            let sent = shard.queue.try_send(Job::Write(Box::new(write), waiting));
            sent.map(|()| answered).map_err(|_| Unavailable::Full)
        } else {
            Err(Unavailable::Full)
        };
        queued.inspect_err(|unavailable| unavailable.count())
    }

    /// Waits until every write to the stream that was queued before has been answered, so that a read
    /// that follows sees it. It waits no longer than a write.
    ///
    /// # Errors
    /// When the store is down or the queue full.
    pub fn settled(&self, stream: &Stream) -> impl Future<Output = Result<(), Unavailable>> + use<> {
        let (answer, answered) = oneshot::channel();
        let shard = self.shard(stream);
        let queued = if shard.down.load(Ordering::Acquire) {
            Err(Unavailable::Store)
        } else {
            shard.queue.try_send(Job::Barrier(answer)).map_err(|_| Unavailable::Full)
        };
        async move {
            queued?;
            answered.await.map_err(|_| Unavailable::Store)
        }
    }

    fn shard(&self, stream: &Stream) -> &Shard {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        stream.hash(&mut hasher);
        #[allow(clippy::cast_possible_truncation)]
        let index = hasher.finish() as usize % self.shards.len();
        &self.shards[index]
    }
}

/// A batch of so many writes is not kept waiting for more: the share of each in what a transaction costs by
/// itself is small already.
const LARGE_ENOUGH: usize = 16;

/// The task of one shard.
struct Writer {
    index: String,
    batch_max: usize,
    batch_drafts_max: usize,
    window: Duration,
    wait_max: Duration,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    down: Arc<AtomicBool>,
    bytes: Arc<AtomicUsize>,
}

/// The writes of a batch and who waits for them, index by index.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    waiting: Vec<Waiting>,
    barriers: Vec<oneshot::Sender<()>>,
    events: usize,
    drafts: usize,
    bytes: usize,
}

impl Batch {
    /// Whether it gets much cheaper for each with more in it. Who waits for a write to be settled is not kept.
    fn is_small(&self) -> bool {
        self.events < LARGE_ENOUGH && self.barriers.is_empty()
    }

    fn add(&mut self, job: Job) {
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
    }
}

impl Writer {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
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
            let failed = if batch.writes.is_empty() {
                false
            } else {
                self.commit(std::mem::take(&mut batch.writes), std::mem::take(&mut batch.waiting)).await
            };
            for barrier in batch.barriers {
                let _ = barrier.send(());
            }
            if failed {
                self.wait_for_the_store(&mut jobs).await;
            }
        }
    }

    /// Adds a job to the batch, unless it is a write that has waited too long.
    fn take(&self, job: Job, batch: &mut Batch) {
        match job {
            Job::Write(_, waiting) if self.is_late(&waiting) => waiting.refuse(Unavailable::Late),
            job => batch.add(job),
        }
    }

    fn is_late(&self, waiting: &Waiting) -> bool {
        waiting.since.elapsed() > self.wait_max
    }

    /// Adds what waits, and what comes until then.
    async fn collect(&self, jobs: &mut mpsc::Receiver<Job>, batch: &mut Batch, until: Option<Instant>) {
        while batch.events < self.batch_max
            && batch.drafts < self.batch_drafts_max
            && batch.bytes < BATCH_BYTES_MAX
        {
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

    /// Commits and answers. Returns whether the store failed.
    async fn commit(&self, mut writes: Vec<Write>, mut waiting: Vec<Waiting>) -> bool {
        #[allow(clippy::cast_precision_loss)]
        histogram!("draftwire_write_batch_size").record(writes.len() as f64);
        let began = Instant::now();
        match self.store.commit(&writes).await {
            Ok(committed) => {
                histogram!("draftwire_commit_seconds").record(began.elapsed().as_secs_f64());
                counter!("draftwire_events_published_total").increment(committed.events.len() as u64);
                self.hub.committed(&committed.epoch, &committed.events);
                self.announce_remembered(&writes, &committed);
                for (waiting, outcome) in waiting.into_iter().zip(committed.answers) {
                    histogram!("draftwire_write_seconds").record(waiting.since.elapsed().as_secs_f64());
                    waiting.answer(Ok(outcome));
                }
                false
            }
            Err(StoreError::Rejected(reason)) if writes.len() > 1 => {
                // One of them is at fault; the others must not suffer for it.
                warn!(reason, batch = writes.len(), "the store refuses a batch; it goes in two halves");
                counter!("draftwire_commit_failures_total", "why" => "rejected").increment(1);
                let half = writes.len() / 2;
                let later = (writes.split_off(half), waiting.split_off(half));
                for (writes, waiting) in [(writes, waiting), later] {
                    let (mut in_time, mut answers) = (Vec::new(), Vec::new());
                    for (write, one) in writes.into_iter().zip(waiting) {
                        if self.is_late(&one) {
                            one.refuse(Unavailable::Late);
                        } else {
                            in_time.push(write);
                            answers.push(one);
                        }
                    }
                    if !in_time.is_empty() && Box::pin(self.commit(in_time, answers)).await {
                        return true;
                    }
                }
                false
            }
            Err(StoreError::Rejected(reason)) => {
                error!(reason, "the store refuses a write");
                counter!("draftwire_commit_failures_total", "why" => "rejected").increment(1);
                for waiting in waiting {
                    // Repeating it would not help, and would slow down whatever it shares a batch with.
                    let refusal = Refusal::BadRequest("the store cannot keep this change".to_owned());
                    waiting.answer(Ok(Err(refusal)));
                }
                false
            }
            Err(StoreError::Unavailable(reason)) => {
                warn!(reason, writes = writes.len(), "the store is unavailable");
                counter!("draftwire_commit_failures_total", "why" => "unavailable").increment(1);
                for waiting in waiting {
                    waiting.answer(Err(Unavailable::Store));
                }
                // It may have been committed all the same: then only the log tells.
                self.hub.recheck(writes.iter().map(Write::stream));
                true
            }
        }
    }

    /// A write that is answered from memory was committed by an attempt whose outcome nobody saw, or by
    /// a node that may have died before it published: its events are announced now, by the last one.
    fn announce_remembered(&self, writes: &[Write], committed: &Committed) {
        let done = || committed.answers.iter().map(|answer| answer.as_ref().ok());
        if done().flatten().map(Done::events).sum::<u64>() == committed.events.len() as u64 {
            return;
        }
        for (write, done) in writes.iter().zip(done()) {
            if let Some(seq) = done.and_then(Done::seq) {
                self.hub.announce(&committed.epoch, &write.stream(), seq);
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
            if self.store.ping().await.is_ok() {
                break;
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        self.down.store(false, Ordering::Release);
        info!(shard = self.index, after_ms = began.elapsed().as_millis() as u64, "the store answers again");
    }
}
