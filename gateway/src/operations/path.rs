//! Where the time of a change goes, and what holds it up. Pure.

use std::time::Duration;

use common::operations::{Operation, Window};

use super::{
    advice::advice,
    profile::{Measured, Profile},
};

/// The parts of the way of a change from one device to another one on another node, one after the other. What is
/// measured inside of a part (statements, the wait for the pool, publishing) is not among them.
const PARTS: [Operation; 6] = [
    Operation::Decode,
    Operation::Queue,
    Operation::Commit,
    Operation::Hop,
    Operation::Sequence,
    Operation::Deliver,
];

/// Fewer in a minute say nothing about a 95th percentile.
const SAMPLES_MIN: u64 = 10;

/// Changes in a minute from which on the path counts as under load: ten a second. With fewer, some part of a short
/// path always takes the most of it, and that holds nobody up.
const LOAD_MIN: u64 = 600;

/// The share of the path's time from which on a part takes most of it.
const SHARE_MIN: f64 = 0.5;

/// The way of a change within the last minute. Means add up, percentiles do not: so the shares are those of the means.
#[derive(Debug, Clone, PartialEq)]
pub struct Path {
    /// Changes that were committed.
    pub changes: u64,
    /// The mean time of the whole way.
    pub mean: Duration,
    /// What it consists of, in order.
    pub parts: Vec<Part>,
}

/// A part of a [`Path`].
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// The operation.
    pub operation: Operation,
    /// Its mean time.
    pub mean: Duration,
    /// Its 95th percentile.
    pub p95: Duration,
    /// Its share of the whole way, 0 to 1.
    pub share: f64,
}

/// An operation that makes changes late.
#[derive(Debug, Clone, PartialEq)]
pub struct Bottleneck {
    /// The name of the operation.
    pub operation: String,
    /// Why it is one.
    pub reason: Reason,
    /// Its 95th percentile within the last minute.
    pub p95: Duration,
    /// Its share of the way of a change, 0 to 1; `None` where it is no part of it.
    pub share: Option<f64>,
    /// What to do about it.
    pub advice: &'static str,
    /// Where docs/operations.md says more: the heading's anchor.
    pub anchor: &'static str,
}

/// Why an operation is a bottleneck.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Its 95th percentile is over `SLOW_OPERATION`.
    Slow,
    /// It takes most of the path's time, under load.
    Share,
}

impl Reason {
    /// As answers have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Share => "share",
        }
    }
}

impl Path {
    /// The way of a change, of what was measured.
    pub fn of(profile: &Profile) -> Self {
        let none = Window::default();
        let windows = PARTS
            .map(|operation| (operation, profile.get(operation.name()).map_or(&none, |own| &own.minute)));
        let mean: Duration = windows.iter().map(|(_, window)| window.durations.mean()).sum();
        let parts = windows.map(|(operation, window)| {
            let durations = &window.durations;
            let share = if mean.is_zero() { 0.0 } else { durations.mean().div_duration_f64(mean) };
            Part { operation, mean: durations.mean(), p95: durations.quantile(0.95), share }
        });
        let changes = profile.get(Operation::Commit.name()).map_or(0, |own| own.minute.durations.count());
        Self { changes, mean, parts: parts.into() }
    }

    /// What makes changes late, the greatest share first. `slow` is `SLOW_OPERATION`.
    ///
    /// A request over HTTP, and a wait for the pool or the bus, contain or are contained in other operations: a route is
    /// named only where nothing of the kind that it waits for is.
    pub fn bottlenecks(&self, profile: &Profile, slow: Duration) -> Vec<Bottleneck> {
        let part = |name: &str| self.parts.iter().find(|part| part.operation.name() == name);
        let mut found: Vec<Bottleneck> = profile
            .operations
            .iter()
            .filter_map(|Measured { name, minute, .. }| {
                let p95 = minute.durations.quantile(0.95);
                let share = part(name).map(|part| part.share);
                let most = self.changes >= LOAD_MIN && share.is_some_and(|share| share > SHARE_MIN);
                let reason = if minute.durations.count() >= SAMPLES_MIN && p95 > slow {
                    Reason::Slow
                } else if most {
                    Reason::Share
                } else {
                    return None;
                };
                let (advice, anchor) = advice(name);
                Some(Bottleneck { operation: name.clone(), reason, p95, share, advice, anchor })
            })
            .collect();
        let is_route = |found: &Bottleneck| found.operation.starts_with("http:");
        if !found.iter().all(is_route) {
            found.retain(|found| !is_route(found));
        }
        let rank = |found: &Bottleneck| found.share.unwrap_or(0.0);
        found.sort_by(|one, other| rank(other).total_cmp(&rank(one)).then(other.p95.cmp(&one.p95)));
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Operations that took so many milliseconds, so many times.
    fn profile(operations: &[(&str, f64, u64)]) -> Profile {
        let measured = operations.iter().map(|(name, millis, count)| {
            let mut window = Window::default();
            (0..*count).for_each(|_| window.durations.record(Duration::from_secs_f64(millis / 1000.0)));
            Measured { name: (*name).to_owned(), minute: window.clone(), five_minutes: window }
        });
        Profile { as_of: 0, operations: measured.collect() }
    }

    fn bottlenecks(profile: &Profile) -> Vec<(String, Reason)> {
        let found = Path::of(profile).bottlenecks(profile, Duration::from_millis(100));
        found.into_iter().map(|found| (found.operation, found.reason)).collect()
    }

    #[test]
    fn the_path_is_broken_into_its_parts() {
        let profile = profile(&[
            ("decode", 0.1, 9),
            ("queue", 0.4, 9),
            ("commit", 6.1, 9),
            ("pool", 3.0, 9),
            ("hop", 0.9, 9),
            ("deliver", 0.5, 900),
        ]);
        let path = Path::of(&profile);
        assert_eq!((path.changes, path.mean), (9, Duration::from_millis(8)));
        let shares: Vec<_> = path.parts.iter().map(|part| (part.operation.name(), part.share)).collect();
        let expected = [
            ("decode", 0.0125),
            ("queue", 0.05),
            ("commit", 0.7625),
            ("hop", 0.1125),
            ("sequence", 0.0),
            ("deliver", 0.0625),
        ];
        assert_eq!(shares, expected);
        assert_eq!(bottlenecks(&profile), [], "nothing is slow, and there is no load");
    }

    #[test]
    fn nothing_measured_is_no_path() {
        let profile = profile(&[]);
        assert_eq!(Path::of(&profile).mean, Duration::ZERO);
        assert!(bottlenecks(&profile).is_empty());
    }

    #[test]
    fn under_load_what_takes_most_of_the_path_is_named() {
        let load = profile(&[("queue", 1.0, 600), ("commit", 6.0, 600), ("deliver", 1.0, 600)]);
        assert_eq!(bottlenecks(&load), [("commit".to_owned(), Reason::Share)]);
        let even = profile(&[("queue", 3.0, 600), ("commit", 6.0, 600), ("deliver", 3.0, 600)]);
        assert_eq!(bottlenecks(&even), []);
    }

    #[test]
    fn what_is_slow_is_named_with_the_greatest_share_first() {
        let slow = profile(&[
            ("queue", 101.0, 10),
            ("commit", 500.0, 10),
            ("statement:write_one", 400.0, 10),
            ("deliver", 900.0, 9),
            ("http:POST /v1/drafts", 700.0, 10),
        ]);
        let names: Vec<_> = bottlenecks(&slow).into_iter().map(|(name, _)| name).collect();
        assert_eq!(
            names,
            ["commit", "queue", "statement:write_one"],
            "few samples are none, and a route waits for others"
        );
        let route = profile(&[("commit", 5.0, 10), ("http:POST /v1/drafts", 700.0, 10)]);
        assert_eq!(bottlenecks(&route), [("http:POST /v1/drafts".to_owned(), Reason::Slow)]);
    }
}
