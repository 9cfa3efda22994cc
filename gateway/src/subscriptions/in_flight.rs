//! Commands and reads of a connection that have no answer yet.

use std::{
    future::poll_fn,
    task::{Context, Poll},
};

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};

/// Futures that run at once and end in any order. Whoever pushes bounds their number.
///
/// Every connection has some of these, and nearly all of them are empty nearly always: an empty one holds
/// no memory, where the set itself would hold its queue.
pub(crate) struct InFlight<T> {
    futures: Option<FuturesUnordered<BoxFuture<'static, T>>>,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self { futures: None }
    }
}

impl<T> InFlight<T> {
    /// Adds one. It makes progress while it is asked for, so ask after adding.
    pub(crate) fn push(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.futures.get_or_insert_default().push(Box::pin(future));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.futures.as_ref().map_or(0, FuturesUnordered::len)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the first one that has ended answers; otherwise the task is woken once there is one.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<T> {
        let Some(futures) = &mut self.futures else { return Poll::Pending };
        let ended = futures.poll_next_unpin(context);
        if futures.is_empty() {
            self.futures = None;
        }
        match ended {
            Poll::Ready(Some(ended)) => Poll::Ready(ended),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    /// The same, waiting; for ever while there are none. Cancel-safe.
    pub(crate) async fn next(&mut self) -> T {
        poll_fn(|context| self.poll_next(context)).await
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn it_gives_out_what_has_ended_and_holds_nothing_afterwards() {
        let mut in_flight = InFlight::default();
        assert!(in_flight.next().now_or_never().is_none());
        in_flight.push(pending());
        in_flight.push(async { 1 });
        assert_eq!(in_flight.next().now_or_never(), Some(1));
        assert_eq!((in_flight.next().now_or_never(), in_flight.len()), (None, 1));
        let mut in_flight = InFlight::default();
        in_flight.push(async { 2 });
        assert_eq!(in_flight.next().now_or_never(), Some(2));
        assert!(in_flight.is_empty() && in_flight.futures.is_none());
    }
}
