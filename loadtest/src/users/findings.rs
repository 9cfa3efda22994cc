//! What a run with users has shown, and the part of its summary that all of them have.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{journal::Journal, limits::Measured, series::Series, tally::Tally};
use crate::measure::{
    effort::Effort,
    latency::Latency,
    summary::{Outcome, Summary, bytes},
};

/// What was found.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(super) tally: Tally,
    /// From the moment at which a device was to connect to when it knew its drafts.
    connect: Latency,
    pub(crate) measured: Measured,
    /// Why devices did not connect.
    failures: BTreeMap<String, u64>,
    pub(crate) series: Series,
    pub(crate) effort: Effort,
    /// Shorter than planned after Ctrl-C, and where the scenario has ended it.
    pub(crate) lasted: Duration,
}

impl Findings {
    pub(super) fn of(journal: Journal, effort: Effort, lasted: Duration) -> Result<Self> {
        let Journal { series, tally, connect, failures, .. } = journal;
        let all = series.window(Duration::ZERO, Duration::MAX);
        ensure!(all.connected > 0, "no device gets a connection: {failures:?}");
        ensure!(
            tally.commands.acked > 0,
            "nothing was acknowledged, so nothing can be judged: {:?}",
            tally.commands
        );
        let arrivals = tally.arrivals();
        let measured = Measured {
            connects_due: all.connects_due,
            connected: all.connected,
            connect_p95_us: Some(connect.percentiles().p95_us),
            arrivals_due: all.arrivals_due,
            arrived: arrivals.count,
            arrival_p95_us: (arrivals.count > 0).then_some(arrivals.p95_us),
        };
        Ok(Self { tally, connect, measured, failures, series, effort, lasted })
    }

    /// Ends a summary with what all scenarios of users have: what was measured, the promises, and the
    /// settings it was measured with.
    pub(crate) fn conclude(self, mut summary: Summary, settings: Value) -> Outcome {
        let Self { tally, connect, measured, failures, series, effort, lasted } = self;
        let seconds = lasted.as_secs_f64().max(1e-3);
        let connect = connect.percentiles();
        let connected = format!("{} of {}", measured.connected, measured.connects_due);
        summary.row("devices connected", connected);
        summary.row("  each", connect.to_string());
        if !failures.is_empty() {
            summary.row("  failures", format!("{failures:?}"));
        }
        let changes = tally.commands.acked as f64 / seconds;
        summary.row("changes", format!("{changes:.1} acknowledged a second"));
        let arrived = format!("{} of {}", measured.arrived, measured.arrivals_due);
        summary.row("  on other devices", arrived);
        let costs = effort.costs(measured.arrived);
        summary.row("processor, each delivery", costs.text());
        let points = series.points();
        let resident: Vec<f64> = points.iter().filter_map(|point| point.nodes_resident_bytes).collect();
        if let (Some(first), Some(last)) = (resident.first(), resident.last()) {
            let most = resident.iter().copied().fold(0.0, f64::max);
            summary.row(
                "memory of the nodes",
                format!("{} at first, {} at most, {} at last", bytes(*first), bytes(most), bytes(*last)),
            );
        }
        effort.tell(&mut summary);
        tally.tell(&mut summary);
        summary.put("lasted_seconds", seconds);
        summary.put("measured", measured);
        summary.put("connect", connect);
        summary.put("connect_failures", failures);
        summary.put("cpu_each", costs);
        summary.put("series", json!({"seconds_each": series.width().as_secs_f64(), "points": points}));
        summary.put("settings", settings);
        summary.outcome()
    }
}
