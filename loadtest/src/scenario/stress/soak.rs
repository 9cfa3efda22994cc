//! The same users for long: whether memory and latency stay as they are.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::Options;
use crate::{
    crowd::plan::{Plan, Rhythm},
    outcome::{Outcome, Summary},
    scenario::load::Tier,
    stage::Stage,
};

pub(super) async fn run(options: &Options, stage: &mut Stage) -> Result<Outcome> {
    let users = options.users.unwrap_or(20);
    let rate = options.user_rate.unwrap_or(1.0);
    let duration = options.duration.unwrap_or(Duration::from_secs(30 * 60));
    let ramp = options.ramp.unwrap_or(Duration::from_secs(10)).min(duration / 5);
    let plan = Plan::new(Rhythm::Each(rate)).then(ramp, users).then(duration - ramp, users);
    let findings = options.crowd.run(&options.cluster, options.devices, &plan, stage).await?;
    let heading = format!("soak, {users} users with {} devices each for {duration:?}", options.devices);
    let mut summary = Summary::new("stress", heading);
    summary.check_all(options.crowd.limits(Tier::Medium.limits()).checks(&findings.measured));
    summary.check_all(options.endurance.checks(&findings.series.points(), ramp, findings.lasted));
    let settings = json!({"scenario": "soak", "users": users, "devices": options.devices,
        "user_rate": rate, "duration_seconds": duration.as_secs_f64()});
    Ok(findings.conclude(summary, settings))
}
