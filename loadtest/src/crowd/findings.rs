//! What a run with users has shown, and the part of its summary that all of them have.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Journal, Measured, series::Series};
use crate::{
    effort::Effort,
    latency::Latency,
    outcome::{Check, Outcome, Summary, bytes},
    tally::Tally,
};

/// What was found.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) tally: Tally,
    /// From the moment at which a device was to connect to when it knew its drafts.
    pub(crate) connect: Latency,
    pub(crate) measured: Measured,
    /// Why devices did not connect.
    pub(crate) failures: BTreeMap<String, u64>,
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
        let measured = Measured {
            connects_due: all.connects_due,
            connected: all.connected,
            connect_p95_us: Some(connect.percentiles().p95_us),
            arrivals_due: all.arrivals_due,
            arrived: tally.from_intended.percentiles().count,
            arrival_p95_us: Some(tally.from_intended.percentiles())
                .filter(|arrivals| arrivals.count > 0)
                .map(|arrivals| arrivals.p95_us),
        };
        Ok(Self { tally, connect, measured, failures, series, effort, lasted })
    }

    /// Ends a summary with what all scenarios of users have: the promises, what was measured, and the
    /// settings it was measured with.
    pub(crate) fn conclude(self, mut summary: Summary, settings: Value) -> Outcome {
        self.tell(&mut summary);
        summary.put("settings", settings);
        summary.outcome()
    }

    fn tell(self, summary: &mut Summary) {
        let Self { tally, connect, measured, failures, series, effort, lasted } = self;
        let seconds = lasted.as_secs_f64().max(1e-3);
        let report = tally.report("", 0, lasted);
        let (commands, deliveries) = (&report.commands, &report.deliveries);
        let connect = connect.percentiles();
        summary.row("connections", format!("{} of {}", measured.connected, measured.connects_due));
        summary.row("  each", connect.to_string());
        if !failures.is_empty() {
            summary.row("  failures", format!("{failures:?}"));
        }
        summary.row(
            "changes",
            format!(
                "{} acknowledged of {}, {:.1} a second; {} unanswered, errors {:?}",
                commands.acked,
                commands.sent,
                commands.acked as f64 / seconds,
                commands.unanswered,
                commands.errors
            ),
        );
        summary.row("  to the acknowledgement", report.answered.to_string());
        summary.row("on other devices", format!("{} of {}", measured.arrived, measured.arrivals_due));
        summary.row("  from intended sending", deliveries.from_intended.to_string());
        summary.row("  from the acknowledgement", deliveries.from_ack.to_string());
        summary.row("processor, each delivery", effort.costs(measured.arrived).text());
        let points = series.points();
        let resident: Vec<f64> = points.iter().filter_map(|point| point.nodes_resident_bytes).collect();
        if let (Some(first), Some(last)) = (resident.first(), resident.last()) {
            let most = resident.iter().copied().fold(0.0, f64::max);
            summary.row(
                "memory of the nodes",
                format!("{} at first, {} at most, {} at last", bytes(*first), bytes(most), bytes(*last)),
            );
        }
        effort.tell(summary);
        let broken = &report.broken;
        for told in &broken.told {
            summary.note(told.clone());
        }
        summary.check(Check::none("events missing", broken.gaps));
        summary.check(Check::none("events repeated", broken.repeats));
        summary.check(Check::none("events out of order", broken.reorders));
        summary.check(Check::none("acknowledged changes lost, or acknowledged wrongly", broken.acknowledged));
        summary.check(Check::none("devices that differ from the database", broken.not_converged));
        summary.check(Check::none("other faults", broken.others));
        summary.check(Check::none("devices with any fault", broken.faulty_devices()));
        summary.put("lasted_seconds", seconds);
        summary.put("measured", measured);
        summary.put("connect", connect);
        summary.put("connect_failures", failures);
        summary.put("commands", commands);
        summary.put("answered", report.answered);
        summary.put("deliveries", deliveries);
        summary.put("connections", &report.connections);
        summary.put("verified", &report.verified);
        summary.put("broken", broken);
        summary.put("cpu_each", effort.costs(measured.arrived));
        summary.put("series", json!({"seconds_each": series.width().as_secs_f64(), "points": points}));
    }
}
