//! The newest events of a stream, kept in memory for all of its followers.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use common::{Event, Seq, message::Form, operations::Moment};
use tokio::time::{Duration, Instant};

use super::{budget::Budget, source::Source};

/// An event for followers, and how it reached this node.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event; one copy and one encoding serve all followers.
    pub event: Arc<Event>,
    /// How it reached this node.
    pub source: Source,
    /// When it was in order on this node.
    pub sequenced: Moment,
    /// How old it was then, by the clocks of its node and of this one, in milliseconds; zero of a replay.
    pub age_ms: u32,
}

/// Events per block: few enough that a follower which is a little behind finds complete ones.
pub(crate) const BLOCK_EVENTS: usize = 16;

/// Consecutive events whose frames are contiguous in memory, once for all followers that have to catch up on
/// all of them. So sending a block to a follower costs one copy by the kernel.
#[derive(Debug)]
pub struct Block {
    deliveries: Vec<Delivery>,
    /// The bytes per form; `None` where the events cannot be sent together in it.
    forms: [OnceLock<Option<Bytes>>; Form::COUNT],
    budget: Arc<Budget>,
}

/// One or several deliveries, in order.
#[derive(Debug, Clone)]
pub enum Deliveries {
    /// One event.
    One(Delivery),
    /// Several events that other followers need as well.
    Block(Arc<Block>),
}

impl Block {
    pub(crate) fn new(deliveries: Vec<Delivery>, budget: Arc<Budget>) -> Self {
        Self { deliveries, forms: Default::default(), budget }
    }

    /// The events, in order.
    pub fn deliveries(&self) -> &[Delivery] {
        &self.deliveries
    }

    /// Returns the frames of all events for a connection that uses this form. The first call encodes them with
    /// `encode`, which returns `None` when they have to be sent one by one; every caller must encode alike.
    pub fn bytes(&self, form: Form, encode: impl FnOnce(&[Delivery]) -> Option<Bytes>) -> Option<&Bytes> {
        let bytes = self.forms[form.index()].get_or_init(|| {
            let bytes = encode(&self.deliveries);
            self.budget.take(bytes.as_ref().map_or(0, Bytes::len));
            bytes
        });
        bytes.as_ref()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let bytes = self.forms.iter().filter_map(|form| form.get()?.as_ref()).map(Bytes::len).sum();
        self.budget.give_back(bytes);
    }
}

impl Deliveries {
    /// The events, in order; at least one.
    pub fn as_slice(&self) -> &[Delivery] {
        match self {
            Self::One(delivery) => std::slice::from_ref(delivery),
            Self::Block(block) => block.deliveries(),
        }
    }
}

/// Consecutive events, the last of which is the stream's tip. This is the outbound queue of all
/// followers of the stream at once: each reads on from its own cursor, and one that has fallen out
/// at the old end reads the log instead. So a slow follower costs a cursor, not a queue.
#[derive(Debug)]
pub(crate) struct Ring {
    events: VecDeque<Delivery>,
    /// The blocks that a follower has needed, by the number of their first event divided by their length.
    /// Every event of a block is in `events`.
    blocks: BTreeMap<u64, Arc<Block>>,
    bytes: usize,
    /// The last urgent event that was pushed; zero for none.
    urgent: Seq,
    /// The tip at the last time that the ring aged, and when that was.
    aged: (Seq, Instant),
    events_max: usize,
    budget: Arc<Budget>,
}

/// Events kept per stream even when the node's budget is used up: enough that followers who keep
/// pace are not sent to the log.
const EVENTS_MIN: usize = 16;

/// Bytes kept per stream even then. Beyond them, events are sent from the log.
const BYTES_MIN: usize = 32 * 1024;

impl Ring {
    pub(crate) fn new(events_max: usize, budget: Arc<Budget>) -> Self {
        let events_max = events_max.max(EVENTS_MIN);
        Self {
            events: VecDeque::new(),
            blocks: BTreeMap::new(),
            bytes: 0,
            urgent: Seq(0),
            aged: (Seq(0), Instant::now()),
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

    /// Prepends events read from the log, where they join without a gap and there is room, so that the next
    /// follower with a cursor this old finds them in memory.
    pub(crate) fn extend_back(&mut self, page: &[Arc<Event>], tip: Seq) {
        let first_kept = self.events.front().map_or(tip.next(), |first| first.event.seq);
        let sequenced = Moment::now();
        for event in page.iter().rev().skip_while(|event| event.seq >= first_kept) {
            let joins = event.seq.next() == self.events.front().map_or(tip.next(), |first| first.event.seq);
            if !joins || self.events.len() >= self.events_max || self.budget.is_exceeded() {
                break;
            }
            self.add(event);
            let replay = Delivery { event: event.clone(), source: Source::Replay, sequenced, age_ms: 0 };
            self.events.push_front(replay);
        }
    }

    /// Returns the event of this number, if it is in memory.
    pub(crate) fn get(&self, seq: Seq) -> Option<&Arc<Event>> {
        let index = seq.0.checked_sub(self.events.front()?.event.seq.0)?;
        self.events.get(usize::try_from(index).ok()?).map(|delivery| &delivery.event)
    }

    /// Returns the events after `cursor`, about `bytes_max` of payload but at least one event; `None` when the
    /// next one is not in memory.
    pub(crate) fn after(&mut self, cursor: Seq, bytes_max: usize) -> Option<Vec<Deliveries>> {
        let first = self.events.front()?.event.seq;
        let mut next = usize::try_from(cursor.next().0.checked_sub(first.0)?).ok()?;
        let (mut due, mut bytes) = (Vec::new(), 0);
        while next < self.events.len() && bytes < bytes_max {
            let some = match self.block(next) {
                Some(block) => Deliveries::Block(block),
                None => Deliveries::One(self.events[next].clone()),
            };
            next += some.as_slice().len();
            bytes += some.as_slice().iter().map(|one| one.event.payload.get().len()).sum::<usize>();
            due.push(some);
        }
        (!due.is_empty()).then_some(due)
    }

    /// Returns the block that begins with the event at `index`, if a block begins there and is complete. A
    /// follower that keeps pace never needs one.
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

    /// Returns whether the event after `cursor` is in memory.
    pub(crate) fn reaches(&self, cursor: Seq) -> bool {
        let ends = self.events.front().zip(self.events.back());
        ends.is_some_and(|(first, last)| (first.event.seq..=last.event.seq).contains(&cursor.next()))
    }

    /// Returns how many events the ring may hold at present.
    pub(crate) fn capacity(&self) -> usize {
        if self.budget.is_exceeded() { EVENTS_MIN } else { self.events_max }
    }

    /// Returns the last urgent event, even if it is no longer in memory; zero for none.
    pub(crate) fn urgent(&self) -> Seq {
        self.urgent
    }

    pub(crate) fn clear(&mut self) {
        // The next history may begin with lower numbers.
        self.urgent = Seq(0);
        self.aged = (Seq(0), Instant::now());
        while !self.events.is_empty() {
            self.drop_oldest();
        }
    }

    /// Drops events beyond the minimum while the node's budget is exceeded.
    pub(crate) fn trim(&mut self) {
        while (self.events.len() > EVENTS_MIN || self.bytes > BYTES_MIN) && self.budget.is_exceeded() {
            self.drop_oldest();
        }
    }

    /// Drops what has been here for longer than `age_max`, up to twice that, beyond the minimum: a client that was
    /// away for so long reads the log. Called now and then.
    pub(crate) fn age(&mut self, age_max: Duration) {
        let (tip, since) = self.aged;
        if since.elapsed() < age_max {
            return;
        }
        while self.events.len() > EVENTS_MIN
            && self.events.front().is_some_and(|oldest| oldest.event.seq <= tip)
        {
            self.drop_oldest();
        }
        let tip = self.events.back().map_or(Seq(0), |newest| newest.event.seq);
        self.aged = (tip, Instant::now());
        // What one busy moment has needed is not kept for all quiet ones.
        self.events.shrink_to(2 * self.events.len());
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

impl Drop for Ring {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::{event, large_event};

    fn live(event: Arc<Event>) -> Delivery {
        Delivery { event, source: Source::Bus, sequenced: Moment::now(), age_ms: 0 }
    }

    fn ring(events_max: usize, bytes_max: usize) -> Ring {
        Ring::new(events_max, Budget::new(bytes_max))
    }

    fn push(ring: &mut Ring, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            ring.push(live(event(seq)));
        }
    }

    fn after(ring: &mut Ring, cursor: u64) -> Option<Vec<u64>> {
        let due = ring.after(Seq(cursor), usize::MAX)?;
        Some(due.iter().flat_map(Deliveries::as_slice).map(|delivery| delivery.event.seq.0).collect())
    }

    #[test]
    fn whoever_is_behind_shares_blocks_that_go_with_their_events() {
        let block_events = BLOCK_EVENTS as u64;
        let mut ring = ring(5 * BLOCK_EVENTS, usize::MAX);
        push(&mut ring, 1..=4 * block_events);
        let blocks = |due: Vec<Deliveries>| -> Vec<Arc<Block>> {
            let block = |due| if let Deliveries::Block(block) = due { Some(block) } else { None };
            due.into_iter().filter_map(block).collect()
        };
        let one = blocks(ring.after(Seq(3), usize::MAX).unwrap());
        let other = blocks(ring.after(Seq(block_events), usize::MAX).unwrap());
        assert_eq!((one.len(), other.len()), (3, 2), "the last one is not whole yet");
        assert!(Arc::ptr_eq(&one[1], &other[0]));
        assert_eq!(after(&mut ring, 3), Some((4..=4 * block_events).collect()));
        assert!(blocks(ring.after(Seq(4 * block_events - 3), usize::MAX).unwrap()).is_empty());
        push(&mut ring, 4 * block_events + 1..=7 * block_events);
        assert_eq!(ring.blocks.len(), 1, "{:?}", ring.blocks.keys());
        ring.clear();
        assert!(ring.blocks.is_empty());
    }

    #[test]
    fn followers_read_on_from_their_own_cursor() {
        let mut ring = ring(100, usize::MAX);
        push(&mut ring, 5..=8);
        assert_eq!(after(&mut ring, 4), Some(vec![5, 6, 7, 8]));
        assert_eq!(after(&mut ring, 7), Some(vec![8]));
        assert_eq!(after(&mut ring, 8), None);
        assert_eq!(after(&mut ring, 99), None);
        assert_eq!(after(&mut ring, 3), None, "the log has it");
        assert_eq!(ring.after(Seq(4), 1).map(|due| due.len()), Some(1), "at least one");
    }

    #[test]
    fn it_keeps_the_newest_within_its_bounds_and_gives_back_what_it_took() {
        let mut kept = ring(20, usize::MAX);
        push(&mut kept, 1..=100);
        assert_eq!(after(&mut kept, 80).map(|due| due.len()), Some(20));
        assert_eq!(after(&mut kept, 79), None);
        let budget = kept.budget.clone();
        assert!(budget.used() > 0);
        drop(kept);
        assert_eq!(budget.used(), 0);
        let mut poor = ring(1000, 1);
        push(&mut poor, 1..=100);
        assert_eq!(after(&mut poor, 100 - EVENTS_MIN as u64).map(|due| due.len()), Some(EVENTS_MIN));
        assert_eq!(after(&mut poor, 99 - EVENTS_MIN as u64), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_comes_back_for_is_dropped_but_for_a_minimum() {
        let age_max = Duration::from_secs(60);
        let oldest = |ring: &Ring| ring.events.front().unwrap().event.seq.0;
        let mut kept = ring(1000, usize::MAX);
        push(&mut kept, 1..=200);
        for (pass, expected) in [(59, 1), (1, 1), (59, 1)] {
            tokio::time::advance(Duration::from_secs(pass)).await;
            kept.age(age_max);
            assert_eq!(oldest(&kept), expected, "younger than a minute");
        }
        push(&mut kept, 201..=300);
        tokio::time::advance(Duration::from_secs(1)).await;
        kept.age(age_max);
        assert_eq!(oldest(&kept), 201);
        for _ in 0..3 {
            tokio::time::advance(age_max).await;
            kept.age(age_max);
        }
        assert_eq!(oldest(&kept), 301 - EVENTS_MIN as u64);
        let budget = kept.budget.clone();
        drop(kept);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn large_events_do_not_stand_past_the_budget() {
        let mut kept = ring(1000, 10_000);
        for seq in 1..=20 {
            kept.push(live(large_event(seq, BYTES_MIN)));
            assert!(kept.budget.used() <= 10_000 + 3 * BYTES_MIN, "{}", kept.budget.used());
        }
    }

    #[test]
    fn a_page_of_the_log_is_joined_without_a_gap() {
        let page: Vec<_> = (3..=6).map(event).collect();
        let mut joined = ring(100, usize::MAX);
        push(&mut joined, 6..=7);
        joined.extend_back(&page, Seq(7));
        assert_eq!(after(&mut joined, 2), Some(vec![3, 4, 5, 6, 7]));
        let mut apart = ring(100, usize::MAX);
        push(&mut apart, 9..=9);
        apart.extend_back(&page, Seq(9));
        assert_eq!(after(&mut apart, 2), None);
        let mut empty = ring(100, usize::MAX);
        empty.extend_back(&page, Seq(6));
        assert_eq!(after(&mut empty, 2), Some(vec![3, 4, 5, 6]));
    }

    #[test]
    fn bytes_are_made_once_for_each_form_and_counted_while_they_are_there() {
        let budget = Budget::new(usize::MAX);
        let deliveries = (1..=3).map(|seq| live(event(seq))).collect();
        let block = Block::new(deliveries, budget.clone());
        let deflated = Form { deflate: true, ..Form::default() };
        let made = block.bytes(Form::default(), |events| Some(vec![0; events.len()].into())).unwrap();
        assert_eq!(made.len(), 3);
        assert_eq!(block.bytes(Form::default(), |_| None).unwrap().as_ptr(), made.as_ptr());
        assert_eq!(block.bytes(deflated, |_| None), None);
        assert_eq!(budget.used(), 3);
        drop(block);
        assert_eq!(budget.used(), 0);
    }
}
