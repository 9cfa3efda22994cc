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
#[derive(Default)]
pub struct Mailbox {
    /// A std mutex: it is held for a few instructions and never over an await.
    state: Mutex<State>,
    direct: Option<Arc<dyn DirectDelivery>>,
}

/// Delivers to a connection on the thread that marks its mailbox, which costs less than to wake a task for it.
pub trait DirectDelivery: Send + Sync {
    /// Takes the marks and hands out what is due, as far as that is possible without waiting. Returns whether
    /// all of it was handed out; otherwise the task is woken, and goes on.
    fn deliver(&self) -> bool;
}

/// One slot of a mailbox: what a follower registers to be woken through.
#[derive(Clone)]
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

    /// Marks the slot and leaves the delivery to the task: for whoever holds a lock that delivering takes.
    pub(crate) fn mark_for_task(&self) {
        if self.mailbox.state().marks.insert(self.slot) {
            self.mailbox.wake();
        }
    }

    /// Wakes the task, whether anything is due or not.
    pub(crate) fn wake(&self) {
        self.mailbox.wake();
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
    /// A mailbox of a connection that can be delivered to directly.
    pub fn delivering(direct: Arc<dyn DirectDelivery>) -> Self {
        Self { state: Mutex::default(), direct: Some(direct) }
    }

    /// Marks `slot`: something of its stream is due.
    pub fn mark(&self, slot: u32) {
        if !self.state().marks.insert(slot) {
            // Whoever has marked it before sees to it that the mark is taken.
            return;
        }
        if !self.direct.as_ref().is_some_and(|direct| direct.deliver()) {
            self.wake();
        }
    }

    /// Wakes the task that waits, if one does.
    fn wake(&self) {
        let waiting = self.state().waiting.take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Takes the marked slots, if there are any.
    pub fn take(&self) -> impl Iterator<Item = u32> + use<> {
        mem::take(&mut self.state().marks).into_iter()
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
        assert_eq!(mailbox.take().collect::<Vec<_>>(), [7, 3, 9]);
        assert_eq!(mailbox.take().count(), 0);
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

    /// Delivers as often as it may.
    struct Delivering(AtomicUsize);

    impl DirectDelivery for Delivering {
        fn deliver(&self) -> bool {
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
        }
    }

    #[test]
    fn the_task_is_woken_only_where_direct_delivery_does_not_do() {
        let mailbox = Mailbox::delivering(Arc::new(Delivering(AtomicUsize::new(2))));
        let woken = Arc::<Woken>::default();
        let waker = Waker::from(woken.clone());
        assert!(mailbox.poll_take(&Context::from_waker(&waker)).is_pending());
        for (slot, times) in [(1, 0), (2, 0), (3, 1)] {
            mailbox.mark(slot);
            assert_eq!(woken.0.load(Ordering::Relaxed), times);
        }
        assert_eq!(mailbox.take().count(), 3);
    }
}
