//! The newest events of a stream, kept in memory for whoever is about to need them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{Event, Seq};

use crate::{
    Source,
    block::{BLOCK_EVENTS, Block, Due},
};

/// An event on its way to followers, and how it came to this node.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event; one copy and one encoding serve all followers.
    pub event: Arc<Event>,
    /// How it came.
    pub source: Source,
}

/// What all streams of a node keep in memory, together.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    bytes_max: usize,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { used: AtomicUsize::new(0), bytes_max })
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    pub(crate) fn take(&self, bytes: usize) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn is_exceeded(&self) -> bool {
        self.used() > self.bytes_max
    }
}

/// Consecutive events, the last of which is the stream's tip. This is the outbound queue of all
/// followers of the stream at once: each reads on from its own cursor, and one that has fallen out
/// at the old end reads the log instead. So a slow follower costs a cursor, not a queue.
#[derive(Debug)]
pub(crate) struct Recent {
    events: VecDeque<Delivery>,
    /// Those that several followers have needed together, by the number of their first event divided by
    /// their length. Only of events that are here.
    blocks: BTreeMap<u64, Arc<Block>>,
    bytes: usize,
    /// The last urgent event that was pushed; zero for none.
    urgent: Seq,
    events_max: usize,
    budget: Arc<Budget>,
}

/// Events kept per stream even when the node's budget is used up: enough that followers who keep
/// pace are not sent to the log.
const EVENTS_MIN: usize = 16;

/// Bytes up to which they are kept. Larger events are sent from the log rather than past the budget.
const BYTES_MIN: usize = 32 * 1024;

impl Recent {
    pub(crate) fn new(events_max: usize, budget: Arc<Budget>) -> Self {
        let events_max = events_max.max(EVENTS_MIN);
        Self {
            events: VecDeque::new(),
            blocks: BTreeMap::new(),
            bytes: 0,
            urgent: Seq(0),
            events_max,
            budget,
        }
    }

    /// Appends the event after the last one.
    pub(crate) fn push(&mut self, delivery: Delivery) {
        debug_assert!(self.events.back().is_none_or(|last| last.event.seq.next() == delivery.event.seq));
        self.add(&delivery.event);
        self.events.push_back(delivery);
        while self.events.len() > self.events_max {
            self.drop_oldest();
        }
        self.trim();
    }

    /// Puts events read from the log before those that are here, where they join without a gap and
    /// there is room. So the next follower that comes back this far finds them.
    pub(crate) fn extend_back(&mut self, page: &[Arc<Event>], tip: Seq) {
        let first_kept = self.events.front().map_or(tip.next(), |first| first.event.seq);
        for event in page.iter().rev().skip_while(|event| event.seq >= first_kept) {
            let joins = event.seq.next() == self.events.front().map_or(tip.next(), |first| first.event.seq);
            if !joins || self.events.len() >= self.events_max || self.budget.is_exceeded() {
                break;
            }
            self.add(event);
            self.events.push_front(Delivery { event: event.clone(), source: Source::Replay });
        }
    }

    /// The events after `cursor`, up to about `bytes_max` of them but at least one; `None` when the
    /// next one is not here.
    pub(crate) fn after(&mut self, cursor: Seq, bytes_max: usize) -> Option<Vec<Due>> {
        let first = self.events.front()?.event.seq;
        let mut next = usize::try_from(cursor.next().0.checked_sub(first.0)?).ok()?;
        let (mut due, mut bytes) = (Vec::new(), 0);
        while next < self.events.len() && bytes < bytes_max {
            let some = match self.block(next) {
                Some(block) => Due::Block(block),
                None => Due::One(self.events[next].clone()),
            };
            next += some.deliveries().len();
            bytes += some.deliveries().iter().map(|one| one.event.payload.get().len()).sum::<usize>();
            due.push(some);
        }
        (!due.is_empty()).then_some(due)
    }

    /// The block that begins with the event at `index`, if one does and all of it is here. Whoever keeps
    /// pace never needs one.
    fn block(&mut self, index: usize) -> Option<Arc<Block>> {
        let seq = self.events[index].event.seq.0;
        let end = index + BLOCK_EVENTS;
        if !seq.is_multiple_of(BLOCK_EVENTS as u64) || end > self.events.len() {
            return None;
        }
        let new = || {
            let deliveries = self.events.range(index..end).cloned().collect();
            Arc::new(Block::new(deliveries, self.budget.clone()))
        };
        Some(self.blocks.entry(seq / BLOCK_EVENTS as u64).or_insert_with(new).clone())
    }

    /// Whether the event after `cursor` is here.
    pub(crate) fn reaches(&self, cursor: Seq) -> bool {
        let ends = self.events.front().zip(self.events.back());
        ends.is_some_and(|(first, last)| (first.event.seq..=last.event.seq).contains(&cursor.next()))
    }

    /// How many events are kept just now.
    pub(crate) fn room(&self) -> usize {
        if self.budget.is_exceeded() { EVENTS_MIN } else { self.events_max }
    }

    /// The last urgent event, whether it is still here or not; zero for none.
    pub(crate) fn urgent(&self) -> Seq {
        self.urgent
    }

    pub(crate) fn clear(&mut self) {
        // Of the history that may follow, no event has come yet.
        self.urgent = Seq(0);
        while !self.events.is_empty() {
            self.drop_oldest();
        }
    }

    /// Frees what the stream holds beyond the minimum while the node's budget is exceeded.
    pub(crate) fn trim(&mut self) {
        while (self.events.len() > EVENTS_MIN || self.bytes > BYTES_MIN) && self.budget.is_exceeded() {
            self.drop_oldest();
        }
    }

    fn add(&mut self, event: &Event) {
        self.bytes += event.weight();
        self.budget.take(event.weight());
        if event.priority.is_urgent() {
            self.urgent = self.urgent.max(event.seq);
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            let bytes = oldest.event.weight();
            self.bytes -= bytes;
            self.budget.give_back(bytes);
            if !self.blocks.is_empty() {
                self.blocks.remove(&(oldest.event.seq.0 / BLOCK_EVENTS as u64));
            }
        }
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{event, large_event};

    fn recent(events_max: usize, bytes_max: usize) -> Recent {
        Recent::new(events_max, Budget::new(bytes_max))
    }

    fn push(recent: &mut Recent, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            recent.push(Delivery { event: event(seq), source: Source::Bus });
        }
    }

    fn after(recent: &mut Recent, cursor: u64) -> Option<Vec<u64>> {
        let due = recent.after(Seq(cursor), usize::MAX)?;
        Some(due.iter().flat_map(Due::deliveries).map(|delivery| delivery.event.seq.0).collect())
    }

    #[test]
    fn whoever_is_behind_shares_blocks_that_go_with_their_events() {
        let block_events = BLOCK_EVENTS as u64;
        let mut recent = recent(5 * BLOCK_EVENTS, usize::MAX);
        push(&mut recent, 1..=4 * block_events);
        let blocks = |due: Vec<Due>| -> Vec<Arc<Block>> {
            let block = |due| if let Due::Block(block) = due { Some(block) } else { None };
            due.into_iter().filter_map(block).collect()
        };
        let one = blocks(recent.after(Seq(3), usize::MAX).unwrap());
        let other = blocks(recent.after(Seq(block_events), usize::MAX).unwrap());
        assert_eq!((one.len(), other.len()), (3, 2), "the last one is not whole yet");
        assert!(Arc::ptr_eq(&one[1], &other[0]));
        assert_eq!(after(&mut recent, 3), Some((4..=4 * block_events).collect()));
        assert!(blocks(recent.after(Seq(4 * block_events - 3), usize::MAX).unwrap()).is_empty());
        push(&mut recent, 4 * block_events + 1..=7 * block_events);
        assert_eq!(recent.blocks.len(), 1, "{:?}", recent.blocks.keys());
        recent.clear();
        assert!(recent.blocks.is_empty());
    }

    #[test]
    fn followers_read_on_from_their_own_cursor() {
        let mut recent = recent(100, usize::MAX);
        push(&mut recent, 5..=8);
        assert_eq!(after(&mut recent, 4), Some(vec![5, 6, 7, 8]));
        assert_eq!(after(&mut recent, 7), Some(vec![8]));
        assert_eq!(after(&mut recent, 8), None);
        assert_eq!(after(&mut recent, 99), None);
        assert_eq!(after(&mut recent, 3), None, "the log has it");
        assert_eq!(recent.after(Seq(4), 1).map(|due| due.len()), Some(1), "at least one");
    }

    #[test]
    fn it_keeps_the_newest_within_its_bounds_and_gives_back_what_it_took() {
        let mut kept = recent(20, usize::MAX);
        push(&mut kept, 1..=100);
        assert_eq!(after(&mut kept, 80).map(|due| due.len()), Some(20));
        assert_eq!(after(&mut kept, 79), None);
        let budget = kept.budget.clone();
        assert!(budget.used() > 0);
        drop(kept);
        assert_eq!(budget.used(), 0);
        let mut poor = recent(1000, 1);
        push(&mut poor, 1..=100);
        assert_eq!(after(&mut poor, 100 - EVENTS_MIN as u64).map(|due| due.len()), Some(EVENTS_MIN));
        assert_eq!(after(&mut poor, 99 - EVENTS_MIN as u64), None);
    }

    #[test]
    fn large_events_do_not_stand_past_the_budget() {
        let mut kept = recent(1000, 10_000);
        for seq in 1..=20 {
            kept.push(Delivery { event: large_event(seq, BYTES_MIN), source: Source::Bus });
            assert!(kept.budget.used() <= 10_000 + 3 * BYTES_MIN, "{}", kept.budget.used());
        }
    }

    #[test]
    fn a_page_of_the_log_is_joined_without_a_gap() {
        let page: Vec<_> = (3..=6).map(event).collect();
        let mut joined = recent(100, usize::MAX);
        push(&mut joined, 6..=7);
        joined.extend_back(&page, Seq(7));
        assert_eq!(after(&mut joined, 2), Some(vec![3, 4, 5, 6, 7]));
        let mut apart = recent(100, usize::MAX);
        push(&mut apart, 9..=9);
        apart.extend_back(&page, Seq(9));
        assert_eq!(after(&mut apart, 2), None);
        let mut empty = recent(100, usize::MAX);
        empty.extend_back(&page, Seq(6));
        assert_eq!(after(&mut empty, 2), Some(vec![3, 4, 5, 6]));
    }
}
