//! Copies in any order, with repeats and holes, become the gapless sequence. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{Event, Seq, operations::Moment};

use super::source::Source;

/// Orders the events of one stream on one node.
///
/// It begins *closed*: nothing is known but what arrives, which is held back. [`Sequencer::open`]
/// says where the stream stands; from then on events are released one after the other, each exactly
/// once, and [`Sequencer::missing`] says what must be read from the log.
///
/// Invariant: once open, every event up to `tip` has been released or was there before, none beyond
/// it has; whatever is held is beyond `tip + 1`.
#[derive(Debug, Default)]
pub(crate) struct Sequencer {
    /// The last event released, or the head that the stream was opened at. `None` while closed.
    tip: Option<Seq>,
    /// The highest event that anything has told of.
    known_head: Seq,
    /// Copies that arrived before their turn.
    held: BTreeMap<Seq, Held>,
    held_bytes: usize,
}

/// A copy that is held back.
#[derive(Debug)]
struct Held {
    event: Arc<Event>,
    /// When the first copy of the event came.
    since: Moment,
}

/// An event whose turn has come.
#[derive(Debug)]
pub(crate) struct Released {
    pub(crate) event: Arc<Event>,
    /// How long it was held back; `None` where it came in its turn.
    waited: Option<Duration>,
}

impl Released {
    /// Returns how long a copy has waited for the events before it; `None` for what is no copy. `source` is how the event
    /// came that has released this one: in its turn, only what came over the bus is a copy.
    pub(crate) fn wait(&self, source: Source) -> Option<Duration> {
        self.waited.or((source == Source::Bus).then_some(Duration::ZERO))
    }
}

/// Copies held back per stream. Past it the highest is dropped: it is read from the log in its turn.
pub(crate) const HELD_MAX: usize = 256;

/// Bytes held back per stream, by [`Event::weight`].
pub(crate) const HELD_BYTES_MAX: usize = 1024 * 1024;

/// Events that are committed but not here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missing {
    /// The last event before the hole.
    pub(crate) after: Seq,
    /// The last event in the hole.
    pub(crate) up_to: Seq,
}

impl Sequencer {
    /// Says that the stream stands at `head`: events up to it are in the log, and are not released
    /// here. Returns what was held back and is now due.
    pub(crate) fn open(&mut self, head: Seq, now: Moment) -> Vec<Released> {
        self.tip = Some(head);
        self.known_head = self.known_head.max(head);
        self.held = self.held.split_off(&head.next());
        self.held_bytes = self.held.values().map(|held| held.event.weight()).sum();
        let mut released = Vec::new();
        self.release(now, &mut released);
        released
    }

    /// Forgets everything and is closed again.
    pub(crate) fn close(&mut self) {
        *self = Self::default();
    }

    /// The last event released; `None` while closed.
    pub(crate) fn tip(&self) -> Option<Seq> {
        self.tip
    }

    /// The highest event known to exist: `tip`, or beyond it while something is missing.
    pub(crate) fn known_head(&self) -> Seq {
        self.known_head
    }

    /// The event of this number, if it is held back.
    pub(crate) fn held(&self, seq: Seq) -> Option<&Arc<Event>> {
        self.held.get(&seq).map(|held| &held.event)
    }

    /// Takes one event, from wherever. Returns what is released by it, in order.
    pub(crate) fn offer(&mut self, event: Arc<Event>, now: Moment) -> Vec<Released> {
        if self.tip.is_some_and(|tip| event.seq <= tip) {
            return Vec::new();
        }
        self.known_head = self.known_head.max(event.seq);
        if self.tip.is_some_and(|tip| event.seq == tip.next()) {
            self.tip = Some(event.seq);
            let mut released = vec![Released { event, waited: None }];
            self.release(now, &mut released);
            return released;
        }
        let (seq, weight) = (event.seq, event.weight());
        let since = self.held.get(&seq).map_or(now, |known| known.since);
        if let Some(before) = self.held.insert(seq, Held { event, since }) {
            self.held_bytes -= before.event.weight();
        }
        self.held_bytes += weight;
        while self.held.len() > HELD_MAX || self.held_bytes > HELD_BYTES_MAX {
            let Some((_, dropped)) = self.held.pop_last() else { break };
            self.held_bytes -= dropped.event.weight();
        }
        Vec::new()
    }

    /// Says that events up to `head` exist.
    pub(crate) fn announce(&mut self, head: Seq) {
        self.known_head = self.known_head.max(head);
    }

    /// Takes back an announcement that the log does not bear out.
    pub(crate) fn retract(&mut self) {
        let held = self.held.last_key_value().map_or(Seq(0), |(seq, _)| *seq);
        self.known_head = self.tip.unwrap_or_default().max(held);
    }

    /// Goes on behind `floor`: the events up to it are gone from the log and cannot be released.
    pub(crate) fn skip_to(&mut self, floor: Seq, now: Moment) -> Vec<Released> {
        if self.tip.is_some_and(|tip| tip < floor) { self.open(floor, now) } else { Vec::new() }
    }

    /// The first hole, if there is one. Always `None` while closed.
    pub(crate) fn missing(&self) -> Option<Missing> {
        let tip = self.tip?;
        if self.known_head <= tip {
            return None;
        }
        let up_to = match self.held.first_key_value() {
            Some((first, _)) => Seq(first.0 - 1),
            None => self.known_head,
        };
        Some(Missing { after: tip, up_to })
    }

    /// Adds what is due of what was held back.
    fn release(&mut self, now: Moment, released: &mut Vec<Released>) {
        let Some(mut tip) = self.tip else { return };
        while let Some(entry) = self.held.first_entry() {
            if *entry.key() != tip.next() {
                break;
            }
            let Held { event, since } = entry.remove();
            self.held_bytes -= event.weight();
            tip = event.seq;
            released.push(Released { event, waited: Some(now.since(since)) });
        }
        self.tip = Some(tip);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::event;

    fn seqs(released: &[Released]) -> Vec<u64> {
        released.iter().map(|released| released.event.seq.0).collect()
    }

    /// The sequencer at one moment.
    impl Sequencer {
        fn opened(&mut self, head: u64) -> Vec<Released> {
            self.open(Seq(head), Moment::now())
        }

        fn offered(&mut self, seq: u64) -> Vec<Released> {
            self.offer(event(seq), Moment::now())
        }
    }

    #[test]
    fn copies_that_come_before_the_head_is_known_are_held_back() {
        let mut sequencer = Sequencer::default();
        assert!(sequencer.offered(7).is_empty());
        assert!(sequencer.offered(6).is_empty());
        assert_eq!(sequencer.missing(), None, "nothing can be missing before the position is known");
        assert_eq!(seqs(&sequencer.opened(6)), [7]);
        assert_eq!(sequencer.tip(), Some(Seq(7)));
    }

    #[test]
    fn a_hole_is_reported_with_its_borders() {
        let mut sequencer = Sequencer::default();
        sequencer.opened(3);
        sequencer.offered(6);
        sequencer.offered(9);
        assert_eq!(sequencer.missing(), Some(Missing { after: Seq(3), up_to: Seq(5) }));
        sequencer.offered(4);
        assert_eq!(seqs(&sequencer.offered(5)), [5, 6]);
        assert_eq!(sequencer.missing(), Some(Missing { after: Seq(6), up_to: Seq(8) }));
    }

    #[test]
    fn the_last_event_of_a_burst_is_missed_only_until_it_is_announced() {
        let mut sequencer = Sequencer::default();
        sequencer.opened(3);
        assert_eq!(sequencer.missing(), None);
        sequencer.announce(Seq(4));
        assert_eq!(sequencer.missing(), Some(Missing { after: Seq(3), up_to: Seq(4) }));
        sequencer.retract();
        assert_eq!(sequencer.missing(), None);
    }

    #[test]
    fn what_retention_removed_is_skipped() {
        let mut sequencer = Sequencer::default();
        sequencer.opened(3);
        sequencer.offered(9);
        assert_eq!(seqs(&sequencer.skip_to(Seq(8), Moment::now())), [9]);
        assert!(sequencer.skip_to(Seq(5), Moment::now()).is_empty(), "never backwards");
        assert_eq!(sequencer.tip(), Some(Seq(9)));
    }

    #[test]
    fn each_copy_has_waited_since_it_came() {
        let mut sequencer = Sequencer::default();
        let start = Moment::now();
        let at = |millis| start + Duration::from_millis(millis);
        sequencer.open(Seq(3), start);
        sequencer.offer(event(6), at(10));
        sequencer.offer(event(9), at(20));
        sequencer.offer(event(9), at(25));
        let mut waits = |seq, millis, source| -> Vec<_> {
            let released = sequencer.offer(event(seq), at(millis));
            released.iter().map(|released| (released.event.seq.0, released.wait(source))).collect()
        };
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(waits(4, 30, Source::Bus), [(4, millis(0))]);
        assert_eq!(waits(5, 40, Source::GapFill), [(5, None), (6, millis(30))]);
        assert_eq!(waits(7, 50, Source::Local), [(7, None)], "it is no copy");
        assert_eq!(waits(8, 60, Source::Local), [(8, None), (9, millis(40))]);
    }

    #[derive(Debug, Clone)]
    enum Input {
        Copy(u64),
        Announce(u64),
        Fill(u64),
    }

    fn input() -> impl Strategy<Value = Input> {
        prop_oneof![
            4 => (1_u64..60).prop_map(Input::Copy),
            1 => (1_u64..60).prop_map(Input::Announce),
            1 => (1_u64..20).prop_map(Input::Fill),
        ]
    }

    proptest! {
        /// Whatever arrives, in whatever order: released once each, in order, without gaps; and
        /// filling what is reported missing always reaches the highest event ever told of.
        #[test]
        fn it_releases_the_gapless_sequence(
            before in prop::collection::vec(1_u64..60, 0..10),
            head in 0_u64..30,
            inputs in prop::collection::vec(input(), 0..120),
        ) {
            let mut sequencer = Sequencer::default();
            let mut told = head;
            for seq in before {
                prop_assert!(sequencer.offered(seq).is_empty());
                told = told.max(seq);
            }
            let mut released = seqs(&sequencer.opened(head));
            for input in inputs {
                match input {
                    Input::Copy(seq) => {
                        told = told.max(seq);
                        released.extend(seqs(&sequencer.offered(seq)));
                    }
                    Input::Announce(seq) => {
                        told = told.max(seq);
                        sequencer.announce(Seq(seq));
                    }
                    Input::Fill(limit) => {
                        if let Some(missing) = sequencer.missing() {
                            for seq in (missing.after.0 + 1..=missing.up_to.0).take(limit as usize) {
                                released.extend(seqs(&sequencer.offered(seq)));
                            }
                        }
                    }
                }
                let tip = sequencer.tip().unwrap();
                prop_assert!(sequencer.held.keys().all(|held| *held > tip.next()));
            }
            while let Some(missing) = sequencer.missing() {
                for seq in missing.after.0 + 1..=missing.up_to.0 {
                    released.extend(seqs(&sequencer.offered(seq)));
                }
            }
            let expected: Vec<u64> = (head + 1..=told.max(head)).collect();
            prop_assert_eq!(released, expected);
            prop_assert!(sequencer.held.is_empty());
            prop_assert_eq!(sequencer.held_bytes, 0);
        }

        #[test]
        fn what_it_holds_is_bounded(seqs in prop::collection::vec(2_u64..100_000, 0..600)) {
            let mut sequencer = Sequencer::default();
            sequencer.opened(0);
            let told = seqs.iter().copied().max();
            for seq in seqs {
                sequencer.offered(seq);
                prop_assert!(sequencer.held.len() <= HELD_MAX);
            }
            prop_assert_eq!(told, sequencer.missing().map(|_| sequencer.known_head().0));
        }
    }
}
