//! The profiler's answer, as `GET /operations` gives it.

use std::time::Duration;

use common::operations::Window;
use serde::Serialize;

use super::{
    path::{Bottleneck, Part, Path},
    profile::{Measured, Profile},
};

/// Everything that a [`Profile`] says. Durations are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationsView {
    /// When that was, Unix milliseconds.
    pub as_of: u64,
    /// `SLOW_OPERATION`.
    pub slow_ms: f64,
    /// The operations, those on the way of a change first and in its order.
    pub operations: Vec<Row>,
    /// The way of a change within the last minute.
    pub path: PathView,
    /// What makes changes late, the greatest share first.
    pub bottlenecks: Vec<BottleneckView>,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its name.
    pub operation: String,
    /// What it did in the last minute.
    pub last_minute: Table,
    /// What it did in the last five minutes.
    pub last_five_minutes: Table,
}

/// What an operation did in a while.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Table {
    /// How often it ended.
    pub count: u64,
    /// How often with an error.
    pub errors: u64,
    /// The median.
    pub p50_ms: f64,
    /// The 95th percentile.
    pub p95_ms: f64,
    /// The 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// A [`Path`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PathView {
    /// Changes that were committed.
    pub changes: u64,
    /// The mean time of the whole way.
    pub mean_ms: f64,
    /// What it consists of, in order.
    pub parts: Vec<PartView>,
}

/// A [`Part`] of the path.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartView {
    /// The name of the operation.
    pub operation: &'static str,
    /// Its mean time.
    pub mean_ms: f64,
    /// Its 95th percentile.
    pub p95_ms: f64,
    /// Its share of the whole way, 0 to 1.
    pub share: f64,
}

/// A [`Bottleneck`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BottleneckView {
    /// The name of the operation.
    pub operation: String,
    /// `slow` or `share`.
    pub reason: &'static str,
    /// Its 95th percentile within the last minute.
    pub p95_ms: f64,
    /// Its share of the path; absent where it is no part of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// What to do about it.
    pub advice: &'static str,
    /// Where the documentation says more.
    pub see: String,
}

impl OperationsView {
    /// The view of a profile; `slow` is `SLOW_OPERATION`.
    pub fn of(profile: &Profile, slow: Duration) -> Self {
        let path = Path::of(profile);
        let bottlenecks = path.bottlenecks(profile, slow).into_iter().map(BottleneckView::from).collect();
        Self {
            as_of: profile.as_of,
            slow_ms: ms(slow),
            operations: profile.operations.iter().map(Row::from).collect(),
            path: PathView::from(&path),
            bottlenecks,
        }
    }
}

impl From<&Measured> for Row {
    fn from(measured: &Measured) -> Self {
        Self {
            operation: measured.name.clone(),
            last_minute: Table::from(&measured.minute),
            last_five_minutes: Table::from(&measured.five_minutes),
        }
    }
}

impl From<&Window> for Table {
    fn from(Window { durations, errors }: &Window) -> Self {
        let quantile = |quantile| ms(durations.quantile(quantile));
        Self {
            count: durations.count(),
            errors: *errors,
            p50_ms: quantile(0.5),
            p95_ms: quantile(0.95),
            p99_ms: quantile(0.99),
            max_ms: ms(durations.max()),
        }
    }
}

impl From<&Path> for PathView {
    fn from(path: &Path) -> Self {
        let parts = path.parts.iter().map(PartView::from).collect();
        Self { changes: path.changes, mean_ms: ms(path.mean), parts }
    }
}

impl From<&Part> for PartView {
    fn from(part: &Part) -> Self {
        let operation = part.operation.name();
        Self { operation, mean_ms: ms(part.mean), p95_ms: ms(part.p95), share: rounded(part.share) }
    }
}

impl From<Bottleneck> for BottleneckView {
    fn from(found: Bottleneck) -> Self {
        Self {
            operation: found.operation,
            reason: found.reason.as_str(),
            p95_ms: ms(found.p95),
            share: found.share.map(rounded),
            advice: found.advice,
            see: format!("docs/operations.md#{}", found.anchor),
        }
    }
}

/// Milliseconds, to the microsecond.
pub(crate) fn ms(duration: Duration) -> f64 {
    rounded(duration.as_secs_f64() * 1000.0)
}

/// A number to three digits behind the point.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_is_slow_in_milliseconds() {
        let mut window = Window { errors: 1, ..Window::default() };
        (1..=100).for_each(|n| window.durations.record(Duration::from_millis(10 * n)));
        let measured = Measured { name: "commit".to_owned(), minute: window.clone(), five_minutes: window };
        let profile = Profile { as_of: 5, operations: vec![measured] };
        let view = OperationsView::of(&profile, Duration::from_millis(100));
        let json = serde_json::to_value(&view).unwrap();
        assert_eq!(json["operations"][0]["lastMinute"]["count"], 100);
        assert_eq!(json["operations"][0]["lastFiveMinutes"]["errors"], 1);
        assert_eq!(json["operations"][0]["lastMinute"]["maxMs"], 1000.0);
        assert_eq!(json["path"]["meanMs"], 505.0);
        assert_eq!(json["bottlenecks"][0]["operation"], "commit");
        assert_eq!(json["bottlenecks"][0]["share"], 1.0);
        let p95 = json["bottlenecks"][0]["p95Ms"].as_f64().unwrap();
        assert!((900.0..=1000.0).contains(&p95), "{p95}");
    }
}
