//! What every scenario has besides its options: a display, and a user who may press Ctrl-C.

pub(crate) mod arguments;
pub(crate) mod files;
pub(crate) mod interrupt;
pub(crate) mod open_loop;
pub(crate) mod progress;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::task::JoinSet;

use self::{interrupt::Interrupt, progress::Progress};

/// The surroundings of a run.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) progress: Progress,
    pub(crate) interrupt: Interrupt,
    /// Set once what was done is verified: then the first Ctrl-C has been heard, and ends nothing more.
    pub(crate) verifying: bool,
}

/// What tasks of a load share: whether they are to stop, and how much was acknowledged.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shared {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
}

impl Shared {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(crate) fn acknowledged(&self, more: u64) {
        self.acked.fetch_add(more, Ordering::Relaxed);
    }
}

impl Stage {
    /// Waits for all tasks, and shows how it goes; tells them to stop at the first Ctrl-C. `more` is added to
    /// the line of the display.
    pub(crate) async fn finish<T: 'static>(
        &mut self,
        mut tasks: JoinSet<T>,
        shared: &Shared,
        more: impl Fn() -> String,
    ) -> Vec<T> {
        let begun = Instant::now();
        let mut done = Vec::new();
        let mut shown = tokio::time::interval(self.progress.every());
        loop {
            tokio::select! {
                task = tasks.join_next() => match task {
                    Some(Ok(task)) => done.push(task),
                    // Aborted or panicked: neither happens to these.
                    Some(Err(_)) => {}
                    None => return done,
                },
                () = self.interrupt.pressed(), if !shared.is_stopped() => {
                    shared.stop.store(true, Ordering::Relaxed);
                }
                _ = shown.tick() => self.progress.show(|| {
                    let acked = shared.acked.load(Ordering::Relaxed);
                    format!("{:>4.0}s  acknowledged {acked}{}", begun.elapsed().as_secs_f64(), more())
                }),
            }
        }
    }

    pub(crate) fn new(interrupt: Interrupt) -> Self {
        Self { progress: Progress::new(), interrupt, verifying: false }
    }
}
