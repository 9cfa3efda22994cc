//! What the fan-out needs of the store: the durable log behind every stream.

use std::sync::Arc;

use async_trait::async_trait;
use common::{Epoch, Event, Seq, Stream};

/// The durable log of every stream: the only truth about what was committed, and in which order.
///
/// Answers come from the primary, never from a replica: a position that lags is taken for a loss.
/// Every call ends within a few seconds, with [`LogError`] when the store does not answer; dropping a
/// call is safe and leaves nothing behind.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// The position of each stream, in the order asked for. A stream that has no event yet is there,
    /// with `head` and `floor` zero. At most [`HEADS_PER_CALL_MAX`] streams.
    async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError>;

    /// The events after `after` of each stream, in order and without gaps, at most `limit` of each and
    /// about [`READ_BYTES_MAX`] but at least one, in the order asked for. At most
    /// [`READS_PER_CALL_MAX`] reads.
    async fn read(&self, reads: &[Read]) -> Result<Vec<Page>, LogError>;

    /// Gives the history another name, because events that were acknowledged or announced in `epoch` are not in
    /// the log any more. Once it has returned, no answer to a question that is asked later carries `epoch`, on
    /// any node. It does nothing when the history has another name already.
    ///
    /// A log whose history changes its name whenever events can be lost does not need it.
    async fn rename_history(&self, epoch: &Epoch) -> Result<(), LogError> {
        let _ = epoch;
        Ok(())
    }
}

/// Streams in one [`Log::heads`] call.
pub const HEADS_PER_CALL_MAX: usize = 1000;

/// Reads in one [`Log::read`] call.
pub const READS_PER_CALL_MAX: usize = 64;

/// Bytes of payload after which a page ends, whatever its limit: many followers read at once, and a
/// call must end within the store's time limit.
pub const READ_BYTES_MAX: usize = 256 * 1024;

/// The store did not answer, or not in time. Nothing is known; ask again later.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store cannot be read: {0}")]
pub struct LogError(pub String);

/// Positions of several streams, all of one history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// The history that they count in.
    pub epoch: Epoch,
    /// One per stream asked for.
    pub heads: Vec<Head>,
}

/// Which part of a stream the log holds: `floor < seq <= head`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// The last event; zero when there was none.
    pub head: Seq,
    /// The last event that retention has removed; zero when none was.
    pub floor: Seq,
}

/// A request for events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    /// Whose events.
    pub stream: Stream,
    /// The first event wanted is the next one.
    pub after: Seq,
    /// How many at most.
    pub limit: u32,
}

/// Events read from the log.
#[derive(Debug, Clone)]
pub struct Page {
    /// The history that they belong to: read together with them, because numbers of one history mean
    /// nothing in another.
    pub epoch: Epoch,
    /// Consecutive, beginning with the one after `after`; empty when the log holds none beyond it,
    /// or when that one is gone: then `floor` is at or beyond it.
    pub events: Vec<Arc<Event>>,
    /// The last event that retention has removed.
    pub floor: Seq,
}
