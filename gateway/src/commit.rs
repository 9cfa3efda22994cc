//! Group commit: writes of all connections of a node, collected and committed together.
//!
//! A commit costs about the same for one write as for a hundred. So each shard takes whatever is
//! waiting when the commit before it ends, and commits that as one transaction. A lone write is
//! committed at once; one in company waits up to the window for more.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Stream, UserId};
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

/// Takes writes and answers them once they are durable. Writes of one user keep their order.
pub struct Committer {
    shards: Vec<Shard>,
}

/// The store is down or the queue is full. Nothing was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// More writes are waiting than the queue takes.
    #[error("too many changes are waiting; repeat it in a moment with the same id")]
    Full,
    /// The database does not answer, or refuses.
    #[error("the store does not answer; repeat it with the same id")]
    Store,
}

/// What becomes of a write.
pub type Answer = Result<Result<Done, Refusal>, Unavailable>;

/// Bytes of commands that wait in one shard. Past it writes are refused like past the queue's count:
/// a thousand large drafts must not fill the memory.
const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Bytes of commands after which a batch is full, whatever their number: it must be committed within
/// the store's time limit.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How often a store that failed is asked whether it is back.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

struct Shard {
    queue: mpsc::Sender<Job>,
    state: Arc<ShardState>,
}

#[derive(Default)]
struct ShardState {
    /// The store failed and has not answered since: writes are refused without waiting for it.
    down: AtomicBool,
    /// Bytes of the writes in the queue.
    bytes: AtomicUsize,
}

enum Job {
    Write {
        write: Box<Write>,
        bytes: usize,
        since: Instant,
        answer: oneshot::Sender<Answer>,
    },
    /// Answered when everything before it has been.
    Barrier(oneshot::Sender<()>),
}

impl Committer {
    /// Starts the shards. They end when the committer is dropped and the queues are empty.
    pub fn start(settings: &config::Writes, store: &Arc<dyn Store>, hub: &Arc<Hub>) -> Self {
        let shards = (0..settings.shards)
            .map(|index| {
                let (queue, jobs) = mpsc::channel(settings.queue_max);
                let state = Arc::<ShardState>::default();
                let writer = Writer {
                    index: index.to_string(),
                    batch_max: settings.batch_max,
                    window: settings.window,
                    store: store.clone(),
                    hub: hub.clone(),
                    state: state.clone(),
                };
                tokio::spawn(writer.run(jobs));
                Shard { queue, state }
            })
            .collect();
        Self { shards }
    }

    /// Queues a write; the answer comes once it is durable, or refused. `bytes` is about its size.
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
        let shard = self.shard(&write.user);
        if shard.state.down.load(Ordering::Acquire) {
            return Err(Unavailable::Store);
        }
        let (answer, answered) = oneshot::channel();
        let job = Job::Write { write: Box::new(write), bytes, since: Instant::now(), answer };
        // Counted before it is sent: the writer may take it, and count it off, at once.
        let waiting = shard.state.bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > QUEUE_BYTES_MAX || shard.queue.try_send(job).is_err() {
            shard.state.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Unavailable::Full);
        }
        Ok(answered)
    }

    /// Waits until every write of the user that was queued before has been answered, so that a read
    /// that follows sees it.
    ///
    /// # Errors
    /// When the store is down or the queue full.
    pub fn settled(&self, user: &UserId) -> impl Future<Output = Result<(), Unavailable>> + use<> {
        let (answer, answered) = oneshot::channel();
        let shard = self.shard(user);
        let queued = if shard.state.down.load(Ordering::Acquire) {
            Err(Unavailable::Store)
        } else {
            shard.queue.try_send(Job::Barrier(answer)).map_err(|_| Unavailable::Full)
        };
        async move {
            queued?;
            answered.await.map_err(|_| Unavailable::Store)
        }
    }

    fn shard(&self, user: &UserId) -> &Shard {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        user.hash(&mut hasher);
        #[allow(clippy::cast_possible_truncation)]
        let index = hasher.finish() as usize % self.shards.len();
        &self.shards[index]
    }
}

/// The task of one shard.
struct Writer {
    index: String,
    batch_max: usize,
    window: Duration,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    state: Arc<ShardState>,
}

/// The writes of a batch and who waits for them, index by index.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    waiting: Vec<(oneshot::Sender<Answer>, Instant)>,
    barriers: Vec<oneshot::Sender<()>>,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, job: Job) {
        match job {
            Job::Write { write, bytes, since, answer } => {
                self.writes.push(*write);
                self.waiting.push((answer, since));
                self.bytes += bytes;
            }
            Job::Barrier(barrier) => self.barriers.push(barrier),
        }
    }
}

impl Writer {
    async fn run(self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(first) = jobs.recv().await {
            let mut batch = Batch::default();
            batch.add(first);
            self.collect(&mut jobs, &mut batch).await;
            self.state.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
            #[allow(clippy::cast_precision_loss)]
            gauge!("draftwire_write_queue_depth", "shard" => self.index.clone()).set(jobs.len() as f64);
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

    async fn collect(&self, jobs: &mut mpsc::Receiver<Job>, batch: &mut Batch) {
        let deadline = Instant::now() + self.window;
        while batch.writes.len() < self.batch_max && batch.bytes < BATCH_BYTES_MAX {
            match jobs.try_recv() {
                Ok(job) => batch.add(job),
                Err(_) if batch.writes.len() <= 1 => return,
                Err(_) => match timeout_at(deadline, jobs.recv()).await {
                    Ok(Some(job)) => batch.add(job),
                    Ok(None) | Err(_) => return,
                },
            }
        }
    }

    /// Commits and answers. Returns whether the store failed.
    async fn commit(&self, writes: Vec<Write>, waiting: Vec<(oneshot::Sender<Answer>, Instant)>) -> bool {
        #[allow(clippy::cast_precision_loss)]
        histogram!("draftwire_write_batch_size").record(writes.len() as f64);
        let began = Instant::now();
        match self.store.commit(&writes).await {
            Ok(committed) => {
                histogram!("draftwire_commit_seconds").record(began.elapsed().as_secs_f64());
                counter!("draftwire_events_published_total").increment(committed.events.len() as u64);
                self.hub.committed(&committed.epoch, &committed.events);
                self.announce_remembered(&writes, &committed);
                for ((answer, since), outcome) in waiting.into_iter().zip(committed.answers) {
                    histogram!("draftwire_write_seconds").record(since.elapsed().as_secs_f64());
                    let _ = answer.send(Ok(outcome));
                }
                false
            }
            Err(StoreError::Rejected(reason)) if writes.len() > 1 => {
                // One of them is at fault; the others must not suffer for it.
                warn!(reason, batch = writes.len(), "the store refuses a batch; its writes go one by one");
                counter!("draftwire_commit_failures_total", "why" => "rejected").increment(1);
                for (write, one) in writes.into_iter().zip(waiting) {
                    if Box::pin(self.commit(vec![write], vec![one])).await {
                        return true;
                    }
                }
                false
            }
            Err(StoreError::Rejected(reason)) => {
                error!(reason, "the store refuses a write");
                counter!("draftwire_commit_failures_total", "why" => "rejected").increment(1);
                for (answer, _) in waiting {
                    // Repeating it would not help, and would slow down whatever it shares a batch with.
                    let refusal = Refusal::BadRequest("the store cannot keep this change".to_owned());
                    let _ = answer.send(Ok(Err(refusal)));
                }
                false
            }
            Err(StoreError::Unavailable(reason)) => {
                warn!(reason, writes = writes.len(), "the store is unavailable");
                counter!("draftwire_commit_failures_total", "why" => "unavailable").increment(1);
                refuse(waiting);
                // It may have been committed all the same: then only the log tells.
                self.hub.suspect(writes.iter().map(|write| Stream::User(write.user.clone())));
                true
            }
        }
    }

    /// A write that is answered from memory was committed by an attempt whose outcome nobody saw, or by
    /// a node that may have died before it published: its event is announced now.
    fn announce_remembered(&self, writes: &[Write], committed: &Committed) {
        let seqs = || committed.answers.iter().map(|answer| answer.as_ref().ok().and_then(|done| done.seq));
        if seqs().flatten().count() == committed.events.len() {
            return;
        }
        for (write, seq) in writes.iter().zip(seqs()) {
            if let Some(seq) = seq {
                self.hub.announce(&committed.epoch, &Stream::User(write.user.clone()), seq);
            }
        }
    }

    /// Refuses what waits and what comes until the store answers again.
    async fn wait_for_the_store(&self, jobs: &mut mpsc::Receiver<Job>) {
        let began = Instant::now();
        self.state.down.store(true, Ordering::Release);
        loop {
            let mut batch = Batch::default();
            while let Ok(job) = jobs.try_recv() {
                batch.add(job);
            }
            self.state.bytes.fetch_sub(batch.bytes, Ordering::Relaxed);
            refuse(batch.waiting);
            drop(batch.barriers);
            if self.store.ping().await.is_ok() {
                break;
            }
            tokio::time::sleep(PROBE_INTERVAL).await;
        }
        self.state.down.store(false, Ordering::Release);
        info!(shard = self.index, after_ms = began.elapsed().as_millis() as u64, "the store answers again");
    }
}

fn refuse(waiting: Vec<(oneshot::Sender<Answer>, Instant)>) {
    for (answer, _) in waiting {
        let _ = answer.send(Err(Unavailable::Store));
    }
}
