//! `stability`: a day in which users come and go: whether memory and latency stay as they are.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::Scenario;
use crate::{
    cli,
    crowd::{
        CrowdArgs,
        endurance::EnduranceArgs,
        plan::{Plan, Rhythm},
    },
    outcome::{Outcome, Output, Summary},
    place::ClusterArgs,
    scenario::load::Tier,
    stage::Stage,
};

/// How long it takes until all are connected.
const RAMP: Duration = Duration::from_secs(10);

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How long, in hours.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
    hours: u32,
    /// How long instead: 250ms, 60s, 5m, 1h.
    #[arg(long, value_parser = cli::duration, conflicts_with = "hours")]
    duration: Option<Duration>,
    /// How many devices are connected.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    connections: u32,
    /// How many of them are one user's.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=50))]
    devices: u32,
    /// Changes a second, by all users together.
    #[arg(long, default_value = "10", value_parser = cli::rate)]
    rate: f64,
    /// How long a user stays before it leaves, is checked, and another one comes.
    #[arg(long, default_value = "10m", value_parser = cli::duration)]
    stay: Duration,
    #[command(flatten)]
    endurance: EnduranceArgs,
    #[command(flatten)]
    crowd: CrowdArgs,
    #[command(flatten)]
    output: Output,
}

impl Options {
    fn lasts(&self) -> Duration {
        self.duration.unwrap_or(Duration::from_secs(3600) * self.hours)
    }

    fn users(&self) -> u32 {
        self.connections.div_ceil(self.devices)
    }

    /// The plan, and when all users are here.
    fn plan(&self) -> (Plan, Duration) {
        let (lasts, users) = (self.lasts(), self.users());
        let ramp = RAMP.min(lasts / 5);
        let plan = Plan::new(Rhythm::Each(self.rate / f64::from(users)))
            .then(ramp, users)
            .then(lasts - ramp, users)
            .staying(self.stay);
        (plan, ramp)
    }
}

impl Scenario for Options {
    fn output(&self) -> &Output {
        &self.output
    }

    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let (plan, all_here) = self.plan();
        let findings = self.crowd.run(&self.cluster, self.devices, &plan, stage).await?;
        let connections = self.users() * self.devices;
        let heading = format!(
            "{connections} connections, {} messages a second, {:?}; users stay for {:?}",
            self.rate,
            self.lasts(),
            self.stay
        );
        let mut summary = Summary::new("stability", heading);
        summary.check_all(self.crowd.limits(Tier::Medium.limits()).checks(&findings.measured));
        let points = findings.series.points();
        summary.check_all(self.endurance.checks(&points, all_here, findings.lasted));
        let settings = json!({"connections": connections, "users": self.users(), "devices": self.devices,
            "rate": self.rate, "stay_seconds": self.stay.as_secs_f64(),
            "duration_seconds": self.lasts().as_secs_f64()});
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
    fn somebody_is_always_here_and_nobody_stays() {
        let options = Line::parse_from(["x"]).options;
        let (plan, all_here) = options.plan();
        assert_eq!(plan.lasts(), Duration::from_secs(86_400));
        for at in [all_here, plan.lasts() / 2, plan.lasts() - RAMP] {
            assert_eq!(plan.users_at(at), 50);
        }
        let visits = plan.visits();
        assert!((7_000..8_000).contains(&visits.len()), "{} users", visits.len());
        assert!(visits.iter().all(|visit| visit.to - visit.from <= options.stay));
        let short = Line::parse_from(["x", "--duration", "5s"]).options.plan().0;
        assert_eq!(short.lasts(), Duration::from_secs(5));
    }
}
