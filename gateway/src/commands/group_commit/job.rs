//! What the queue of a shard holds: writes with who waits for them, and barriers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use common::{Stream, TraceContext};
use metrics::gauge;
use tokio::{sync::oneshot, time::Instant};

use super::unavailable::{Answer, Unavailable};
use crate::{commands::pipeline::Pass, store::Write};

/// Bytes of commands that wait or are being committed, over all shards. Past it writes are refused like
/// past the queue's count: thousands of large events must not fill the memory. One shard may take all
/// of it, so that a thousand of the largest events fit in at once for one topic.
const QUEUE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Records the bound of all queues.
pub(super) fn record_limit() {
    #[allow(clippy::cast_precision_loss)]
    gauge!("draftwire_write_queue_bytes_max").set(QUEUE_BYTES_MAX as f64);
}

/// An entry of a shard's queue.
pub(super) enum Job {
    Write(Box<Write>, Waiting),
    Barrier(Arc<Barrier>),
}

/// Answered when every write to its stream that came before it has been: when the last queue that holds it
/// lets it go.
pub(super) struct Barrier {
    pub(super) stream: Stream,
    pub(super) since: Instant,
    pub(super) settled: Option<oneshot::Sender<()>>,
}

impl Drop for Barrier {
    fn drop(&mut self) {
        if let Some(settled) = self.settled.take() {
            // Nobody waits any more where the client has gone.
            let _ = settled.send(());
        }
    }
}

/// The caller that waits for the answer to a write. However it is answered, or dropped, the write's bytes are given
/// back.
pub(super) struct Waiting {
    pub(super) since: Instant,
    /// The trace that the write belongs to.
    pub(super) trace: Option<TraceContext>,
    /// For a write that has an order among others. Dropped before `answer`, see [`Waiting::answer`].
    pub(super) pass: Option<Pass>,
    pub(super) answer: oneshot::Sender<Answer>,
    pub(super) size: QueuedBytes,
}

impl Waiting {
    pub(super) fn answer(self, answer: Answer) {
        // Before the answer is known: whoever has it may already repeat the write.
        match self.pass {
            Some(pass) if answer.is_ok() => pass.decided(),
            pass => drop(pass),
        }
        // Nobody waits any more where the client has gone.
        let _ = self.answer.send(answer);
    }

    pub(super) fn refuse(self, unavailable: Unavailable) {
        unavailable.count();
        self.answer(Err(unavailable));
    }
}

/// The bytes of one write, as a share of those of all queues. Dropping it gives them back.
pub(super) struct QueuedBytes {
    pub(super) bytes: usize,
    all: Arc<AtomicUsize>,
}

impl QueuedBytes {
    /// `None` when there is no room.
    pub(super) fn take(bytes: usize, all: &Arc<AtomicUsize>) -> Option<Self> {
        let before = all.fetch_add(bytes, Ordering::Relaxed);
        let size = Self { bytes, all: all.clone() };
        (before + bytes <= QUEUE_BYTES_MAX).then_some(size)
    }
}

impl Drop for QueuedBytes {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
