//! The sweep: compares the heads of followed streams with the log.
//!
//! The last event of a burst is the one that no later event reveals. When its copy is lost, or its node dies
//! between commit and publish, only reading the head finds it: the sweep is what makes the promise true, and
//! its interval is the bound on staleness.

use std::{sync::Arc, time};

use metrics::{counter, gauge, histogram};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::{head_check::HeadCheck, log_reader::LogReader, trust::BusTrust};
use crate::{LiveSettings, stream::Registry};

/// Decides when to sweep, and does it.
pub(crate) struct Sweep {
    settings: LiveSettings,
    registry: Arc<Registry>,
    trust: Arc<BusTrust>,
    log: Arc<LogReader>,
    heads: Arc<HeadCheck>,
    last_full: Instant,
    /// Whether the bus was trusted at the last round.
    trusted: bool,
}

/// A round of the sweep that is due.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    /// All streams, not only those that are to be confirmed again.
    full: bool,
    /// The bus is trusted again since the round before.
    pub(crate) trust_regained: bool,
}

impl Sweep {
    pub(crate) fn new(
        settings: LiveSettings,
        registry: Arc<Registry>,
        trust: Arc<BusTrust>,
        log: Arc<LogReader>,
        heads: Arc<HeadCheck>,
    ) -> Self {
        Self { settings, registry, trust, log, heads, last_full: Instant::now(), trusted: false }
    }

    /// Waits for the interval, or until a sweep is requested.
    pub(crate) async fn due(&mut self) -> Round {
        let interval = self.settings.load().sweep_interval_while(self.trust.is_trusted());
        gauge!("draftwire_sweep_interval_seconds").set(interval.as_secs_f64());
        let next_full = self.last_full + interval;
        let requested = timeout_at(next_full, self.trust.sweep_requested()).await.is_ok();
        let trusted = self.trust.is_trusted();
        let trust_regained = trusted && !self.trusted;
        self.trusted = trusted;
        if trust_regained {
            // No later message need reveal what was lost until a moment ago.
            self.trust.invalidate();
        }
        Round { full: trust_regained || !requested || Instant::now() >= next_full, trust_regained }
    }

    /// Runs a round. After a failure it returns only when the next attempt may be made.
    pub(crate) async fn run(&mut self, round: Round) {
        if round.full {
            // First of all: a stream that is released must not be read, and subscribed to, again.
            self.registry.release_idle();
            self.log.measure();
        }
        let mut streams = self.registry.all();
        if round.full {
            self.last_full = Instant::now();
            let age = self.settings.load().recent_events_age;
            streams.iter().for_each(|stream| stream.age(age));
        } else {
            streams.retain(|stream| self.heads.is_due(stream));
        }
        let began = time::Instant::now();
        let result = if streams.is_empty() && round.full {
            // Nobody follows anything here, but backends may send signals, which name the history.
            self.log.heads(&[]).await.map(drop)
        } else {
            self.heads.refresh_all(&streams).await
        };
        histogram!("draftwire_sweep_seconds").record(began.elapsed().as_secs_f64());
        if let Err(error) = result {
            counter!("draftwire_sweep_failures_total").increment(1);
            debug!(%error, "the sweep stopped; it starts again later");
            // Requests for a sweep would come at once while the store is down.
            let pause = self.settings.load().sweep_interval_unsure;
            sleep(pause).await;
        }
    }
}
