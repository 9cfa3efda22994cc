//! Many users at once, who leave at once; a few stay, and show how soon all is as before.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::Options;
use crate::{
    crowd::{
        plan::{Plan, Rhythm},
        series::Point,
    },
    outcome::{Check, Outcome, Summary},
    scenario::load::Tier,
    stage::Stage,
};

/// Users who stay after it.
const STAYING: u32 = 5;

/// So many points in a row that are calm are not calm by chance.
const CALM: usize = 3;

/// How it goes, and when most users leave.
fn plan(rate: f64, users: u32, ramp: Duration, hold: Duration, after: Duration) -> (Plan, Duration) {
    let staying = STAYING.min(users);
    let plan = Plan::new(Rhythm::Each(rate))
        .then(ramp, users)
        .then(hold, users)
        .then(Duration::ZERO, staying)
        .then(after, staying);
    (plan, ramp + hold)
}

/// How long after `dropped` a few points in a row are calm: 95 % of their changes took no longer than that,
/// and none is missing. `None` when that does not happen.
fn recovery(points: &[Point], dropped: Duration, calm_us: u64) -> Option<Duration> {
    let after = points.iter().filter(|point| point.at_seconds >= dropped.as_secs_f64());
    let after: Vec<&Point> = after.filter(|point| point.arrivals_due > 0).collect();
    let calm = |point: &&Point| {
        point.arrived >= point.arrivals_due && point.arrival_p95_us.is_some_and(|us| us <= calm_us)
    };
    let first = after.windows(CALM).position(|row| row.iter().all(calm))?;
    // Where the first one is calm, nothing had to recover.
    let took = if first == 0 { 0.0 } else { after[first].at_seconds - dropped.as_secs_f64() };
    Some(Duration::from_secs_f64(took))
}

pub(super) async fn run(options: &Options, stage: &mut Stage) -> Result<Outcome> {
    let users = options.users.unwrap_or(50);
    let rate = options.user_rate.unwrap_or(1.0);
    let ramp = options.ramp.unwrap_or(Duration::from_secs(30));
    let hold = options.duration.unwrap_or(Duration::from_secs(10));
    let (plan, dropped) = plan(rate, users, ramp, hold, options.after);
    let findings = options.crowd.run(&options.cluster, options.devices, &plan, stage).await?;
    let heading = format!(
        "spike, 0 to {users} users with {} devices each in {ramp:?}, {hold:?} at the top, then {} left",
        options.devices,
        STAYING.min(users)
    );
    let mut summary = Summary::new("stress", heading);
    // As few users have it, unless another threshold is given.
    let calm_us = options.crowd.limits(Tier::Light.limits()).arrival_p95_us;
    let recovered = recovery(&findings.series.points(), dropped, calm_us);
    let told = recovered.map_or_else(|| "not seen".to_owned(), |took| format!("{:.0} s", took.as_secs_f64()));
    summary.row("as before after the users have left", told);
    summary.check_all(options.crowd.limits(Tier::Beyond.limits()).checks(&findings.measured));
    let micros = |took: Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    summary.check(Check::within("recovery within", recovered.map(micros), micros(options.recovery_max)));
    summary.put("recovery_seconds", recovered.map(|took| took.as_secs_f64()));
    let settings = json!({"scenario": "spike", "users": users, "devices": options.devices,
        "user_rate": rate, "ramp_seconds": ramp.as_secs_f64(), "hold_seconds": hold.as_secs_f64(),
        "dropped_at_seconds": dropped.as_secs_f64()});
    Ok(findings.conclude(summary, settings))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crowd::series::Series;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Seconds, by the milliseconds that a change took in each; nothing was due in those without.
    fn points(seconds: &[Option<u64>]) -> Vec<Point> {
        let mut series = Series::new(s(seconds.len() as u64));
        for (second, milliseconds) in (0..).zip(seconds) {
            if let Some(milliseconds) = milliseconds {
                series.change(s(second), 1);
                series.arrival(s(second), Duration::from_millis(*milliseconds));
            }
        }
        series.points()
    }

    #[test]
    fn it_comes_and_goes_and_some_stay() {
        let (plan, dropped) = plan(1.0, 50, s(30), s(10), s(10));
        assert_eq!((plan.lasts(), dropped), (s(50), s(40)));
        assert_eq!([15, 30, 39, 40, 49].map(|at| plan.users_at(s(at))), [25, 50, 50, 5, 5]);
    }

    #[test]
    fn recovered_is_when_it_stays_calm() {
        let [calm, slow] = [Some(5), Some(500)];
        let recovery = |seconds: &[Option<u64>], dropped| recovery(&points(seconds), s(dropped), 50_000);
        assert_eq!(recovery(&[slow, slow, calm, calm, calm], 2), Some(s(0)));
        assert_eq!(recovery(&[slow, None, None, calm, calm, calm], 1), Some(s(0)), "nothing was slow");
        assert_eq!(recovery(&[slow, slow, calm, slow, calm, calm, calm, slow], 1), Some(s(3)));
        assert_eq!(recovery(&[slow, calm, calm, slow], 1), None);
        assert_eq!(recovery(&[slow, None, None, None], 1), None, "nothing shows it");
    }

    #[test]
    fn a_change_that_never_arrives_is_not_calm() {
        let mut series = Series::new(s(6));
        for second in 0..6 {
            series.change(s(second), 2);
            series.arrival(s(second), Duration::from_millis(1));
        }
        assert_eq!(recovery(&series.points(), s(1), 50_000), None);
    }
}
