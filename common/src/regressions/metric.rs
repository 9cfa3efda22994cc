//! What is watched.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A part of the samples that took at most so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Quantile {
    /// The median.
    P50,
    /// The 95th percentile.
    P95,
    /// The 99th percentile.
    P99,
}

impl Quantile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::P50, Self::P95, Self::P99];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P95 => "p95",
            Self::P99 => "p99",
        }
    }

    /// The part, 0 to 1.
    pub(super) fn part(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
        }
    }

    /// Samples that a quantile is taken of at least: two above it, and eight of a median.
    pub(super) fn samples_min(self) -> u64 {
        match self {
            Self::P50 => 8,
            Self::P95 => 40,
            Self::P99 => 200,
        }
    }
}

/// What is measured. Of each, more is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Measure {
    /// How long an operation takes, in milliseconds.
    Latency(Quantile),
    /// The part of an operation's calls that end with an error, 0 to 1.
    Errors,
    /// The part of the attempts to connect that are refused, 0 to 1.
    Refused,
    /// Reconnections for each connection and minute: among minutes of connections.
    Reconnections,
    /// Time on processors for each delivery, in milliseconds.
    Processor,
    /// Memory in use for each connection, in bytes.
    Memory,
}

/// How a measure is put together from its slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A quantile of durations.
    Quantile(Quantile),
    /// Something that happens to some of many: it is rare, so that slices are added up.
    Rate,
    /// What units of work cost. A part of it is there without any work.
    Cost,
}

impl Measure {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Latency(_) => "latency",
            Self::Errors => "errors",
            Self::Refused => "refused_connections",
            Self::Reconnections => "reconnections",
            Self::Processor => "processor_per_delivery",
            Self::Memory => "memory_per_connection",
        }
    }

    /// The unit of its values: `ms`, `part` (0 to 1), `per_minute` or `bytes`.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Latency(_) | Self::Processor => "ms",
            Self::Errors | Self::Refused => "part",
            Self::Reconnections => "per_minute",
            Self::Memory => "bytes",
        }
    }

    /// The least difference that anybody would notice, in its unit: whatever is below is no regression.
    pub fn noticeable(self) -> f64 {
        match self {
            // Twentieths of a millisecond add up over the parts of the path.
            Self::Latency(_) => 0.05,
            Self::Errors | Self::Refused => 0.01,
            Self::Reconnections => 0.05,
            Self::Processor => 0.005,
            Self::Memory => 8192.0,
        }
    }

    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Latency(quantile) => Kind::Quantile(quantile),
            Self::Errors | Self::Refused | Self::Reconnections => Kind::Rate,
            Self::Processor | Self::Memory => Kind::Cost,
        }
    }

    /// Samples, or units of work, that a value is taken of at least.
    pub(super) fn samples_min(self) -> f64 {
        match self {
            Self::Latency(quantile) => quantile.samples_min() as f64,
            Self::Errors | Self::Refused => 10.0,
            Self::Reconnections => 2.0,
            Self::Processor => 500.0,
            Self::Memory => 100.0,
        }
    }
}

/// One thing that may become worse.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Metric {
    /// The operation, for latencies and errors: as in the profiler, or `path` for the whole way of a change.
    pub operation: Option<String>,
    /// What is measured.
    pub measure: Measure,
}

impl fmt::Display for Metric {
    /// As in `latency of commit (p95)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.measure.name())?;
        if let Some(operation) = &self.operation {
            write!(f, " of {operation}")?;
        }
        match self.measure {
            Measure::Latency(quantile) => write!(f, " ({})", quantile.name()),
            _ => Ok(()),
        }
    }
}
