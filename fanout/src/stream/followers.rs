//! The followers of a stream on this node, and how they learn that something is due.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::{runtime::Handle, task::yield_now, time::Instant};

use super::mailbox::MailboxSlot;

/// The followers of one stream. The lock is not held while one is marked.
#[derive(Default)]
pub(super) struct Followers(Mutex<State>);

#[derive(Default)]
struct State {
    slots: Slab<MailboxSlot>,
    /// The passes over a large number of followers, chunk by chunk.
    passes: Vec<Pass>,
    /// Since when nobody follows; `None` while somebody does.
    idle_since: Option<Instant>,
}

/// What a task that goes over a chunk of followers is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Pass {
    #[default]
    Idle,
    Running,
    /// Something has become due since it began: it goes over its chunk once more.
    Again,
}

/// Followers that are marked on the thread that has something for them. Of more, tasks go over a chunk each:
/// marking may be a write to a socket, and whoever commits must not wait for thousands of these.
const INLINE_MAX: usize = 16;

/// Followers of a chunk.
const CHUNK: usize = 256;

/// Followers marked before others have their turn.
const MARKS_AT_ONCE: usize = 32;

impl Followers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a follower, which is woken through `slot`. Returns its key.
    pub(super) fn add(&self, slot: MailboxSlot) -> u32 {
        let mut state = self.state();
        state.idle_since = None;
        u32::try_from(state.slots.insert(slot)).expect("a node has fewer connections than u32::MAX")
    }

    pub(super) fn remove(&self, key: u32) {
        let mut state = self.state();
        let removed = state.slots.try_remove(key as usize);
        if state.slots.is_empty() {
            state.idle_since = Some(Instant::now());
        }
        drop(state);
        // It may hold the last reference to a connection's mailbox.
        drop(removed);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.state().slots.len()
    }

    /// Since when nobody follows; `None` while somebody does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.state().idle_since
    }

    /// Marks every follower: something is due. A follower that registers meanwhile reads the stream anyway.
    ///
    /// Passes of one chunk follow each other, and what becomes due during one is handed out by the next, all of
    /// it together: where events come faster than they can be written, each write is of several.
    pub(super) fn mark(self: &Arc<Self>) {
        let mut state = self.state();
        // Keys are below the capacity, which only grows.
        let keys = state.slots.capacity();
        let runtime = Handle::try_current().ok().filter(|_| state.slots.len() > INLINE_MAX);
        let Some(runtime) = runtime else {
            drop(state);
            for from in (0..keys).step_by(MARKS_AT_ONCE) {
                self.mark_some(from, keys);
            }
            return;
        };
        let chunks = keys.div_ceil(CHUNK);
        if state.passes.len() < chunks {
            state.passes.resize(chunks, Pass::Idle);
        }
        for (chunk, pass) in state.passes.iter_mut().enumerate() {
            match pass {
                Pass::Idle => {
                    *pass = Pass::Running;
                    drop(runtime.spawn(self.clone().go_over(chunk)));
                }
                Pass::Running => *pass = Pass::Again,
                Pass::Again => {}
            }
        }
    }

    async fn go_over(self: Arc<Self>, chunk: usize) {
        let (first, end) = (chunk * CHUNK, (chunk + 1) * CHUNK);
        loop {
            for from in (first..end).step_by(MARKS_AT_ONCE) {
                if self.mark_some(from, end) {
                    yield_now().await;
                }
            }
            let mut state = self.state();
            let pass = &mut state.passes[chunk];
            if *pass == Pass::Running {
                *pass = Pass::Idle;
                return;
            }
            *pass = Pass::Running;
        }
    }

    /// Marks followers with keys from `from` on, a few of them. Returns whether there were any. The lock is
    /// not held meanwhile: delivering takes others, and takes time.
    fn mark_some(&self, from: usize, end: usize) -> bool {
        let mut some: [Option<MailboxSlot>; MARKS_AT_ONCE] = [const { None }; MARKS_AT_ONCE];
        let state = self.state();
        let slots = (from..end).take(MARKS_AT_ONCE).filter_map(|key| state.slots.get(key));
        let mut count = 0;
        for (place, slot) in some.iter_mut().zip(slots) {
            *place = Some(slot.clone());
            count += 1;
        }
        drop(state);
        for slot in some.into_iter().take(count).flatten() {
            slot.mark();
        }
        count > 0
    }

    /// Wakes the tasks of all followers, whether anything is due or not.
    pub(super) fn wake(&self) {
        let slots: Vec<_> = self.state().slots.iter().map(|(_, slot)| slot.clone()).collect();
        for slot in slots {
            slot.wake();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::{super::mailbox::Mailbox, *};

    /// More followers than one thread goes over, some of which have left; the slots of the others.
    fn crowd(followers: &Followers, mailbox: &Arc<Mailbox>) -> Vec<u32> {
        let slots = u32::try_from(3 * CHUNK + 5).unwrap();
        let add = |slot| followers.add(MailboxSlot::new(mailbox.clone(), slot));
        let keys: Vec<_> = (0..slots).map(|slot| (slot, add(slot))).collect();
        let (left, stayed): (Vec<_>, Vec<_>) = keys.into_iter().partition(|(slot, _)| slot % 5 == 0);
        for (_, key) in left {
            followers.remove(key);
        }
        stayed.into_iter().map(|(slot, _)| slot).collect()
    }

    #[test]
    fn every_one_is_marked_however_many_there_are() {
        let (followers, mailbox) = (Arc::<Followers>::default(), Arc::<Mailbox>::default());
        let stayed = crowd(&followers, &mailbox);
        followers.mark();
        assert_eq!(mailbox.take().collect::<Vec<_>>(), stayed);
    }

    #[tokio::test]
    async fn tasks_mark_a_large_number_also_for_what_comes_meanwhile() {
        let (followers, mailbox) = (Arc::<Followers>::default(), Arc::<Mailbox>::default());
        let stayed = crowd(&followers, &mailbox);
        for _ in 0..3 {
            followers.mark();
            followers.mark();
            let mut marked = BTreeSet::new();
            while marked.len() < stayed.len() {
                yield_now().await;
                marked.extend(mailbox.take());
            }
            while followers.state().passes.iter().any(|pass| *pass != Pass::Idle) {
                yield_now().await;
            }
            assert!(stayed.iter().all(|slot| marked.contains(slot)));
            drop(mailbox.take());
        }
    }
}
