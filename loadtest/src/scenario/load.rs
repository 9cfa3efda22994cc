//! `load`: as many users as a tier has, who come one after the other, work, and leave.

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;
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
    stage::Stage,
};

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many users, and what they may wait for.
    #[arg(long, value_enum, default_value_t = Tier::Light)]
    tier: Tier,
    /// Five minutes of ramp, ten at the top, five down, unless they are given.
    #[arg(long)]
    full: bool,
    /// How long it takes until all users are here; 10s.
    #[arg(long, value_parser = cli::duration)]
    ramp: Option<Duration>,
    /// How long all of them are; 20s.
    #[arg(long, value_parser = cli::duration)]
    hold: Option<Duration>,
    /// How long it takes until all have left; 5s.
    #[arg(long, value_parser = cli::duration)]
    down: Option<Duration>,
    /// How many devices each user has.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=100))]
    devices: u32,
    /// Changes a second, by each user.
    #[arg(long, default_value = "1", value_parser = cli::rate)]
    user_rate: f64,
    #[command(flatten)]
    crowd: CrowdArgs,
    #[command(flatten)]
    output: Output,
}

/// How many users, and what they may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tier {
    /// 10 users; 95 % connected within 1 s and changes on other devices within 50 ms; all succeed.
    Light,
    /// 20 users; 1.5 s, 75 ms, 99 %.
    Medium,
    /// 30 users; 2 s, 100 ms, 99 %.
    Heavy,
    /// 50 users; 3 s, 150 ms, 95 %.
    Beyond,
}

impl Tier {
    #[cfg(test)]
    pub(crate) const ALL: [Self; 4] = [Self::Light, Self::Medium, Self::Heavy, Self::Beyond];

    #[cfg(test)]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Medium => "medium",
            Self::Heavy => "heavy",
            Self::Beyond => "beyond",
        }
    }

    pub(crate) fn users(self) -> u32 {
        match self {
            Self::Light => 10,
            Self::Medium => 20,
            Self::Heavy => 30,
            Self::Beyond => 50,
        }
    }

    pub(crate) fn limits(self) -> Limits {
        let (connect_ms, arrival_ms, success_percent) = match self {
            Self::Light => (1_000, 50, 100.0),
            Self::Medium => (1_500, 75, 99.0),
            Self::Heavy => (2_000, 100, 99.0),
            Self::Beyond => (3_000, 150, 95.0),
        };
        Limits { connect_p95_us: connect_ms * 1_000, arrival_p95_us: arrival_ms * 1_000, success_percent }
    }
}

impl Options {
    fn plan(&self) -> Plan {
        let [ramp, hold, down] = if self.full { [300, 600, 300] } else { [10, 20, 5] };
        let or = |given: Option<Duration>, seconds| given.unwrap_or(Duration::from_secs(seconds));
        let users = self.tier.users();
        Plan::new(Rhythm::Each(self.user_rate))
            .then(or(self.ramp, ramp), users)
            .then(or(self.hold, hold), users)
            .then(or(self.down, down), 0)
    }
}

impl Scenario for Options {
    fn output(&self) -> &Output {
        &self.output
    }

    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let plan = self.plan();
        let findings = self.crowd.run(&self.cluster, self.devices, &plan, stage).await?;
        let (tier, users) = (self.tier, self.tier.users());
        let heading = format!(
            "{tier:?}, {users} users with {} devices each, {} changes a second by each, {:?}",
            self.devices,
            self.user_rate,
            plan.lasts()
        );
        let settings = json!({"tier": tier, "users": users, "devices": self.devices,
            "user_rate": self.user_rate, "full": self.full,
            "duration_seconds": plan.lasts().as_secs_f64()});
        let mut summary = Summary::new("load", heading);
        summary.check_all(self.crowd.limits(tier.limits()).checks(&findings.measured));
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

    #[test]
    fn the_scripts_for_k6_have_the_same_tiers() {
        let script = include_str!("../../k6/draftwire.js");
        for tier in Tier::ALL {
            let Limits { connect_p95_us, arrival_p95_us, success_percent } = tier.limits();
            let line = format!(
                "  {}: {{ users: {}, connect: {}, arrive: {}, success: {} }},\n",
                tier.name(),
                tier.users(),
                connect_p95_us / 1000,
                arrival_p95_us / 1000,
                success_percent / 100.0
            );
            assert!(script.contains(&line), "{line}");
        }
    }

    fn plan(arguments: &[&str]) -> Plan {
        Line::parse_from([&["x"], arguments].concat()).options.plan()
    }

    #[test]
    fn a_tier_ramps_up_holds_and_ramps_down() {
        let at = |plan: &Plan, seconds| plan.users_at(Duration::from_secs(seconds));
        let short = plan(&["--tier", "beyond"]);
        assert_eq!(short.lasts(), Duration::from_secs(35));
        assert_eq!([5, 10, 29, 34, 35].map(|seconds| at(&short, seconds)), [25, 50, 50, 10, 0]);
        let full = plan(&["--tier", "heavy", "--full", "--down", "1m"]);
        assert_eq!(full.lasts(), Duration::from_secs(960));
        assert_eq!([150, 300, 899].map(|seconds| at(&full, seconds)), [15, 30, 30]);
    }
}
