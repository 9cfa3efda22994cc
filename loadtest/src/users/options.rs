//! What all scenarios of users take from the command line.

use std::time::Duration;

use clap::Args;

use super::limits::Limits;
use crate::{measure::summary::micros_of, run::arguments};

/// What all scenarios of users have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct UserArgs {
    /// How many devices each user has; 3 of `load` and `stress`, 2 otherwise.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) devices: Option<u32>,
    /// How many drafts each user has.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) drafts_per_user: u32,
    /// How long two users edit before anything is measured.
    #[arg(long, default_value = "2s", value_parser = arguments::duration)]
    pub(super) warmup: Duration,
    /// How long, when a user leaves, its answers may take that are still awaited, and then its devices to
    /// catch up.
    #[arg(long, default_value = "15s", value_parser = arguments::duration)]
    pub(super) settle: Duration,
    /// The threshold of the 95th percentile of connecting, instead of the scenario's.
    #[arg(long, value_parser = arguments::duration)]
    connect_p95_max: Option<Duration>,
    /// The threshold of the 95th percentile from a change's intended sending to a user's other devices,
    /// instead of the scenario's.
    #[arg(long, value_parser = arguments::duration)]
    p95_max: Option<Duration>,
    /// The threshold of how many connections, and changes on other devices, succeed, instead of the
    /// scenario's.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    success_min: Option<u8>,
}

impl UserArgs {
    /// The thresholds of a scenario, unless others are given.
    pub(crate) fn limits(&self, limits: Limits) -> Limits {
        Limits {
            connect_p95_us: self.connect_p95_max.map_or(limits.connect_p95_us, micros_of),
            arrival_p95_us: self.p95_max.map_or(limits.arrival_p95_us, micros_of),
            success_percent: self.success_min.map_or(limits.success_percent, f64::from),
        }
    }
}
