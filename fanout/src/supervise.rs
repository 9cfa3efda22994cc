//! Keeps the tasks running that a node cannot live without.
//!
//! A panic ends its task, and nobody notices a task that is missing: writes stay in its queue, heads are not
//! compared any more. So such a task catches its panics, says so in the log and a metric, gives up the work in
//! hand, and begins anew. It is not a reason to end the process: the same input would end the next node too.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use futures_util::FutureExt;
use metrics::counter;
use tokio::time::sleep;

/// The pause before a task that panicked begins anew: a panic at every turn must not take a whole core.
pub const RESTART_PAUSE: Duration = Duration::from_millis(200);

/// The work panicked. What it had in hand is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task panicked")]
pub struct Panicked;

/// Runs a part of a task. The name is for the log and the metric.
///
/// Everything that the work owns is dropped when it panics; what it borrows must be usable afterwards.
///
/// # Errors
/// When the work panicked.
pub async fn catch_panic<T>(task: &'static str, work: impl Future<Output = T>) -> Result<T, Panicked> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|_| {
        // Either may be what panicked: a log that cannot be written, for example.
        let _ = catch_unwind(|| {
            counter!("draftwire_task_panics_total", "task" => task).increment(1);
            tracing::error!(task, "a task panicked; it begins anew");
        });
        Panicked
    })
}

/// Runs a task to its end, and anew whenever it panics.
pub(crate) async fn restart_on_panic<F>(task: &'static str, mut start: impl FnMut() -> F)
where
    F: Future<Output = ()>,
{
    while catch_panic(task, start()).await.is_err() {
        sleep(RESTART_PAUSE).await;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_begins_anew_until_it_ends() {
        let starts = Cell::new(0);
        let start = || {
            starts.set(starts.get() + 1);
            let number = starts.get();
            async move { assert!(number >= 3, "a test wants it so") }
        };
        restart_on_panic("test", start).await;
        assert_eq!(starts.get(), 3);
    }

    #[tokio::test]
    async fn what_a_panic_had_in_hand_is_dropped() {
        let (waiter, answer) = tokio::sync::oneshot::channel::<()>();
        let work = async move {
            let _waiter = waiter;
            panic!("a test wants it so");
        };
        assert_eq!(catch_panic::<()>("test", work).await, Err(Panicked));
        assert!(answer.await.is_err());
        assert_eq!(catch_panic("test", async { 1 }).await, Ok(1));
    }
}
