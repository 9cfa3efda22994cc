//! Whether one follower is sent every event once and in order. Pure, and of a few words only: there are
//! tens of thousands of them.

use serde::{Deserialize, Serialize};

use crate::measure::summary::Check;

/// Holes that one follower remembers. Of more, the oldest count as lost for good.
const HOLES_MAX: usize = 64;

/// The position of one follower in its stream.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track {
    /// The number that has to come next.
    next: u64,
    /// First and last of numbers that were passed over, in ascending order.
    holes: Vec<(u64, u64)>,
    tally: Tally,
}

/// What one follower, or many, received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Events that came for the first time.
    pub(crate) received: u64,
    /// Events that came again.
    pub(crate) repeated: u64,
    /// Events that came for the first time, but after later ones.
    pub(crate) out_of_order: u64,
    /// Events that never came.
    pub(crate) lost: u64,
}

impl Tally {
    /// Whether something was wrong.
    pub(crate) fn is_faulty(&self) -> bool {
        self.repeated + self.out_of_order + self.lost > 0
    }

    /// What must not be.
    pub(crate) fn checks(&self) -> [Check; 3] {
        [
            Check::none("events lost", self.lost),
            Check::none("events repeated", self.repeated),
            Check::none("events out of order", self.out_of_order),
        ]
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.repeated += other.repeated;
        self.out_of_order += other.out_of_order;
        self.lost += other.lost;
    }
}

impl Track {
    /// Begins after event `seq`: the next one is the first that has to come.
    pub(crate) fn after(seq: u64) -> Self {
        Self { next: seq + 1, ..Self::default() }
    }

    /// The last event before which nothing is missing: where the follower resumes.
    pub(crate) fn cursor(&self) -> u64 {
        self.holes.first().map_or(self.next, |(first, _)| *first).saturating_sub(1)
    }

    /// Takes an event. Returns whether it came for the first time.
    pub(crate) fn take(&mut self, seq: u64) -> bool {
        if seq == self.next {
            self.next += 1;
            self.tally.received += 1;
            return true;
        }
        if seq > self.next {
            self.holes.push((self.next, seq - 1));
            self.next = seq + 1;
            self.tally.received += 1;
            if self.holes.len() > HOLES_MAX {
                let (first, last) = self.holes.remove(0);
                self.tally.lost += last - first + 1;
            }
            return true;
        }
        let Some(at) = self.holes.iter().position(|(first, last)| (*first..=*last).contains(&seq)) else {
            self.tally.repeated += 1;
            return false;
        };
        let (first, last) = self.holes.remove(at);
        if seq < last {
            self.holes.insert(at, (seq + 1, last));
        }
        if first < seq {
            self.holes.insert(at, (first, seq - 1));
        }
        self.tally.received += 1;
        self.tally.out_of_order += 1;
        true
    }

    /// What it received, and has lost if the stream ends with event `head`.
    pub(crate) fn tally(&self, head: u64) -> Tally {
        let holes: u64 = self.holes.iter().map(|(first, last)| last - first + 1).sum();
        let lost = self.tally.lost + holes + (head + 1).saturating_sub(self.next);
        Tally { lost, ..self.tally }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn tally(start: u64, seqs: &[u64], head: u64) -> Tally {
        let mut track = Track::after(start);
        for seq in seqs {
            track.take(*seq);
        }
        track.tally(head)
    }

    #[test]
    fn each_fault_is_called_by_its_name() {
        assert!(!tally(4, &[5, 6, 7], 7).is_faulty());
        assert_eq!(tally(0, &[1, 2, 2], 2), Tally { received: 2, repeated: 1, ..Tally::default() });
        assert_eq!(tally(0, &[1, 3, 2], 3), Tally { received: 3, out_of_order: 1, ..Tally::default() });
        assert_eq!(tally(0, &[1, 3], 3), Tally { received: 2, lost: 1, ..Tally::default() });
        assert_eq!(tally(0, &[1], 3), Tally { received: 1, lost: 2, ..Tally::default() }, "the end counts");
    }

    #[test]
    fn a_follower_resumes_before_what_it_misses() {
        let mut track = Track::after(10);
        assert_eq!(track.cursor(), 10);
        track.take(11);
        track.take(14);
        assert_eq!(track.cursor(), 11);
        track.take(12);
        track.take(13);
        assert_eq!(track.cursor(), 14);
    }

    #[test]
    fn more_holes_than_are_remembered_are_still_lost() {
        let odd: Vec<u64> = (0..500).map(|n| 2 * n + 1).collect();
        assert_eq!(tally(0, &odd, 999).lost, 499);
    }

    proptest! {
        /// Against a set of everything that came.
        #[test]
        fn it_counts_as_one_who_remembers_all(
            start in 0u64..5,
            steps in prop::collection::vec(1u64..60, 0..60),
        ) {
            let seqs: Vec<u64> = steps.iter().map(|step| start + step).collect();
            let head = start + 60;
            let (mut seen, mut newest) = (HashSet::new(), start);
            let mut expected = Tally::default();
            for seq in &seqs {
                if !seen.insert(*seq) {
                    expected.repeated += 1;
                } else {
                    expected.received += 1;
                    expected.out_of_order += u64::from(*seq < newest);
                }
                newest = newest.max(*seq);
            }
            expected.lost = 60 - seen.len() as u64;
            prop_assert_eq!(tally(start, &seqs, head), expected);
        }
    }
}
