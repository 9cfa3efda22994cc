//! Where a session is while it waits.
//!
//! The session's task owns it while it runs. While it waits, whoever has something for the client may hand that
//! out in its place and write it to the socket, which costs less than to wake the task for it. There is one owner
//! at any time, so messages keep their order, and nobody but the task itself waits for the other one's system
//! call.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use fanout::DirectDelivery;

/// What can be parked.
pub(super) trait Park: Send {
    /// Hands out what is due on behalf of the task. Returns whether the task may go on waiting.
    fn deliver(&mut self) -> bool;

    /// Ends it: `deliver` panicked.
    fn fail(&mut self);
}

/// The place of one session. Empty while its task runs.
pub(super) struct Parking<S>(Mutex<Option<Box<S>>>);

impl<S> Default for Parking<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S> Parking<S> {
    /// Polls a session, which `own` holds at first, and parks it while it waits. Gives it back with the result.
    pub(super) fn poll<T>(
        &self,
        context: &mut Context<'_>,
        own: &mut Option<Box<S>>,
        poll: impl FnOnce(&mut S, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<(Box<S>, T)> {
        let parked = || self.lock().take();
        // It is in one of the two places.
        let Some(mut session) = own.take().or_else(parked) else { return Poll::Pending };
        match poll(&mut session, context) {
            Poll::Ready(result) => Poll::Ready((session, result)),
            Poll::Pending => {
                *self.lock() = Some(session);
                Poll::Pending
            }
        }
    }

    /// Looks at the session while it waits; `None` while its task, or somebody who delivers, has it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T> {
        self.0.try_lock().ok()?.as_deref().map(look)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Park> DirectDelivery for Parking<S> {
    fn deliver(&self) -> bool {
        // Where somebody else has the place just now, the task takes care of what is due.
        let Ok(mut place) = self.0.try_lock() else { return false };
        let Some(session) = place.as_mut() else { return false };
        // Whoever delivers, a task that commits for instance, must not end with a connection that panics.
        catch_unwind(AssertUnwindSafe(|| session.deliver())).unwrap_or_else(|_| {
            session.fail();
            false
        })
    }
}

/// Empties the place when the session's task ends or is dropped: a parked session holds its mailbox, and that
/// its place.
pub(super) struct Parked<S>(pub(super) Arc<Parking<S>>);

impl<S> Drop for Parked<S> {
    fn drop(&mut self) {
        let session = self.0.lock().take();
        drop(session);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{collections::VecDeque, future::poll_fn, thread};

    use fanout::Mailbox;

    use super::*;

    const EVENTS: usize = 20_000;

    /// Takes what is due from a queue, on behalf of its task only now and then.
    struct Taking {
        mailbox: Arc<Mailbox>,
        due: Arc<Mutex<VecDeque<usize>>>,
        taken: Vec<usize>,
        asked: usize,
        delivered: usize,
    }

    impl Taking {
        fn take(&mut self) {
            self.taken.extend(self.due.lock().unwrap().drain(..));
        }
    }

    impl Park for Taking {
        fn deliver(&mut self) -> bool {
            self.asked += 1;
            if self.asked.is_multiple_of(3) {
                return false;
            }
            assert!(self.mailbox.take().count() <= 1);
            self.take();
            self.delivered += 1;
            // As where the kernel has not taken all; and the task has to notice the end.
            !self.asked.is_multiple_of(5) && self.taken.len() < EVENTS
        }

        fn fail(&mut self) {
            unreachable!("it does not panic");
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn whoever_delivers_everything_is_delivered_once_in_order_and_no_wake_up_is_lost() {
        let parking = Arc::<Parking<Taking>>::default();
        let mailbox = Arc::new(Mailbox::delivering(parking.clone()));
        let due = Arc::<Mutex<VecDeque<usize>>>::default();
        let session =
            Taking { mailbox: mailbox.clone(), due: due.clone(), taken: Vec::new(), asked: 0, delivered: 0 };
        let task = tokio::spawn(async move {
            let parked = Parked(parking);
            let mut session = Box::new(session);
            while session.taken.len() < EVENTS {
                let mut own = Some(session);
                let wakes = poll_fn(|context| {
                    parked.0.poll(context, &mut own, |session, context| {
                        let marked = session.mailbox.poll_take(context).is_ready();
                        if marked || session.taken.len() == EVENTS { Poll::Ready(()) } else { Poll::Pending }
                    })
                });
                session = wakes.await.0;
                session.take();
            }
            session
        });
        let next = Arc::new(Mutex::new(0..EVENTS));
        let publishers: Vec<_> = (0..2)
            .map(|_| {
                let (next, due, mailbox) = (next.clone(), due.clone(), mailbox.clone());
                thread::spawn(move || {
                    loop {
                        let mut next = next.lock().unwrap();
                        let Some(event) = next.next() else { return };
                        due.lock().unwrap().push_back(event);
                        drop(next);
                        mailbox.mark(1);
                    }
                })
            })
            .collect();
        publishers.into_iter().for_each(|publisher| publisher.join().unwrap());
        let session = task.await.unwrap();
        assert_eq!(session.taken, (0..EVENTS).collect::<Vec<_>>());
        assert!(session.delivered > 0 && session.asked > session.delivered);
    }

    /// Panics whenever something is due.
    #[derive(Default)]
    struct Panicking {
        failed: bool,
    }

    impl Park for Panicking {
        fn deliver(&mut self) -> bool {
            panic!("a test wants it so");
        }

        fn fail(&mut self) {
            self.failed = true;
        }
    }

    #[test]
    fn a_panic_fails_the_session_and_not_whoever_delivers() {
        let parking = Arc::<Parking<Panicking>>::default();
        let mailbox = Mailbox::delivering(parking.clone());
        *parking.lock() = Some(Box::default());
        mailbox.mark(1);
        assert!(parking.lock().as_ref().unwrap().failed);
        assert_eq!(mailbox.take().collect::<Vec<_>>(), [1], "it is left to the task");
    }
}
