//! `baseline` and `high`: a number of connections, and of messages a second, for a while.
//!
//! A connection is a user's device. A message is a change that one of them sends; with two devices for each
//! user it reaches one other, so as many messages a second go one way as the other. (Besides, each is
//! answered, and comes back to its author as an event.)

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Scenario;
use crate::{
    cli,
    crowd::{
        CrowdArgs, Limits,
        plan::{Plan, Rhythm},
    },
    outcome::{Outcome, Output, Summary},
    place::ClusterArgs,
    scenario::load::Tier,
    stage::Stage,
};

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many devices connect: 100, and 1000 of `high`.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    connections: Option<u32>,
    /// How many of them are one user's.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=50))]
    devices: u32,
    /// Changes a second, by all users together: 10, and 50 of `high`.
    #[arg(long, value_parser = cli::rate)]
    rate: Option<f64>,
    /// How long it takes until all are connected: 5s, and 10s of `high`.
    #[arg(long, value_parser = cli::duration)]
    ramp: Option<Duration>,
    /// How long all of them are.
    #[arg(long, default_value = "30s", value_parser = cli::duration)]
    duration: Duration,
    #[command(flatten)]
    crowd: CrowdArgs,
    #[command(flatten)]
    output: Output,
}

/// One of the two.
#[derive(Debug)]
pub(crate) struct Steady {
    name: &'static str,
    users: u32,
    devices: u32,
    rate: f64,
    ramp: Duration,
    duration: Duration,
    limits: Limits,
    cluster: ClusterArgs,
    crowd: CrowdArgs,
    output: Output,
}

impl Options {
    /// A hundred connections, which every cluster has to bear.
    pub(crate) fn baseline(self) -> Steady {
        self.of("baseline", 100, 10.0, 5, Tier::Light)
    }

    /// A thousand.
    pub(crate) fn high(self) -> Steady {
        self.of("high", 1_000, 50.0, 10, Tier::Heavy)
    }

    fn of(self, name: &'static str, connections: u32, rate: f64, ramp: u64, tier: Tier) -> Steady {
        Steady {
            name,
            users: self.connections.unwrap_or(connections).div_ceil(self.devices),
            devices: self.devices,
            rate: self.rate.unwrap_or(rate),
            ramp: self.ramp.unwrap_or(Duration::from_secs(ramp)),
            duration: self.duration,
            limits: tier.limits(),
            cluster: self.cluster,
            crowd: self.crowd,
            output: self.output,
        }
    }
}

impl Steady {
    fn plan(&self) -> Plan {
        Plan::new(Rhythm::Each(self.rate / f64::from(self.users)))
            .then(self.ramp, self.users)
            .then(self.duration, self.users)
    }
}

impl Scenario for Steady {
    fn output(&self) -> &Output {
        &self.output
    }

    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let findings = self.crowd.run(&self.cluster, self.devices, &self.plan(), stage).await?;
        let connections = self.users * self.devices;
        let heading = format!(
            "{connections} connections, {} messages a second, {:?} after {:?} of ramp",
            self.rate, self.duration, self.ramp
        );
        let settings = json!({"connections": connections, "users": self.users, "devices": self.devices,
            "rate": self.rate, "ramp_seconds": self.ramp.as_secs_f64(),
            "duration_seconds": self.duration.as_secs_f64()});
        let mut summary = Summary::new(self.name, heading);
        summary.check_all(self.crowd.limits(self.limits).checks(&findings.measured));
        Ok(findings.conclude(summary, settings))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(arguments: &[&str]) -> Options {
        Line::parse_from([&["x"], arguments].concat()).options
    }

    #[test]
    fn rates_are_those_of_all_together() {
        let (baseline, high) = (options(&[]).baseline(), options(&[]).high());
        assert_eq!((baseline.users, high.users), (50, 500));
        for (steady, rate) in [(baseline, 10.0), (high, 50.0)] {
            let seconds = steady.plan().lasts().as_secs_f64();
            // Who comes late makes fewer changes.
            let planned = steady.plan().changes_planned();
            assert!((rate * (seconds - 10.0)..=rate * seconds).contains(&planned), "{planned}");
        }
        let few = options(&["--connections", "7", "--devices", "3", "--rate", "6"]).high();
        assert_eq!((few.users, few.rate), (3, 6.0));
    }
}
