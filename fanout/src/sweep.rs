//! The sweep: compares the heads of followed streams with the log.
//!
//! The last event of a burst is the one that nothing later reveals. When its copy is lost, or its
//! node dies between commit and publish, only a look at the head finds it: the sweep is what makes
//! the promise true, and its interval is the bound on staleness.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use metrics::{counter, gauge, histogram};
use tokio::time::timeout;
use tracing::debug;

use crate::{
    Source,
    followed::Followed,
    hub::{Asked, Hub},
    log::HEADS_PER_CALL_MAX,
};

/// Sweeps until the hub is gone.
pub(crate) async fn run(hub: Weak<Hub>) {
    let mut last_full = tokio::time::Instant::now();
    let mut trusted = false;
    loop {
        let Some(hub) = hub.upgrade() else { return };
        if hub.is_stopped() {
            return;
        }
        let interval = hub.sweep_interval();
        gauge!("draftwire_sweep_interval_seconds").set(interval.as_secs_f64());
        let next_full = last_full + interval;
        let called = timeout(next_full.saturating_duration_since(tokio::time::Instant::now()), async {
            hub.sweep_now.notified().await;
        })
        .await
        .is_ok();
        if hub.is_stopped() {
            return;
        }
        let regained = hub.bus_is_trusted() && !trusted;
        trusted = hub.bus_is_trusted();
        if regained {
            // What was lost until a moment ago no later copy need reveal.
            hub.doubt();
            hub.rooms.wake_all();
        }
        let full = regained || !called || tokio::time::Instant::now() >= next_full;
        if full {
            // First of all: what is let go must not be asked for, and subscribed to, again.
            hub.streams.release_idle();
            hub.log.measure();
        }
        let mut streams = hub.streams.all();
        if full {
            last_full = tokio::time::Instant::now();
            for followed in &streams {
                let mut state = followed.state();
                state.recent.trim();
                state.signals.age();
                state.repeats.age();
            }
        } else {
            streams.retain(|followed| hub.is_due(followed));
        }
        let began = Instant::now();
        let complete = sweep(&hub, &streams).await;
        histogram!("draftwire_sweep_seconds").record(began.elapsed().as_secs_f64());
        if !complete {
            // Wait for the interval rather than for the next call, which would come at once.
            let pause = hub.settings().sweep_interval_unsure;
            drop(hub);
            tokio::time::sleep(pause).await;
        }
    }
}

/// Compares these streams with the log. Returns whether the log answered.
async fn sweep(hub: &Arc<Hub>, streams: &[Arc<Followed>]) -> bool {
    for chunk in streams.chunks(HEADS_PER_CALL_MAX) {
        let asked: Vec<Asked> = chunk.iter().map(|followed| Asked::now(hub, followed)).collect();
        let names: Vec<_> = chunk.iter().map(|followed| followed.stream.clone()).collect();
        match hub.log.heads(&names).await {
            Ok(heads) => {
                hub.observe_epoch(&heads.epoch);
                for ((followed, head), asked) in chunk.iter().zip(heads.heads).zip(asked) {
                    hub.learn(followed, &heads.epoch, head, asked, Source::Sweep);
                }
            }
            Err(error) => {
                counter!("draftwire_sweep_failures_total").increment(1);
                debug!(%error, "the sweep stopped; it starts again later");
                return false;
            }
        }
    }
    true
}
