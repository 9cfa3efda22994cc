//! Users who come, edit their drafts and leave. Each scenario is a plan of users, what they may wait for, and
//! what is looked at besides; one runner makes them all.

mod breakpoint;
mod options;
mod recovery;
mod saturation;

use std::time::Duration;

use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

pub(crate) use self::options::{Burst, Load, Stability, Steady, Stress};
use self::{breakpoint::Breakpoint, recovery::recovery};
use super::Scenario;
use crate::{
    cluster::ClusterArgs,
    measure::{
        latency,
        summary::{Check, Outcome, Summary, micros_of},
    },
    run::Stage,
    users::{
        endurance::EnduranceArgs, findings::Findings, limits::Limits, options::UserArgs, plan::Plan,
        series::Series,
    },
};

/// A scenario of users, with its options.
#[derive(Debug, Args)]
pub(crate) struct Users<Of: Args> {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    of: Of,
    #[command(flatten)]
    users: UserArgs,
}

/// What a scenario's options come to.
pub(crate) trait Planned {
    /// Devices of each user, unless another number is given.
    const DEVICES: u32;

    /// What is to be run, with this number of devices for each user.
    fn planned(&self, devices: u32, users: &UserArgs) -> Run;
}

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Run {
    scenario: &'static str,
    heading: String,
    plan: Plan,
    /// What users may wait for, unless something else is given.
    limits: Option<Limits>,
    also: Also,
    settings: Value,
}

/// What is looked at besides.
#[derive(Debug)]
enum Also {
    Nothing,
    /// How long each of the changes at the same moment took.
    Bursts,
    /// Whether memory and latency stay as they are, from when all users are here.
    Endurance(EnduranceArgs, Duration),
    /// How soon changes are as quick as this, once most users have left.
    Recovery {
        dropped: Duration,
        calm_us: u64,
        within: Duration,
    },
    /// Which is the first level that breaks, and why. The run ends there.
    Breakpoint(Breakpoint),
}

impl<Of: Args + Planned> Scenario for Users<Of> {
    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let devices = self.users.devices.unwrap_or(Of::DEVICES);
        let Run { scenario, heading, plan, limits, mut also, settings } =
            self.of.planned(devices, &self.users);
        let go_on = |series: &Series, elapsed| also.go_on(series, elapsed);
        let findings = self.users.run(&self.cluster, devices, &plan, stage, go_on).await?;
        let mut summary = Summary::new(scenario, heading);
        if let Some(limits) = limits {
            summary.check_all(self.users.limits(limits).checks(&findings.measured));
        }
        also.tell(&findings, &mut summary);
        Ok(findings.conclude(summary, settings))
    }
}

impl Also {
    fn go_on(&mut self, series: &Series, elapsed: Duration) -> bool {
        match self {
            Self::Breakpoint(breakpoint) => breakpoint.go_on(series, elapsed),
            _ => true,
        }
    }

    fn tell(self, findings: &Findings, summary: &mut Summary) {
        let points = findings.series.points();
        match self {
            Self::Nothing => {}
            Self::Bursts => {
                let time = |us: Option<u64>| us.map_or_else(|| "none".to_owned(), latency::time);
                for point in points.iter().filter(|point| point.changes_due > 0) {
                    let (half, all) = (time(point.arrival_p50_us), time(point.arrival_max_us));
                    summary.row(
                        format!("after {:.0} s, {} changes", point.at_seconds, point.changes_due),
                        format!("half arrived in {half}, all in {all}"),
                    );
                }
            }
            Self::Endurance(args, all_here) => {
                summary.check_all(args.checks(&points, all_here, findings.lasted));
            }
            Self::Recovery { dropped, calm_us, within } => {
                let recovered = recovery(&points, dropped, calm_us);
                let told = recovered.map(|took| format!("{:.0} s", took.as_secs_f64()));
                let told = told.unwrap_or_else(|| "not seen".to_owned());
                summary.row("as before after the users have left", told);
                summary.check(Check::within("recovery within", recovered.map(micros_of), micros_of(within)));
                summary.put("recovery_seconds", recovered.map(|took| took.as_secs_f64()));
            }
            Self::Breakpoint(breakpoint) => breakpoint.tell(&points, findings, summary),
        }
    }
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
    /// Users, milliseconds to connect, milliseconds to other devices, and how many succeed, percent.
    const fn row(self) -> (u32, u64, u64, f64) {
        match self {
            Self::Light => (10, 1_000, 50, 100.0),
            Self::Medium => (20, 1_500, 75, 99.0),
            Self::Heavy => (30, 2_000, 100, 99.0),
            Self::Beyond => (50, 3_000, 150, 95.0),
        }
    }

    const fn users(self) -> u32 {
        self.row().0
    }

    const fn limits(self) -> Limits {
        let (_, connect_ms, arrival_ms, success_percent) = self.row();
        Limits { connect_p95_us: connect_ms * 1_000, arrival_p95_us: arrival_ms * 1_000, success_percent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_for_k6_have_the_same_tiers() {
        let script = include_str!("../../../k6/draftwire.js");
        for tier in Tier::value_variants() {
            let (users, connect, arrive, success) = tier.row();
            let name = tier.to_possible_value().expect("none is skipped");
            let line = format!(
                "  {}: {{ users: {users}, connect: {connect}, arrive: {arrive}, success: {} }},\n",
                name.get_name(),
                success / 100.0
            );
            assert!(script.contains(&line), "{line}");
        }
    }
}
