//! `stress`: more users than are expected, all of a sudden, for long, or ever more of them.

mod breakpoint;
mod saturation;
mod soak;
mod spike;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};

use super::Scenario;
use crate::{
    cli,
    crowd::{CrowdArgs, endurance::EnduranceArgs},
    outcome::{Outcome, Output},
    place::ClusterArgs,
    stage::Stage,
};

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How users are too many.
    #[arg(long, value_enum)]
    scenario: Kind,
    /// The most users: 50 of a spike, 20 of a soak, 1000 of a breakpoint.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    users: Option<u32>,
    /// How long a spike lasts at its top (10s), a soak in all (30m), a level of a breakpoint (5s).
    #[arg(long, value_parser = cli::duration)]
    duration: Option<Duration>,
    /// How long it takes until a spike is at its top (30s), or all users of a soak are here (10s), or those
    /// of the next level of a breakpoint (2s).
    #[arg(long, value_parser = cli::duration)]
    ramp: Option<Duration>,
    /// How long a few users stay after a spike.
    #[arg(long, default_value = "10s", value_parser = cli::duration)]
    after: Duration,
    /// How long after a spike changes may still be slow.
    #[arg(long, default_value = "5s", value_parser = cli::duration)]
    recovery_max: Duration,
    /// The users that a breakpoint begins with, and has to bear.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    users_min: u32,
    /// How many devices each user has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=100))]
    devices: u32,
    /// Changes a second, by each user: 1, and 5 of a breakpoint.
    #[arg(long, value_parser = cli::rate)]
    user_rate: Option<f64>,
    #[command(flatten)]
    endurance: EnduranceArgs,
    #[command(flatten)]
    crowd: CrowdArgs,
    #[command(flatten)]
    output: Output,
}

/// How users are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// From none to 50 within 30 s, and away: how soon all is as before.
    Spike,
    /// 20 users for half an hour: whether memory and latency stay as they are.
    Soak,
    /// Ever more, until changes are slow or fail: how many, and what was used up first.
    Breakpoint,
}

impl Scenario for Options {
    fn output(&self) -> &Output {
        &self.output
    }

    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        match self.scenario {
            Kind::Spike => spike::run(&self, stage).await,
            Kind::Soak => soak::run(&self, stage).await,
            Kind::Breakpoint => breakpoint::run(&self, stage).await,
        }
    }
}
