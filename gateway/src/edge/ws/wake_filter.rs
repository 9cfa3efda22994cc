//! Tells what has woken a session.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// Separates wake-ups by the mailbox from those by the socket, commands and timers, so that a delivery polls
/// only the mailbox.
///
/// Nearly always an event wakes a session. To poll its socket, its commands and its clock as well each time
/// costs more than all else that a delivery needs besides the kernel's write; so these wake it through here.
pub(super) struct WakeFilter {
    others: Arc<Others>,
    waker: Waker,
}

struct Others {
    due: AtomicBool,
    session: Waker,
}

impl Wake for Others {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.due.store(true, Ordering::Release);
        self.session.wake_by_ref();
    }
}

impl WakeFilter {
    /// A filter in front of the task with this waker.
    pub(super) fn new(session: Waker) -> Self {
        // The first time everything is asked: that is how it comes to know whom to wake.
        let others = Arc::new(Others { due: AtomicBool::new(true), session });
        Self { waker: others.clone().into(), others }
    }

    /// Returns whether the others have to be polled: once after each time that one of them has woken the
    /// session, or that [`WakeFilter::rearm`] was called, and always where another task polls than before.
    pub(super) fn take_other(&mut self, context: &Context<'_>) -> bool {
        if !self.others.session.will_wake(context.waker()) {
            *self = Self::new(context.waker().clone());
        }
        // Most sessions share their cache with thousands: a look costs less than a write.
        self.others.due.load(Ordering::Acquire) && self.others.due.swap(false, Ordering::AcqRel)
    }

    /// Has the others polled once more: one of them was ready, and may be again, or what is asked of them has
    /// changed.
    pub(super) fn rearm(&self) {
        self.others.due.store(true, Ordering::Release);
    }

    /// What the others are polled with.
    pub(super) fn context(&self) -> Context<'_> {
        Context::from_waker(&self.waker)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, task::Poll};

    use super::*;

    #[tokio::test]
    async fn others_are_asked_at_first_and_whenever_one_of_them_wakes_the_session() {
        poll_fn(|session| {
            let mut filter = WakeFilter::new(Waker::noop().clone());
            assert!(filter.take_other(session));
            assert!(!filter.take_other(session));
            filter.context().waker().wake_by_ref();
            assert!(filter.take_other(session));
            assert!(!filter.take_other(session));
            filter.rearm();
            assert!(filter.take_other(session));
            Poll::Ready(())
        })
        .await;
    }
}
