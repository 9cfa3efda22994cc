//! Retention: removing from a store what has grown old.
//!
//! A log is cut in two steps. First the stream's floor is moved, which is one short statement under the
//! lock of its row: from that moment on readers are told that what is below is gone. Then the events are
//! deleted, which takes longer and needs no lock of a stream. In between a reader finds a floor beyond
//! its cursor, never a hole.

use async_trait::async_trait;
use common::Seq;

use super::StoreError;

/// What the node that leads retention may do with a store. One node leads at a time. Its leadership ends when
/// this is dropped, and by itself when the node dies. Nothing breaks should two nodes lead all the same: floors
/// only grow, and events are deleted below them.
///
/// Each call is a small piece of work that ends within a time limit of its own; a call that is dropped has
/// happened as a whole or not at all. The leader is expected to pause between calls.
#[async_trait]
pub trait RetentionStore: Send {
    /// What time it is for all nodes, Unix milliseconds. A node that decides by its own clock what is old
    /// may be wrong, and alone with it.
    async fn now(&mut self) -> Result<u64, StoreError>;

    /// Moves the floors of the next streams of a kind: those whose names come after `after`, or the
    /// first ones. No writer waits for it longer than for another writer.
    async fn trim(&mut self, rule: &Rule, after: Option<&str>, chunk: Chunk) -> Result<Trimmed, StoreError>;

    /// Deletes events below the floors of their streams, about `events_max` of them, whoever moved the
    /// floors. There may be more until it returns [`Deleted::streams`] as zero.
    async fn delete(&mut self, events_max: u32) -> Result<Deleted, StoreError>;

    /// Forgets commands remembered before `before` (Unix milliseconds), at most `limit` of them. Returns
    /// how many it forgot.
    async fn forget_commands(&mut self, before: u64, limit: u32) -> Result<u64, StoreError>;

    /// Makes sure that this node still leads. The leader makes this or another call at least every
    /// [`CONFIRM_INTERVAL_MAX`].
    ///
    /// [`CONFIRM_INTERVAL_MAX`]: super::CONFIRM_INTERVAL_MAX
    async fn confirm(&mut self) -> Result<(), StoreError>;
}

/// What may be cut off the logs of one kind of streams. A log only ever loses its oldest events, so that
/// what is left has no holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Which streams.
    pub kind: StreamKind,
    /// How many of its newest events a stream keeps; `None` for all of them.
    pub events_max: Option<u64>,
    /// Events committed before this moment go, Unix milliseconds, up to the first one in the log that
    /// was not; `None` when age does not matter.
    pub before: Option<u64>,
}

/// A kind of streams, each with rules of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// The stream of all connections.
    All,
    /// The stream of the nodes.
    Control,
    /// Topics.
    Topic,
    /// The users' own streams.
    User,
}

impl StreamKind {
    /// All of them, in the order of their streams' names.
    pub const ALL: [Self; 4] = [Self::All, Self::Control, Self::Topic, Self::User];

    /// As in metrics, and in [`common::Stream::kind`].
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Control => "control",
            Self::Topic => "topic",
            Self::User => "user",
        }
    }

    /// The names of its streams lie between these, both excluded, compared by their bytes.
    pub(super) fn range(self) -> (&'static str, &'static str) {
        match self {
            Self::All => ("al", "all!"),
            Self::Control => ("contro", "control!"),
            Self::Topic => ("topic:", "topic;"),
            Self::User => ("user:", "user;"),
        }
    }
}

/// How much one call looks at.
#[derive(Debug, Clone, Copy)]
pub struct Chunk {
    /// Streams.
    pub streams_max: u32,
    /// Events of each that may be found to be too old at a time.
    pub events_max: u32,
}

/// The result of [`RetentionStore::trim`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trimmed {
    /// Where to go on; `None` after the last stream of the kind.
    pub next: Option<String>,
    /// Streams whose floor was moved.
    pub moved: usize,
    /// Streams that somebody kept locked. They are left for another time.
    pub skipped: usize,
}

/// The result of [`RetentionStore::delete`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Streams that were concerned, also when there was nothing left to delete in them.
    pub streams: u64,
    /// Events removed of the stream of all connections.
    pub all: u64,
    /// Events removed of the stream of the nodes.
    pub control: u64,
    /// Events removed of topics.
    pub topic: u64,
    /// Events removed of users' streams.
    pub user: u64,
}

impl Deleted {
    /// Events removed of one kind of streams.
    pub fn of(&self, kind: StreamKind) -> u64 {
        match kind {
            StreamKind::All => self.all,
            StreamKind::Control => self.control,
            StreamKind::Topic => self.topic,
            StreamKind::User => self.user,
        }
    }
}

/// The head and the floor of a stream, and the first event that retention must keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) name: String,
    pub(super) head: u64,
    pub(super) floor: u64,
    /// The first event above the floor that is not too old, if it is among the next
    /// [`Chunk::events_max`] ones.
    pub(super) fresh: Option<u64>,
}

/// Which floors are to be moved.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) floors: Vec<(String, Seq)>,
    /// Where this chunk began, if its streams may have more events that are too old than were looked at.
    again: Option<String>,
    /// Where the next chunk begins.
    next: Option<String>,
}

impl Moves {
    /// The result of the chunk when `moved` of the floors could be moved.
    pub(super) fn done(self, moved: usize) -> Trimmed {
        let skipped = self.floors.len().saturating_sub(moved);
        // The chunk is looked at again only while floors move: one whose remaining streams are all kept locked
        // would be looked at for ever.
        let again = self.again.filter(|_| moved > 0);
        Trimmed { next: again.or(self.next), moved, skipped }
    }
}

/// Applies a rule to a chunk of streams.
pub(super) fn moves(positions: Vec<Position>, rule: &Rule, after: Option<&str>, chunk: Chunk) -> Moves {
    let full = positions.len() >= chunk.streams_max as usize;
    let last = positions.last().map(|position| position.name.clone());
    let mut floors = Vec::new();
    let mut again = false;
    for Position { name, head, floor, fresh } in positions {
        let by_number = rule.events_max.map_or(0, |max| head.saturating_sub(max));
        let looked_at = floor.saturating_add(u64::from(chunk.events_max));
        let by_age = rule.before.map_or(0, |_| fresh.map_or(looked_at, |seq| seq.saturating_sub(1)));
        let moved = by_number.max(by_age).min(head);
        if moved > floor {
            // All events that were looked at are too old: the next ones may be as well.
            again |= rule.before.is_some() && fresh.is_none() && looked_at < head;
            floors.push((name, Seq(moved)));
        }
    }
    let start = after.unwrap_or(rule.kind.range().0);
    Moves { floors, again: again.then(|| start.to_owned()), next: last.filter(|_| full) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CHUNK: Chunk = Chunk { streams_max: 2, events_max: 10 };

    fn rule(events_max: Option<u64>, before: Option<u64>) -> Rule {
        Rule { kind: StreamKind::Topic, events_max, before }
    }

    fn position(head: u64, floor: u64, fresh: Option<u64>) -> Position {
        Position { name: "topic:t".to_owned(), head, floor, fresh }
    }

    fn floor(position: Position, rule: &Rule) -> Option<u64> {
        let moves = moves(vec![position], rule, None, CHUNK);
        moves.floors.first().map(|(_, floor)| floor.0)
    }

    #[test]
    fn the_stricter_bound_decides() {
        let (number, age) = (rule(Some(5), None), rule(None, Some(1)));
        let both = rule(Some(5), Some(1));
        for (position, by_number, by_age, by_both) in [
            (position(20, 0, Some(3)), Some(15), Some(2), Some(15)),
            (position(20, 0, Some(19)), Some(15), Some(18), Some(18)),
            (position(20, 18, Some(19)), None, None, None),
            (position(4, 0, Some(1)), None, None, None),
            // None of the next ten is young enough.
            (position(30, 2, None), Some(25), Some(12), Some(25)),
            // Nor is any of those that are left.
            (position(8, 2, None), Some(3), Some(8), Some(8)),
            (position(0, 0, None), None, None, None),
        ] {
            assert_eq!(floor(position.clone(), &number), by_number, "{position:?}");
            assert_eq!(floor(position.clone(), &age), by_age, "{position:?}");
            assert_eq!(floor(position.clone(), &both), by_both, "{position:?}");
            assert_eq!(floor(position.clone(), &rule(None, None)), None, "{position:?}");
        }
    }

    #[test]
    fn a_chunk_is_looked_at_again_while_there_may_be_more() {
        let next = |position, rule| moves(vec![position], &rule, Some("topic:s"), CHUNK).done(1).next;
        let age = rule(None, Some(1));
        assert_eq!(next(position(30, 2, None), age).as_deref(), Some("topic:s"));
        assert_eq!(next(position(30, 2, Some(9)), age), None);
        assert_eq!(next(position(12, 2, None), age), None, "nothing is left");
        let full = vec![position(9, 9, None), position(9, 9, None)];
        assert_eq!(moves(full, &age, None, CHUNK).done(0).next.as_deref(), Some("topic:t"));
        let locked = moves(vec![position(30, 2, None)], &age, None, CHUNK).done(0);
        assert_eq!(locked, Trimmed { next: None, moved: 0, skipped: 1 }, "it would never end");
    }

    #[test]
    fn a_stream_that_is_kept_locked_does_not_hold_back_the_others_of_its_chunk() {
        let two = || vec![position(10_000, 0, None), position(10_000, 0, None)];
        let trimmed = moves(two(), &rule(None, Some(1)), Some("topic:s"), CHUNK).done(1);
        assert_eq!((trimmed.moved, trimmed.skipped), (1, 1));
        assert_eq!(trimmed.next.as_deref(), Some("topic:s"), "the other one has more to give up");
    }

    #[test]
    fn names_lie_in_the_range_of_their_kind() {
        for (name, kind) in [
            ("all", StreamKind::All),
            ("control", StreamKind::Control),
            ("topic:-", StreamKind::Topic),
            ("topic:zz", StreamKind::Topic),
            ("user:!", StreamKind::User),
            ("user:\u{10ffff}", StreamKind::User),
        ] {
            for other in StreamKind::ALL {
                let (start, end) = other.range();
                assert_eq!(start < name && name < end, other == kind, "{name:?}");
            }
            assert_eq!(name.parse::<common::Stream>().unwrap().kind(), kind.as_str());
        }
    }

    proptest! {
        #[test]
        fn floors_only_grow_and_stop_at_the_head(
            head in 0u64..50,
            floor in 0u64..50,
            fresh in prop::option::of(1u64..50),
            events_max in prop::option::of(1u64..60),
            aged in any::<bool>(),
        ) {
            let floor = floor.min(head);
            let fresh = fresh.map(|fresh| floor + fresh).filter(|fresh| *fresh <= head);
            let rule = rule(events_max, aged.then_some(1));
            if let Some(moved) = super::tests::floor(position(head, floor, fresh), &rule) {
                prop_assert!(floor < moved && moved <= head);
                if let (Some(fresh), None) = (fresh, events_max) {
                    prop_assert!(moved < fresh, "what is young enough stays");
                }
                if let (Some(max), false) = (events_max, aged) {
                    prop_assert!(head - moved >= max.min(head), "as many as the rule says stay");
                }
            }
        }
    }
}
