//! The drafts of users that were changed a moment ago, so that the next change of one is decided without a query.
//!
//! A user's stream is written by one node nearly always, because Nginx sends a user's devices to the same one. What
//! that node has written is what stands there, until somebody else writes. So the state is a proposal, never an
//! answer: what is decided on it counts only if the write finds the same head in the same history. It is taken out
//! for a commit and put back after its success; whatever else happens, it is gone and has to be read again.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{DraftId, Epoch, Seq, UserId, operations::Tally};
use metrics::{counter, gauge};

use crate::store::plan::DraftRow;

/// The most that is kept of one user, in bytes: somebody with hundreds of large drafts must not drive all others
/// out.
const USER_BYTES_MAX: usize = 256 * 1024;

/// What an entry takes besides its texts, roughly, in bytes.
const USER_BYTES: usize = 256;
const DRAFT_BYTES: usize = 256;

/// How often a user is overtaken before that costs no more reads than the time before.
const OVERTAKEN_MAX: u32 = 5;

/// What is known of a user.
#[derive(Debug, Clone)]
pub(super) struct UserState {
    /// The history that `head` counts in.
    pub(super) epoch: Epoch,
    /// The head of the user's stream at which all of this was true.
    pub(super) head: Seq,
    /// Drafts that were read or written lately, tombstones included. Those that are not here may exist.
    pub(super) drafts: HashMap<DraftId, Arc<DraftRow>>,
    /// How many drafts the user has that are not deleted, if that is known.
    pub(super) live: Option<u64>,
    /// Whether it may be decided on.
    pub(super) trust: Trust,
}

/// How far the state of a user is trusted. A user who moves from node to node is overtaken once each time. Where two
/// nodes write to a user in turns, what is known is mostly wrong, and each attempt to use it costs a failed write: so
/// each time that a user is overtaken again, more changes are read, and have to find what was known, before the next
/// attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Trust {
    overtaken: u32,
    reads_left: u32,
}

impl Trust {
    pub(super) fn is_given(self) -> bool {
        self.reads_left == 0
    }

    /// After a change that found what was known to be true.
    #[must_use]
    pub(super) fn confirmed(self) -> Self {
        match self.reads_left {
            0 => Self { overtaken: self.overtaken.saturating_sub(1), reads_left: 0 },
            left => Self { overtaken: self.overtaken, reads_left: left - 1 },
        }
    }

    /// After a change that found that another node had written.
    #[must_use]
    pub(super) fn overtaken(self) -> Self {
        let overtaken = (self.overtaken + 1).min(OVERTAKEN_MAX);
        Self { overtaken, reads_left: self.reads_left.max((1 << overtaken) - 2) }
    }
}

impl UserState {
    fn bytes(&self) -> usize {
        let drafts = self.drafts.iter().map(|(id, row)| {
            let content = row.content.as_ref().map_or(0, |content| content.json().len());
            DRAFT_BYTES + id.as_str().len() + content + 2 * row.fields.bytes()
        });
        USER_BYTES + drafts.sum::<usize>()
    }
}

/// The states of users, in two generations: when the young one is full, the old one is dropped and the young one
/// takes its place. A user that is used moves to the young one.
#[derive(Debug)]
pub(super) struct StateCache {
    generation_bytes_max: AtomicUsize,
    generations: Mutex<[Generation; 2]>,
}

#[derive(Debug, Default)]
struct Generation {
    users: HashMap<UserId, (UserState, usize)>,
    bytes: usize,
}

impl StateCache {
    /// Keeps at most `bytes_max`; with zero, nothing.
    pub(super) fn new(bytes_max: usize) -> Self {
        let this = Self { generation_bytes_max: AtomicUsize::new(0), generations: Mutex::default() };
        this.set_bytes_max(bytes_max);
        this
    }

    /// Replaces the bound. Where it is a smaller one, all is forgotten.
    pub(super) fn set_bytes_max(&self, bytes_max: usize) {
        let before = self.generation_bytes_max.swap(bytes_max / 2, Ordering::Relaxed);
        let freed =
            if bytes_max / 2 < before { std::mem::take(&mut *self.lock()) } else { Default::default() };
        let freed: usize = freed.iter().map(|generation| generation.bytes).sum();
        #[allow(clippy::cast_precision_loss)]
        {
            gauge!("draftwire_state_cache_bytes_max").set(bytes_max as f64);
            gauge!("draftwire_state_cache_bytes").decrement(freed as f64);
        }
    }

    /// Takes what is known of a user out.
    pub(super) fn take(&self, user: &UserId) -> Option<UserState> {
        let mut generations = self.lock();
        let (state, bytes) = generations.iter_mut().find_map(|generation| generation.remove(user))?;
        drop(generations);
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_state_cache_bytes").decrement(bytes as f64);
        Some(state)
    }

    /// Puts what is known of a user in place of what was known before. Of too many drafts those that are not
    /// `in_use` are forgotten, and if that is not enough, all.
    pub(super) fn put(&self, user: UserId, mut state: UserState, in_use: impl Fn(&DraftId) -> bool) {
        let mut bytes = state.bytes();
        if bytes > USER_BYTES_MAX {
            state.drafts.retain(|id, _| in_use(id));
            bytes = state.bytes();
        }
        let mut generations = self.lock();
        let generation_bytes_max = self.generation_bytes_max.load(Ordering::Relaxed);
        let bytes_max = USER_BYTES_MAX.min(generation_bytes_max);
        let mut freed: usize = generations
            .iter_mut()
            .filter_map(|generation| generation.remove(&user))
            .map(|(_, bytes)| bytes)
            .sum();
        if bytes > bytes_max {
            bytes = 0;
        } else {
            let [young, old] = &mut *generations;
            if young.bytes + bytes > generation_bytes_max {
                freed += old.bytes;
                *old = std::mem::take(young);
            }
            young.bytes += bytes;
            young.users.insert(user, (state, bytes));
        }
        drop(generations);
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_state_cache_bytes").increment(bytes as f64 - freed as f64);
    }

    /// Follows a user's stream from `before` to `head` over events that change no draft. What is known of another
    /// position is forgotten.
    pub(super) fn advance(&self, user: &UserId, epoch: &Epoch, before: Seq, head: Seq) {
        let Some(mut state) = self.take(user) else { return };
        if state.epoch == *epoch && state.head == before {
            state.head = head;
            self.put(user.clone(), state, |_| true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, [Generation; 2]> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generation {
    fn remove(&mut self, user: &UserId) -> Option<(UserState, usize)> {
        let (state, bytes) = self.users.remove(user)?;
        self.bytes -= bytes;
        Some((state, bytes))
    }
}

/// Counts changes of drafts that were decided with and without a query.
pub(super) fn count(hits: usize, misses: usize) {
    Tally::DraftHits.add(hits as u64);
    Tally::DraftMisses.add(misses as u64);
    counter!("draftwire_state_cache_hits_total").increment(hits as u64);
    counter!("draftwire_state_cache_misses_total").increment(misses as u64);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use common::{Version, merge::FieldVersions};

    use super::*;
    use crate::store::plan::Content;

    fn user(name: impl ToString) -> UserId {
        name.to_string().parse().unwrap()
    }

    fn state(head: u64, drafts: usize, bytes: usize) -> UserState {
        let row = DraftRow {
            version: Version(1),
            kind: "note".parse().unwrap(),
            content: Some(Content::parse(format!("\"{}\"", "x".repeat(bytes))).unwrap()),
            fields: FieldVersions::default(),
            created_at: 0,
            updated_at: 0,
        };
        let drafts = (0..drafts).map(|draft| (format!("d{draft}").parse().unwrap(), Arc::new(row.clone())));
        UserState {
            epoch: "e".parse().unwrap(),
            head: Seq(head),
            drafts: drafts.collect(),
            live: None,
            trust: Trust::default(),
        }
    }

    #[test]
    fn what_is_taken_is_gone_until_it_is_put_back() {
        let cache = StateCache::new(1 << 20);
        cache.put(user("ann"), state(1, 1, 10), |_| true);
        let taken = cache.take(&user("ann")).unwrap();
        assert!(cache.take(&user("ann")).is_none());
        cache.put(user("ann"), taken, |_| true);
        cache.put(user("ann"), state(2, 1, 10), |_| true);
        assert_eq!(cache.take(&user("ann")).unwrap().head, Seq(2));
        assert!(cache.take(&user("ann")).is_none(), "the older one is still there");
    }

    #[test]
    fn whoever_is_overtaken_in_turns_is_read_most_of_the_time() {
        let mut trust = Trust::default();
        assert!(trust.overtaken().is_given(), "somebody who has moved once");
        let mut failed = 0;
        for _ in 0..1000 {
            failed += u32::from(trust.is_given());
            trust = trust.overtaken();
        }
        for change in 0..1000 {
            let other_was_here = change % 4 == 0;
            failed += u32::from(trust.is_given() && other_was_here);
            trust = if other_was_here { trust.overtaken() } else { trust.confirmed() };
        }
        assert!(failed < 10, "{failed} writes failed");
        for _ in 0..100 {
            trust = trust.confirmed();
        }
        assert_eq!(trust, Trust::default(), "alone again");
    }

    #[test]
    fn memory_is_bounded_and_those_who_come_back_stay() {
        let bytes_max = 64 * 1024;
        let cache = StateCache::new(bytes_max);
        for other in 0..10_000 {
            cache.put(user(other), state(1, 1, 1000), |_| true);
            let here = cache.take(&user("here")).unwrap_or_else(|| {
                assert_eq!(other, 0, "somebody who is always there was forgotten");
                state(1, 1, 1000)
            });
            cache.put(user("here"), here, |_| true);
            let held: usize = cache.lock().iter().map(|generation| generation.bytes).sum();
            assert!(held <= bytes_max, "{held} bytes");
        }
        let entries: usize = cache.lock().iter().map(|generation| generation.users.len()).sum();
        assert!((20..64).contains(&entries), "{entries}");
        for none in [StateCache::new(0), StateCache::new(100)] {
            none.put(user("ann"), state(1, 1, 1000), |_| true);
            assert!(none.take(&user("ann")).is_none());
        }
    }

    #[test]
    fn of_too_many_drafts_those_in_use_are_kept() {
        let cache = StateCache::new(16 << 20);
        cache.put(user("ann"), state(1, 30, 10_000), |id| id.as_str() == "d7");
        let kept = cache.take(&user("ann")).unwrap();
        assert_eq!(kept.drafts.keys().map(DraftId::as_str).collect::<Vec<_>>(), ["d7"]);
        cache.put(user("ann"), state(1, 1, USER_BYTES_MAX), |_| true);
        assert!(cache.take(&user("ann")).is_none());
    }

    #[test]
    fn events_that_change_no_draft_are_followed_without_a_gap() {
        let cache = StateCache::new(1 << 20);
        let (epoch, other): (Epoch, Epoch) = ("e".parse().unwrap(), "f".parse().unwrap());
        cache.put(user("ann"), state(4, 1, 10), |_| true);
        cache.advance(&user("ann"), &epoch, Seq(4), Seq(6));
        let known = cache.take(&user("ann")).unwrap();
        assert_eq!(known.head, Seq(6));
        for (epoch, before) in [(&epoch, 5), (&other, 6)] {
            cache.put(user("ann"), known.clone(), |_| true);
            cache.advance(&user("ann"), epoch, Seq(before), Seq(before + 1));
            assert!(cache.take(&user("ann")).is_none(), "the state of another position is kept");
        }
    }
}
