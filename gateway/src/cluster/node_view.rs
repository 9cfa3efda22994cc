//! A node as operators are shown it. Pure.

use std::time::Duration;

use common::operations::{Histogram, Window};
use serde::Serialize;

use super::{facts::Facts, report::Report};
use crate::operations::{BottleneckView, Measured, Path, Profile, ms};

/// A node: what it says of itself, and what follows from its histograms.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NodeView {
    #[serde(flatten)]
    pub(super) facts: Facts,
    /// Whether it has been silent for so long that it may be gone.
    pub(super) stale: bool,
    latency: Latency,
    bottlenecks: Vec<BottleneckView>,
}

/// How late events were in the last minute.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Latency {
    count: u64,
    pub(super) mean_ms: f64,
    p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    max_ms: f64,
}

impl NodeView {
    pub(super) fn of(report: &Report, stale: bool, slow: Duration) -> Self {
        let profile = last_minute(report.operations.iter().cloned());
        let bottlenecks = bottlenecks(&Path::of(&profile), &profile, slow);
        let latency = Latency::of(&report.latency.durations);
        Self { facts: report.facts.clone(), stale, latency, bottlenecks }
    }

    /// A node that has measured nothing.
    #[cfg(test)]
    pub(super) fn bare(facts: Facts, stale: bool) -> Self {
        Self::of(&Report { facts, ..Report::default() }, stale, Duration::MAX)
    }
}

impl Latency {
    pub(super) fn of(durations: &Histogram) -> Self {
        let quantile = |quantile| ms(durations.quantile(quantile));
        Self {
            count: durations.count(),
            mean_ms: ms(durations.mean()),
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: ms(durations.max()),
        }
    }
}

/// A profile of the last minute alone.
pub(super) fn last_minute(operations: impl Iterator<Item = (String, Window)>) -> Profile {
    let measured =
        operations.map(|(name, minute)| Measured { name, minute, five_minutes: Window::default() });
    Profile { as_of: 0, operations: measured.collect() }
}

/// What makes changes late on this path.
pub(super) fn bottlenecks(path: &Path, profile: &Profile, slow: Duration) -> Vec<BottleneckView> {
    path.bottlenecks(profile, slow).into_iter().map(BottleneckView::from).collect()
}
