//! The newest signals of a stream, for the followers that stand at its tip.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use common::{Signal, ids::NodeId};

use super::budget::Budget;

/// The newest signals. As with events there is no queue per connection: each follower has a number up
/// to which it has been handed signals, and one that comes too late has missed some.
#[derive(Debug)]
pub(crate) struct Signals {
    kept: VecDeque<Arc<Signal>>,
    /// How many there have been: the number of the last one.
    newest: u64,
    /// What `newest` was at the last [`Signals::age`].
    aged: u64,
    bytes: usize,
    budget: Arc<Budget>,
}

/// Signals kept per stream: a burst between two looks of a session that keeps pace.
const SIGNALS_MAX: usize = 64;

/// Bytes that these may take, but for the newest one.
const SIGNALS_BYTES_MAX: usize = 64 * 1024;

impl Signals {
    pub(crate) fn new(budget: Arc<Budget>) -> Self {
        Self { kept: VecDeque::new(), newest: 0, aged: 0, bytes: 0, budget }
    }

    /// The number of the last signal; zero before the first.
    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// Takes one more.
    pub(crate) fn push(&mut self, signal: Arc<Signal>) {
        let bytes = weight(&signal);
        self.bytes += bytes;
        self.budget.take(bytes);
        self.newest += 1;
        self.kept.push_back(signal);
        while self.kept.len() > SIGNALS_MAX || (self.kept.len() > 1 && self.bytes > SIGNALS_BYTES_MAX) {
            self.drop_oldest();
        }
    }

    /// The signals after number `seen` that are still here.
    pub(crate) fn after(&self, seen: u64) -> Vec<Arc<Signal>> {
        let missed = usize::try_from(self.newest.saturating_sub(seen)).unwrap_or(usize::MAX);
        self.kept.range(self.kept.len().saturating_sub(missed)..).cloned().collect()
    }

    /// Drops what was here at the last call already: whoever keeps pace has it, and for the others it
    /// is no longer true. Called now and then.
    pub(crate) fn age(&mut self) {
        let since = usize::try_from(self.newest - self.aged).unwrap_or(usize::MAX);
        while self.kept.len() > since {
            self.drop_oldest();
        }
        self.aged = self.newest;
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.kept.pop_front() {
            let bytes = weight(&oldest);
            self.bytes -= bytes;
            self.budget.give_back(bytes);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// About how much memory a signal takes once encoded: its payload, two encodings, the parts around.
fn weight(signal: &Signal) -> usize {
    3 * signal.payload.get().len() + 600
}

/// Tells repeats of a stream's signals, which a bus may deliver, from first copies: a sliding window over
/// the numbers of each sender, as IPsec tells replays (RFC 4303 section 3.4.3).
///
/// A sender numbers its signals over all streams, but each stream has windows of its own: channels that
/// live on different shards of the bus keep no order among each other. The numbers here skip, therefore.
#[derive(Debug, Default)]
pub(crate) struct Repeats {
    senders: HashMap<NodeId, Window>,
    /// Counts the calls of [`Repeats::age`], to tell who has not been heard of for long.
    clock: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Window {
    highest: u64,
    /// Bit `n` says that `highest - n` has come.
    come: u128,
    /// What the clock was when the sender was last heard of.
    heard: u64,
}

/// Senders remembered per stream: more than a cluster has nodes. Of one heard of longest ago,
/// forgotten past this, a repeat could come through.
const SENDERS_MAX: usize = 256;

/// Calls of [`Repeats::age`] after which a silent sender is forgotten. It is called at every sweep, and a
/// bus repeats within seconds.
const AGES_MAX: u64 = 12;

impl Repeats {
    /// Whether the sender's signal comes for the first time. One that was overtaken by another whose number
    /// is 128 higher counts as a repeat: rather no signal than the same one twice.
    pub(crate) fn is_first(&mut self, sender: &NodeId, number: u64) -> bool {
        if self.senders.len() >= SENDERS_MAX
            && !self.senders.contains_key(sender)
            && let Some(oldest) = self.senders.iter().min_by_key(|(_, w)| w.heard).map(|(id, _)| id.clone())
        {
            self.senders.remove(&oldest);
        }
        let window = self.senders.entry(sender.clone()).or_default();
        window.heard = self.clock;
        if number > window.highest {
            let ahead = u32::try_from(number - window.highest).unwrap_or(u32::MAX);
            window.come = window.come.checked_shl(ahead).unwrap_or(0) | 1;
            window.highest = number;
            return true;
        }
        let bit = u32::try_from(window.highest - number).ok().and_then(|behind| 1_u128.checked_shl(behind));
        match bit {
            Some(bit) if window.come & bit == 0 => {
                window.come |= bit;
                true
            }
            _ => false,
        }
    }

    /// Forgets who has been silent for long. Called now and then.
    pub(crate) fn age(&mut self) {
        self.clock += 1;
        self.senders.retain(|_, window| self.clock - window.heard <= AGES_MAX);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::signal;

    fn numbers(signals: &[Arc<Signal>]) -> Vec<u64> {
        signals.iter().map(|signal| signal.payload.get().parse().unwrap()).collect()
    }

    #[test]
    fn the_newest_are_kept_within_their_bounds_and_given_back() {
        let budget = Budget::new(usize::MAX);
        let mut signals = Signals::new(budget.clone());
        for n in 1..=100 {
            signals.push(signal(&n.to_string()));
        }
        assert_eq!(signals.newest(), 100);
        assert_eq!(numbers(&signals.after(97)), [98, 99, 100]);
        assert_eq!(numbers(&signals.after(0)), (37..=100).collect::<Vec<_>>());
        assert!(signals.after(100).is_empty());
        signals.push(signal(&format!("\"{}\"", "x".repeat(SIGNALS_BYTES_MAX))));
        assert_eq!(signals.after(0).len(), 1, "a large one stands alone");
        assert!(budget.used() > SIGNALS_BYTES_MAX);
        drop(signals);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn they_last_from_one_look_to_the_next() {
        let mut signals = Signals::new(Budget::new(usize::MAX));
        signals.push(signal("1"));
        signals.age();
        signals.push(signal("2"));
        assert_eq!(numbers(&signals.after(0)), [1, 2]);
        signals.age();
        assert_eq!(numbers(&signals.after(0)), [2]);
        signals.age();
        assert!(signals.after(0).is_empty());
        assert_eq!(signals.newest(), 2);
    }

    #[test]
    fn forgotten_senders_make_room() {
        let mut repeats = Repeats::default();
        let name = |n: usize| format!("n{n}").parse::<NodeId>().unwrap();
        for n in 0..SENDERS_MAX + 10 {
            assert!(repeats.is_first(&name(n), 1));
        }
        assert_eq!(repeats.senders.len(), SENDERS_MAX);
        // Which of them are forgotten does not matter: none has been silent for longer than another.
        assert!(!repeats.is_first(&name(SENDERS_MAX + 9), 1));
        for _ in 0..AGES_MAX {
            repeats.age();
            assert!(!repeats.is_first(&name(SENDERS_MAX + 9), 1), "it is heard of still");
        }
        repeats.age();
        assert_eq!(repeats.senders.len(), 1);
    }

    proptest! {
        #[test]
        fn none_comes_twice_and_none_is_lost_for_coming_a_little_late(
            numbers in prop::collection::vec(1_u64..400, 0..600),
        ) {
            let mut repeats = Repeats::default();
            let sender = "n".parse().unwrap();
            let (mut come, mut highest) = (HashSet::new(), 0);
            for number in numbers {
                let first = repeats.is_first(&sender, number);
                highest = highest.max(number);
                let expected = !come.contains(&number) && highest - number < 128;
                prop_assert_eq!(first, expected);
                come.insert(number);
            }
        }
    }
}
