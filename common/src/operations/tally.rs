//! What is counted without being timed.

use std::sync::atomic::{AtomicU64, Ordering};

use super::shard::{SHARDS, shard};

/// Something that a process counts since it began. Adding to it takes a few nanoseconds and no lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tally {
    /// Messages of clients over WebSockets.
    MessagesIn,
    /// Events handed to connections, and answers over WebSockets.
    MessagesOut,
    /// Bytes that clients have sent, in messages over WebSockets and over HTTP.
    BytesIn,
    /// Bytes that clients were sent, in messages over WebSockets and over HTTP.
    BytesOut,
    /// Connections that clients have tried to open.
    Attempts,
    /// Connections that were opened.
    Connections,
    /// Those of them whose clients came with a cursor: they had been connected before.
    Reconnections,
    /// Copies of events that were here already, and repeated commands answered from memory.
    Duplicates,
    /// Times that a client was told that events are gone.
    Gaps,
    /// Signs that the store lacks events that were acknowledged.
    Losses,
    /// Tokens that the cache of verified tokens had.
    TokenHits,
    /// Tokens that it had not.
    TokenMisses,
    /// Rights that the cache of the backend's answers had.
    AnswerHits,
    /// Rights that it had not.
    AnswerMisses,
    /// Changes of drafts that were decided on what the node knew.
    DraftHits,
    /// Changes of drafts that needed a query first.
    DraftMisses,
    /// Times that a follower found its next events in memory.
    EventHits,
    /// Times that it had to read them from the log.
    EventMisses,
    /// Batch windows that were opened.
    WindowsOpened,
    /// Batch windows that have ended.
    WindowsEnded,
}

const COUNT: usize = Tally::WindowsEnded as usize + 1;

/// The counters of some threads, on cache lines of their own.
#[repr(align(128))]
struct Counters([AtomicU64; COUNT]);

static COUNTERS: [Counters; SHARDS] = [const { Counters([const { AtomicU64::new(0) }; COUNT]) }; SHARDS];

impl Tally {
    /// Adds so many.
    pub fn add(self, count: u64) {
        COUNTERS[shard()].0[self as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// How many there were since the process began.
    pub fn total(self) -> u64 {
        COUNTERS.iter().map(|counters| counters.0[self as usize].load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_for_itself() {
        let (before, other) = (Tally::Gaps.total(), Tally::Losses.total());
        Tally::Gaps.add(2);
        Tally::Gaps.add(3);
        assert_eq!((Tally::Gaps.total() - before, Tally::Losses.total() - other), (5, 0));
    }
}
