//! Who has woken a session.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake, Waker},
};

/// Tells a session whether anything but its mailbox has woken it.
///
/// Nearly always it is woken for an event. To ask its socket, its commands and its clock as well each time
/// costs more than all else that a delivery needs besides the kernel's write; so they wake it through this.
pub(super) struct Woken {
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

impl Woken {
    /// Of the task that polls it.
    pub(super) fn new(session: Waker) -> Self {
        // The first time everything is asked: that is how it comes to know whom to wake.
        let others = Arc::new(Others { due: AtomicBool::new(true), session });
        Self { waker: others.clone().into(), others }
    }

    /// Whether the others have to be asked. Answers so once each time that one of them has woken the
    /// session, or [`Woken::again`] was called; and always where another task polls than before.
    pub(super) fn by_others(&mut self, context: &Context<'_>) -> bool {
        if !self.others.session.will_wake(context.waker()) {
            *self = Self::new(context.waker().clone());
        }
        // Most sessions share their cache with thousands: a look costs less than a write.
        self.others.due.load(Ordering::Acquire) && self.others.due.swap(false, Ordering::AcqRel)
    }

    /// Has the others asked once more: one of them was ready, and may be again, or what is asked of them
    /// has changed.
    pub(super) fn again(&self) {
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
            let mut woken = Woken::new(Waker::noop().clone());
            assert!(woken.by_others(session));
            assert!(!woken.by_others(session));
            woken.context().waker().wake_by_ref();
            assert!(woken.by_others(session));
            assert!(!woken.by_others(session));
            woken.again();
            assert!(woken.by_others(session));
            Poll::Ready(())
        })
        .await;
    }
}
