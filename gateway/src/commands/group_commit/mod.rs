//! Group commit: writes of all connections of a node, collected and committed together.
//!
//! A commit costs more by itself than a write adds to it. So each shard takes whatever is waiting when the
//! commit before it ends, and commits that as one transaction. A lone write is committed at once. Where writes
//! come so often that one was waiting already, the next commit begins a window after the one before it, or as
//! soon as it is large enough, because at a thousand changes a second that takes a third of what each costs.
//! A shard is chosen by the stream, so a thousand writers to one topic are one transaction at a time, not a
//! thousand that wait for each other's row lock.
//!
//! A stream whose row another transaction holds leaves the shard's batches (`set_aside`): it alone waits.

mod attempt;
mod batch;
mod job;
mod set_aside;
mod traced;
mod unavailable;
mod writer;

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use common::{Stream, TraceContext};
use fanout::Hub;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

pub use self::unavailable::{Answer, Unavailable};
use self::{
    attempt::Commits,
    job::{Barrier, Job, QueuedBytes, Waiting},
    set_aside::SetAside,
    writer::Writer,
};
use super::pipeline::{Pass, Pipeline};
use crate::{
    config::Live,
    store::{Store, Write, WriteHealth},
};

/// Takes writes and answers them once they are durable. Writes to one stream keep their order. Clones
/// share the shards.
///
/// # How long a write waits
///
/// At most `wait_max` (`WRITE_WAIT_MAX`) and one time limit of the store (`STORE_TIMEOUT`), whatever
/// happens; most end long before, in one of these ways.
///
/// - The queue is full, by number ([`crate::config::Writes::queue_max`] per shard) or by bytes (128 MiB over all
///   shards), or the store is known to be down: refused before it waits.
/// - Its turn comes within `wait_max`: it is part of a transaction, which the store ends within its time
///   limit, one way or the other.
/// - Its turn does not come, because the transactions before it are slow: refused as soon as the one
///   under way has ended, without being tried.
/// - Another transaction holds its stream, or its key, for more than a few milliseconds: it is set aside
///   with what follows it, and refused when it has waited for `wait_max`. Writes to other streams go on.
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

struct Shard {
    queue: mpsc::Sender<Job>,
    /// The store failed and has not answered since: writes are refused without waiting for it.
    down: Arc<AtomicBool>,
}

impl Committer {
    /// Starts the shards. They end when the last clone is dropped and the queues are empty.
    pub fn start(
        live: &Arc<Live>,
        store: &Arc<dyn Store>,
        hub: &Arc<Hub>,
        health: &Arc<WriteHealth>,
    ) -> Self {
        job::record_limit();
        let bytes = Arc::<AtomicUsize>::default();
        let settings = &live.node().writes;
        let shards = (0..settings.shards)
            .map(|index| {
                let (queue, jobs) = mpsc::channel(settings.queue_max);
                let down = Arc::<AtomicBool>::default();
                let commits = Commits {
                    store: store.clone(),
                    hub: hub.clone(),
                    health: health.clone(),
                    live: live.clone(),
                };
                let writer = Writer {
                    index: index.to_string(),
                    set_aside: SetAside::new(settings.queue_max, commits.clone()),
                    commits,
                    down: down.clone(),
                    bytes: bytes.clone(),
                };
                tokio::spawn(writer.run_for_ever(jobs));
                Shard { queue, down }
            })
            .collect();
        Self { shards, bytes }
    }

    /// Queues a write; the answer comes once it is durable, or refused. `bytes` is about what it takes in
    /// memory while it waits.
    ///
    /// The write takes its place in the queue before this returns, so calls in a row keep their
    /// order. Dropping the future does not take the write back. With a `pipeline` they also keep it when one
    /// of them is answered [`Unavailable`]: those behind it are then, too. The commit is a span of the `trace`.
    pub fn submit(
        &self,
        write: Write,
        bytes: usize,
        pipeline: Option<&Pipeline>,
        trace: Option<TraceContext>,
    ) -> impl Future<Output = Answer> + use<> {
        let queued = self.queue(write, bytes, pipeline.map(Pipeline::enter), trace);
        async move {
            match queued {
                Ok(answer) => answer.await.unwrap_or(Err(Unavailable::Store)),
                Err(unavailable) => Err(unavailable),
            }
        }
    }

    fn queue(
        &self,
        write: Write,
        bytes: usize,
        pass: Option<Pass>,
        trace: Option<TraceContext>,
    ) -> Result<oneshot::Receiver<Answer>, Unavailable> {
        let shard = self.shard(&write.stream());
        let queued = if shard.down.load(Ordering::Acquire) {
            Err(Unavailable::Store)
        } else if let Some(size) = QueuedBytes::take(bytes, &self.bytes) {
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting { since: Instant::now(), trace, pass, answer, size };
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
        let (settled, answered) = oneshot::channel();
        let shard = self.shard(stream);
        let queued = if shard.down.load(Ordering::Acquire) {
            Err(Unavailable::Store)
        } else {
            let barrier = Barrier { stream: stream.clone(), since: Instant::now(), settled: Some(settled) };
            shard.queue.try_send(Job::Barrier(Arc::new(barrier))).map_err(|_| Unavailable::Full)
        };
        async move {
            queued?;
            answered.await.map_err(|_| Unavailable::Store)
        }
    }

    /// How many writes wait in all queues, how many may, and the bytes of those that wait or are being committed.
    pub(crate) fn depth(&self) -> (usize, usize, usize) {
        let queues = || self.shards.iter().map(|shard| &shard.queue);
        let waiting = queues().map(|queue| queue.max_capacity() - queue.capacity()).sum();
        let max = queues().map(mpsc::Sender::max_capacity).sum();
        (waiting, max, self.bytes.load(Ordering::Relaxed))
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
