//! Load at a rate that does not wait for answers: each piece of work has its moment, fixed before the run.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use crate::stage::Stage;

/// Work under way at one time. When there is as much, the next waits, and its wait is measured.
const UNDER_WAY_MAX: usize = 10_000;

/// How much for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OpenLoop {
    /// Pieces of work a second.
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
}

impl OpenLoop {
    /// How many pieces the whole run has.
    pub(crate) fn planned(self) -> f64 {
        (self.rate * self.duration.as_secs_f64()).ceil()
    }

    /// Begins each piece at its moment, which `work` is told, until the time is over, `work` has no more, or
    /// Ctrl-C. `standing` is the line of the progress display, given the time and how much is under way.
    /// Answers what is under way at the end.
    pub(crate) async fn run<F>(
        self,
        stage: &mut Stage,
        standing: impl Fn(Duration, usize) -> String,
        mut work: impl FnMut(Instant) -> Option<F>,
    ) -> JoinSet<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let Stage { progress, interrupt, .. } = stage;
        let slots = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        let mut under_way = JoinSet::new();
        let begun = Instant::now();
        let end = begun + self.duration;
        let mut shown = tokio::time::interval(progress.every());
        for n in 0.. {
            let intended = begun + Duration::from_secs_f64(f64::from(n) / self.rate);
            if intended >= end {
                break;
            }
            let slot = async {
                sleep_until(intended).await;
                Arc::clone(&slots).acquire_owned().await
            };
            tokio::pin!(slot);
            let slot = loop {
                tokio::select! {
                    slot = timeout_at(end, &mut slot) => break slot,
                    () = interrupt.pressed() => return under_way,
                    _ = shown.tick() => progress.show(|| standing(begun.elapsed(), under_way.len())),
                }
            };
            let Ok(Ok(slot)) = slot else { break };
            while under_way.try_join_next().is_some() {}
            let Some(piece) = work(intended) else { break };
            under_way.spawn(async move {
                piece.await;
                drop(slot);
            });
        }
        under_way
    }
}
