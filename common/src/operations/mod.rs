//! What a node does, from the handshake to the socket, and how long each of it takes.
//!
//! Recording costs a few tens of nanoseconds and takes no lock: an [`Operation`] has [`Meter`]s of its own, which are
//! static arrays of counters; threads share one as little as possible, because a counter that two processors write goes
//! back and forth between them. So every layer of the server can record where the work is done. Whoever wants to know
//! how the last minutes were reads the meters at intervals ([`Slices`]), and adds them up.
//!
//! Meters are of the process, as its metrics are: a process is a node.

mod histogram;
mod meter;
mod moment;
mod shard;
mod since;
mod slices;
mod tally;

pub use self::{
    histogram::{Histogram, bucket_below},
    meter::{Meter, Meters, Outcome, Totals},
    moment::Moment,
    since::Since,
    slices::{SLICE, SLICES_MAX, Slices, Window},
    tally::Tally,
};

/// An operation on the way of a change or of a connection, in this order. Statements of the store and routes over HTTP
/// have meters of their own beside these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// A token is verified, from the cache or by its signature.
    Verify,
    /// A connection joins its first streams, from its turn to the last position.
    Join,
    /// A message of a client is decoded.
    Decode,
    /// A write waits in the queue of its shard until its commit begins.
    Queue,
    /// A write is committed, together with others; counted once for each write.
    Commit,
    /// A call waits for a connection of the pool.
    Pool,
    /// A message for other nodes waits for the bus and is taken by it.
    Publish,
    /// An event travels, from the end of its commit on one node until another one has its copy, by their clocks.
    Hop,
    /// A copy waits until all events before it are there.
    Sequence,
    /// A live event is handed to a socket, from the moment at which it was in order on this node.
    Deliver,
    /// Pages of the log are read for followers that are behind.
    LogPage,
    /// All drafts of a user are read for a client that cannot be sent what it missed.
    Snapshot,
}

impl Operation {
    /// All of them, in the order of the way.
    pub const ALL: [Self; 12] = [
        Self::Verify,
        Self::Join,
        Self::Decode,
        Self::Queue,
        Self::Commit,
        Self::Pool,
        Self::Publish,
        Self::Hop,
        Self::Sequence,
        Self::Deliver,
        Self::LogPage,
        Self::Snapshot,
    ];

    /// The name, as in the label of `draftwire_operation_seconds`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Join => "join",
            Self::Decode => "decode",
            Self::Queue => "queue",
            Self::Commit => "commit",
            Self::Pool => "pool",
            Self::Publish => "publish",
            Self::Hop => "hop",
            Self::Sequence => "sequence",
            Self::Deliver => "deliver",
            Self::LogPage => "log_page",
            Self::Snapshot => "snapshot",
        }
    }

    /// Its meter for the thread that asks.
    pub fn meter(self) -> &'static Meter {
        self.meters().own()
    }

    /// Its meters.
    pub fn meters(self) -> &'static Meters {
        &METERS[self as usize]
    }
}

static METERS: [Meters; Operation::ALL.len()] = [const { Meters::new() }; Operation::ALL.len()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_has_its_own_meter_and_name() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation as usize, index, "{}", operation.name());
            assert!(Operation::ALL[..index].iter().all(|other| other.name() != operation.name()));
        }
    }
}
