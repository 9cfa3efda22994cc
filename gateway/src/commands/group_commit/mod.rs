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
mod set_aside;
mod writer;

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
use metrics::counter;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use self::{attempt::Commits, set_aside::SetAside, writer::Writer};
use super::pipeline::{Pass, Pipeline};
use crate::{
    config,
    store::{Done, Refusal, Store, Write, WriteHealth},
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

/// The store is down or the queue is full. Nothing was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// More writes are waiting than the queue takes.
    #[error("too many changes are waiting; repeat it in a moment with the same id")]
    Full,
    /// Its turn did not come in time.
    #[error("the store is too slow just now; repeat it in a moment with the same id")]
    Late,
    /// Another transaction of the database held its stream, or its key, for as long as it may wait.
    #[error("what this changes is locked in the database; repeat it in a moment with the same id")]
    Locked,
    /// The database does not answer, or refuses.
    #[error("the store does not answer; repeat it with the same id")]
    Store,
    /// A change that was sent before it could not be carried out, so its turn has not come.
    #[error("a change before it was refused; repeat both in their order, with the same ids")]
    Behind,
}

/// What becomes of a write.
pub type Answer = Result<Result<Done, Refusal>, Unavailable>;

/// Bytes of commands that wait or are being committed, over all shards. Past it writes are refused like
/// past the queue's count: thousands of large events must not fill the memory. One shard may take all
/// of it, so that a thousand of the largest events fit in at once for one topic.
const QUEUE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// How long a batch waits for a lock that another transaction holds, at a time. Other nodes hold the row of a
/// stream for as long as one commit takes.
const LOCK_WAIT: Duration = Duration::from_millis(5);

struct Shard {
    queue: mpsc::Sender<Job>,
    /// The store failed and has not answered since: writes are refused without waiting for it.
    down: Arc<AtomicBool>,
}

enum Job {
    Write(Box<Write>, Waiting),
    Barrier(Arc<Barrier>),
}

/// Answered when every write to its stream that came before it has been: when the last queue that holds it
/// lets it go.
struct Barrier {
    stream: Stream,
    since: Instant,
    settled: Option<oneshot::Sender<()>>,
}

impl Drop for Barrier {
    fn drop(&mut self) {
        if let Some(settled) = self.settled.take() {
            // Nobody waits any more where the client has gone.
            let _ = settled.send(());
        }
    }
}

/// Who waits for a write. However it is answered, or dropped, its bytes are given back.
struct Waiting {
    since: Instant,
    /// For a write that has an order among others. Dropped before `answer`, see [`Waiting::answer`].
    pass: Option<Pass>,
    answer: oneshot::Sender<Answer>,
    size: Size,
}

impl Waiting {
    fn answer(self, answer: Answer) {
        // Before the answer is known: whoever has it may already repeat the write.
        match self.pass {
            Some(pass) if answer.is_ok() => pass.decided(),
            pass => drop(pass),
        }
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
            Self::Locked => "locked",
            Self::Store => "down",
            Self::Behind => "behind",
        };
        counter!("draftwire_writes_refused_total", "why" => why).increment(1);
    }
}

impl Committer {
    /// Starts the shards. They end when the last clone is dropped and the queues are empty.
    pub fn start(
        settings: &config::Writes,
        store: &Arc<dyn Store>,
        hub: &Arc<Hub>,
        health: &Arc<WriteHealth>,
    ) -> Self {
        let bytes = Arc::<AtomicUsize>::default();
        let shards = (0..settings.shards)
            .map(|index| {
                let (queue, jobs) = mpsc::channel(settings.queue_max);
                let down = Arc::<AtomicBool>::default();
                let commits = Commits {
                    store: store.clone(),
                    hub: hub.clone(),
                    health: health.clone(),
                    wait_max: settings.wait_max,
                };
                let writer = Writer {
                    index: index.to_string(),
                    bounds: writer::Bounds::new(settings),
                    window: settings.window,
                    set_aside: SetAside::new(settings, commits.clone()),
                    commits,
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
    /// order. Dropping the future does not take the write back. With a `pipeline` they also keep it when one
    /// of them is answered [`Unavailable`]: those behind it are then, too.
    pub fn submit(
        &self,
        write: Write,
        bytes: usize,
        pipeline: Option<&Pipeline>,
    ) -> impl Future<Output = Answer> + use<> {
        let queued = self.queue(write, bytes, pipeline.map(Pipeline::enter));
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
    ) -> Result<oneshot::Receiver<Answer>, Unavailable> {
        let shard = self.shard(&write.stream());
        let queued = if shard.down.load(Ordering::Acquire) {
            Err(Unavailable::Store)
        } else if let Some(size) = Size::take(bytes, &self.bytes) {
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting { since: Instant::now(), pass, answer, size };
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

    fn shard(&self, stream: &Stream) -> &Shard {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        stream.hash(&mut hasher);
        #[allow(clippy::cast_possible_truncation)]
        let index = hasher.finish() as usize % self.shards.len();
        &self.shards[index]
    }
}
