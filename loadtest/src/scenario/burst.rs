//! `burst`: everybody is connected and does nothing, and then all users make a change at the same moment; and
//! again.

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
    latency,
    outcome::{Outcome, Output, Summary},
    place::ClusterArgs,
    stage::Stage,
};

/// How long it takes until all are connected.
const RAMP: Duration = Duration::from_secs(2);

/// All changes have the same intended moment: that of the last one of a burst is how long the burst takes.
const LIMITS: Limits = Limits { connect_p95_us: 1_000_000, arrival_p95_us: 250_000, success_percent: 100.0 };

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many devices connect.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    connections: u32,
    /// How many of them are one user's.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(2..=50))]
    devices: u32,
    /// How often all users make a change.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    bursts: u32,
    /// How long nobody does anything in between.
    #[arg(long, default_value = "4s", value_parser = cli::duration)]
    every: Duration,
    #[command(flatten)]
    crowd: CrowdArgs,
    #[command(flatten)]
    output: Output,
}

impl Options {
    fn users(&self) -> u32 {
        self.connections.div_ceil(self.devices)
    }

    /// Changes are made at multiples of `every`, the first once all users have been here for a moment.
    fn plan(&self) -> Plan {
        let every = self.every.max(Duration::from_secs(1));
        let first = every * ((RAMP.as_secs_f64() / every.as_secs_f64()) as u32 + 2);
        let end = first + every * (self.bursts - 1) + every / 2;
        Plan::new(Rhythm::Together(every))
            .quiet(first)
            .then(RAMP, self.users())
            .then(end - RAMP, self.users())
    }
}

impl Scenario for Options {
    fn output(&self) -> &Output {
        &self.output
    }

    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let findings = self.crowd.run(&self.cluster, self.devices, &self.plan(), stage).await?;
        let (users, connections) = (self.users(), self.users() * self.devices);
        let heading = format!(
            "{connections} connections, {} times {users} changes at once, every {:?}",
            self.bursts, self.every
        );
        let mut summary = Summary::new("burst", heading);
        let points = findings.series.points();
        for point in points.iter().filter(|point| point.changes_due > 0) {
            let time = |us: Option<u64>| us.map_or_else(|| "none".to_owned(), latency::time);
            summary.row(
                format!("after {:.0} s, {} changes", point.at_seconds, point.changes_due),
                format!(
                    "half arrived in {}, all in {}",
                    time(point.arrival_p50_us),
                    time(point.arrival_max_us)
                ),
            );
        }
        let settings = json!({"connections": connections, "users": users, "devices": self.devices,
            "bursts": self.bursts, "every_seconds": self.every.as_secs_f64()});
        summary.check_all(self.crowd.limits(LIMITS).checks(&findings.measured));
        Ok(findings.conclude(summary, settings))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn all_users_are_here_and_make_their_changes_at_the_same_moments() {
        for every in ["1s", "1500ms", "4s", "10s"] {
            let options = Line::parse_from(["x", "--every", every, "--bursts", "3"]).options;
            let plan = options.plan();
            let mut moments: BTreeMap<Duration, u32> = BTreeMap::new();
            for change in plan.visits().into_iter().flat_map(|visit| plan.changes(visit)) {
                *moments.entry(change).or_default() += 1;
            }
            assert_eq!(moments.values().copied().collect::<Vec<_>>(), [50, 50, 50], "{every}");
        }
    }
}
