//! How a connection learns which of its streams have something for it.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Wakes one connection and tells it which of its streams have something for it. It holds no events, only
/// the numbers of slots: what is due stays in the stream.
///
/// Every delivery goes through one, so it is one lock and nothing else.
#[derive(Debug, Default)]
pub struct Mailbox {
    /// A std mutex: it is held for a few instructions and never over an await.
    state: Mutex<State>,
}

/// One slot of a mailbox: what a follower registers to be woken through.
#[derive(Debug)]
pub(crate) struct MailboxSlot {
    mailbox: Arc<Mailbox>,
    slot: u32,
}

impl MailboxSlot {
    pub(crate) fn new(mailbox: Arc<Mailbox>, slot: u32) -> Self {
        Self { mailbox, slot }
    }

    pub(crate) fn mark(&self) {
        self.mailbox.mark(self.slot);
    }
}

#[derive(Debug, Default)]
struct State {
    marks: Marks,
    /// The task that waits for a mark.
    waiting: Option<Waker>,
}

/// Slots with something due: bounded by what the connection follows.
#[derive(Debug, Default)]
struct Marks {
    /// Nearly always there is one, and it costs no memory.
    first: Option<u32>,
    /// Of a thousand topics all may move between two looks, so that a list would be searched again and
    /// again.
    others: BTreeSet<u32>,
}

impl Mailbox {
    /// Marks `slot`: something of its stream is due.
    pub fn mark(&self, slot: u32) {
        let mut state = self.state();
        if !state.marks.insert(slot) {
            return;
        }
        let waiting = state.waiting.take();
        drop(state);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Takes the marked slots; while there are none, the task is woken by the next mark. One task at a time
    /// may wait.
    pub fn poll_take(&self, context: &Context<'_>) -> Poll<impl Iterator<Item = u32> + use<>> {
        let mut state = self.state();
        if state.marks.first.is_none() {
            if !state.waiting.as_ref().is_some_and(|waiting| waiting.will_wake(context.waker())) {
                state.waiting = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        Poll::Ready(mem::take(&mut state.marks).into_iter())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    /// Returns whether the slot was not marked before.
    fn insert(&mut self, slot: u32) -> bool {
        match self.first {
            None => {
                self.first = Some(slot);
                true
            }
            Some(first) => first != slot && self.others.insert(slot),
        }
    }

    fn into_iter(self) -> impl Iterator<Item = u32> {
        self.first.into_iter().chain(self.others)
    }
}

#[cfg(test)]
impl Mailbox {
    /// The marked slots, taken.
    pub(crate) fn take(&self) -> Vec<u32> {
        match self.poll_take(&Context::from_waker(Waker::noop())) {
            Poll::Ready(marked) => marked.collect(),
            Poll::Pending => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_slot_that_was_marked_is_taken_once() {
        let mailbox = Mailbox::default();
        for slot in [7, 3, 7, 9, 3, 7] {
            mailbox.mark(slot);
        }
        assert_eq!(mailbox.take(), [7, 3, 9]);
        assert_eq!(mailbox.take().len(), 0);
    }

    #[test]
    fn whoever_has_looked_in_vain_is_woken_once() {
        let (mailbox, woken) = (Mailbox::default(), Arc::<Woken>::default());
        let waker = Waker::from(woken.clone());
        let context = Context::from_waker(&waker);
        for times in 1..3 {
            assert!(mailbox.poll_take(&context).is_pending());
            mailbox.mark(1);
            mailbox.mark(2);
            assert_eq!(woken.0.load(Ordering::Relaxed), times);
            assert!(mailbox.poll_take(&context).is_ready());
        }
    }
}
