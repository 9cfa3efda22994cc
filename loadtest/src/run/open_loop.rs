//! Load at a rate that does not wait for answers: each piece of work has its moment, fixed before the run.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use crate::run::Stage;

/// Work under way at one time. When there is as much, the next waits, and its wait is measured.
pub(crate) const UNDER_WAY_MAX: usize = 10_000;

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
    /// Returns what is under way at the end.
    pub(crate) async fn run<F>(
        self,
        stage: &mut Stage,
        standing: impl Fn(Duration, usize) -> String,
        work: impl FnMut(Instant) -> Option<F>,
    ) -> JoinSet<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(UNDER_WAY_MAX));
        let mut under_way = JoinSet::new();
        let begun = Instant::now();
        let end = begun + self.duration;
        let moments = (0u32..).map(|n| begun + Duration::from_secs_f64(f64::from(n) / self.rate));
        let moments = moments.take_while(|moment| *moment < end);
        let mut shown = tokio::time::interval(stage.progress.every());
        let display = async {
            loop {
                shown.tick().await;
                let under_way = UNDER_WAY_MAX - slots.available_permits();
                stage.progress.show(|| standing(begun.elapsed(), under_way));
            }
        };
        tokio::select! {
            // What is behind ends with its time, too.
            _ = timeout_at(end, begin_at(moments, &slots, &mut under_way, work)) => {}
            () = stage.interrupt.pressed() => {}
            never = display => never,
        }
        under_way
    }
}

/// Begins a piece of work at each of these moments, which `work` is told, until they end or `work` has no more.
/// When there are no more `slots`, the next waits. What was begun goes on when this is dropped.
pub(crate) async fn begin_at<F>(
    moments: impl Iterator<Item = Instant>,
    slots: &Arc<Semaphore>,
    under_way: &mut JoinSet<()>,
    mut work: impl FnMut(Instant) -> Option<F>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    for intended in moments {
        sleep_until(intended).await;
        let Ok(slot) = Arc::clone(slots).acquire_owned().await else { return };
        while under_way.try_join_next().is_some() {}
        let Some(piece) = work(intended) else { return };
        under_way.spawn(async move {
            piece.await;
            drop(slot);
        });
    }
}
