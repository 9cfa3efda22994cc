//! The scenarios of users by name: options, and the plan that they come to.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::{Also, Planned, Run, Tier, breakpoint::Breakpoint};
use crate::{
    run::arguments,
    users::{
        endurance::EnduranceArgs,
        limits::Limits,
        options::UserArgs,
        plan::{Plan, Rhythm},
    },
};

/// All changes of a burst have the same intended moment: that of the last one is how long the burst takes.
const BURST: Limits = Limits { connect_p95_us: 1_000_000, arrival_p95_us: 250_000, success_percent: 100.0 };

/// How long it takes until all are connected: of a burst, and of a day.
const BURST_RAMP: Duration = Duration::from_secs(2);
const STABILITY_RAMP: Duration = Duration::from_secs(10);

/// Users who stay after a spike.
const STAYING: u32 = 5;

/// As many users as a tier has, who come one after the other, work, and leave.
#[derive(Debug, Args)]
pub(crate) struct Load {
    /// How many users, and what they may wait for.
    #[arg(long, value_enum, default_value_t = Tier::Light)]
    tier: Tier,
    /// Five minutes of ramp, ten at the top, five down, unless they are given.
    #[arg(long)]
    full: bool,
    /// How long it takes until all users are here; 10s.
    #[arg(long, value_parser = arguments::duration)]
    ramp: Option<Duration>,
    /// How long all of them are; 20s.
    #[arg(long, value_parser = arguments::duration)]
    hold: Option<Duration>,
    /// How long it takes until all have left; 5s.
    #[arg(long, value_parser = arguments::duration)]
    down: Option<Duration>,
    /// Changes a second, by each user.
    #[arg(long, default_value = "1", value_parser = arguments::rate)]
    user_rate: f64,
}

impl Planned for Load {
    const DEVICES: u32 = 3;

    fn planned(&self, devices: u32, _: &UserArgs) -> Run {
        let (tier, users, rate) = (self.tier, self.tier.users(), self.user_rate);
        let [ramp, hold, down] = if self.full { [300, 600, 300] } else { [10, 20, 5] };
        let plan = Plan::new(Rhythm::Each(rate))
            .then(or(self.ramp, ramp), users)
            .then(or(self.hold, hold), users)
            .then(or(self.down, down), 0);
        let lasts = plan.lasts();
        Run {
            scenario: "load",
            heading: format!(
                "{tier:?}, {users} users with {devices} devices each, {rate} changes a second by each, {lasts:?}"
            ),
            plan,
            limits: Some(tier.limits()),
            also: Also::Nothing,
            settings: json!({"tier": tier, "users": users, "devices": devices, "user_rate": rate,
                "full": self.full, "duration_seconds": lasts.as_secs_f64()}),
        }
    }
}

/// `baseline` or `high`: a number of connections, and of messages a second, for a while.
///
/// A connection is a user's device. A message is a change that one of them sends; with two devices for each
/// user it reaches one other, so as many messages a second go one way as the other. (Besides, each is
/// answered, and comes back to its author as an event.)
#[derive(Debug, Args)]
pub(crate) struct Steady<const HIGH: bool> {
    /// How many devices connect: 100, and 1000 of `high`.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    connections: Option<u32>,
    /// Changes a second, by all users together: 10, and 50 of `high`.
    #[arg(long, value_parser = arguments::rate)]
    rate: Option<f64>,
    /// How long it takes until all are connected: 5s, and 10s of `high`.
    #[arg(long, value_parser = arguments::duration)]
    ramp: Option<Duration>,
    /// How long all of them are.
    #[arg(long, default_value = "30s", value_parser = arguments::duration)]
    duration: Duration,
}

impl<const HIGH: bool> Planned for Steady<HIGH> {
    const DEVICES: u32 = 2;

    fn planned(&self, devices: u32, _: &UserArgs) -> Run {
        let (scenario, connections, rate, ramp, tier) = if HIGH {
            ("high", 1_000, 50.0, 10, Tier::Heavy)
        } else {
            ("baseline", 100, 10.0, 5, Tier::Light)
        };
        let users = self.connections.unwrap_or(connections).div_ceil(devices);
        let (rate, ramp, duration) = (self.rate.unwrap_or(rate), or(self.ramp, ramp), self.duration);
        let connections = users * devices;
        Run {
            scenario,
            heading: format!(
                "{connections} connections, {rate} messages a second, {duration:?} after {ramp:?} of ramp"
            ),
            plan: Plan::new(Rhythm::Each(rate / f64::from(users))).then(ramp, users).then(duration, users),
            limits: Some(tier.limits()),
            also: Also::Nothing,
            settings: json!({"connections": connections, "users": users, "devices": devices, "rate": rate,
                "ramp_seconds": ramp.as_secs_f64(), "duration_seconds": duration.as_secs_f64()}),
        }
    }
}

/// Everybody is connected and does nothing, and then all users make a change at the same moment; and again.
#[derive(Debug, Args)]
pub(crate) struct Burst {
    /// How many devices connect.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    connections: u32,
    /// How often all users make a change.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    bursts: u32,
    /// How long nobody does anything in between.
    #[arg(long, default_value = "4s", value_parser = arguments::duration)]
    every: Duration,
}

impl Planned for Burst {
    const DEVICES: u32 = 2;

    /// Changes are made at multiples of `every`, the first once all users have been here for a moment.
    fn planned(&self, devices: u32, _: &UserArgs) -> Run {
        let Self { connections, bursts, every } = *self;
        let users = connections.div_ceil(devices);
        let apart = every.max(Duration::from_secs(1));
        let first = apart * ((BURST_RAMP.as_secs_f64() / apart.as_secs_f64()) as u32 + 2);
        let end = first + apart * (bursts - 1) + apart / 2;
        let connections = users * devices;
        Run {
            scenario: "burst",
            heading: format!(
                "{connections} connections, {bursts} times {users} changes at once, every {every:?}"
            ),
            plan: Plan::new(Rhythm::Together(apart))
                .quiet(first)
                .then(BURST_RAMP, users)
                .then(end - BURST_RAMP, users),
            limits: Some(BURST),
            also: Also::Bursts,
            settings: json!({"connections": connections, "users": users, "devices": devices,
                "bursts": bursts, "every_seconds": every.as_secs_f64()}),
        }
    }
}

/// A day in which users come and go: whether memory and latency stay as they are.
#[derive(Debug, Args)]
pub(crate) struct Stability {
    /// How long, in hours.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=168))]
    hours: u32,
    /// How long instead: 250ms, 60s, 5m, 1h.
    #[arg(long, value_parser = arguments::duration, conflicts_with = "hours")]
    duration: Option<Duration>,
    /// How many devices are connected.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=20_000))]
    connections: u32,
    /// Changes a second, by all users together.
    #[arg(long, default_value = "10", value_parser = arguments::rate)]
    rate: f64,
    /// How long a user stays before it leaves, is checked, and another one comes.
    #[arg(long, default_value = "10m", value_parser = arguments::duration)]
    stay: Duration,
    #[command(flatten)]
    endurance: EnduranceArgs,
}

impl Planned for Stability {
    const DEVICES: u32 = 2;

    fn planned(&self, devices: u32, _: &UserArgs) -> Run {
        let Self { rate, stay, .. } = *self;
        let users = self.connections.div_ceil(devices);
        let lasts = self.duration.unwrap_or(Duration::from_secs(3600) * self.hours);
        let ramp = STABILITY_RAMP.min(lasts / 5);
        let connections = users * devices;
        Run {
            scenario: "stability",
            heading: format!(
                "{connections} connections, {rate} messages a second, {lasts:?}; users stay for {stay:?}"
            ),
            plan: Plan::new(Rhythm::Each(rate / f64::from(users)))
                .then(ramp, users)
                .then(lasts - ramp, users)
                .staying(stay),
            limits: Some(Tier::Medium.limits()),
            also: Also::Endurance(self.endurance.clone(), ramp),
            settings: json!({"connections": connections, "users": users, "devices": devices, "rate": rate,
                "stay_seconds": stay.as_secs_f64(), "duration_seconds": lasts.as_secs_f64()}),
        }
    }
}

/// More users than are expected.
#[derive(Debug, Args)]
pub(crate) struct Stress {
    /// How users are too many.
    #[arg(long, value_enum)]
    scenario: Kind,
    /// The most users: 50 of a spike, 20 of a soak, 1000 of a breakpoint.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    users: Option<u32>,
    /// How long a spike lasts at its top (10s), a soak in all (30m), a level of a breakpoint (5s).
    #[arg(long, value_parser = arguments::duration)]
    duration: Option<Duration>,
    /// How long it takes until a spike is at its top (30s), or all users of a soak are here (10s), or those
    /// of the next level of a breakpoint (2s).
    #[arg(long, value_parser = arguments::duration)]
    ramp: Option<Duration>,
    /// How long a few users stay after a spike.
    #[arg(long, default_value = "10s", value_parser = arguments::duration)]
    after: Duration,
    /// How long after a spike changes may still be slow.
    #[arg(long, default_value = "5s", value_parser = arguments::duration)]
    recovery_max: Duration,
    /// The users that a breakpoint begins with, and has to bear.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=8_000))]
    users_min: u32,
    /// Changes a second, by each user: 1, and 5 of a breakpoint.
    #[arg(long, value_parser = arguments::rate)]
    user_rate: Option<f64>,
    #[command(flatten)]
    endurance: EnduranceArgs,
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

impl Planned for Stress {
    const DEVICES: u32 = 3;

    fn planned(&self, devices: u32, users: &UserArgs) -> Run {
        match self.scenario {
            Kind::Spike => self.spike(devices, users),
            Kind::Soak => self.soak(devices),
            Kind::Breakpoint => self.breakpoint(devices, users),
        }
    }
}

impl Stress {
    fn spike(&self, devices: u32, args: &UserArgs) -> Run {
        let (users, rate) = (self.users.unwrap_or(50), self.user_rate.unwrap_or(1.0));
        let (ramp, hold, staying) = (or(self.ramp, 30), or(self.duration, 10), STAYING.min(users));
        let dropped = ramp + hold;
        Run {
            scenario: "stress",
            heading: format!(
                "spike, 0 to {users} users with {devices} devices each in {ramp:?}, {hold:?} at the top, then \
                 {staying} left"
            ),
            plan: Plan::new(Rhythm::Each(rate))
                .then(ramp, users)
                .then(hold, users)
                .then(Duration::ZERO, staying)
                .then(self.after, staying),
            limits: Some(Tier::Beyond.limits()),
            also: Also::Recovery {
                dropped,
                // As few users have it, unless another threshold is given.
                calm_us: args.limits(Tier::Light.limits()).arrival_p95_us,
                within: self.recovery_max,
            },
            settings: json!({"scenario": "spike", "users": users, "devices": devices, "user_rate": rate,
                "ramp_seconds": ramp.as_secs_f64(), "hold_seconds": hold.as_secs_f64(),
                "dropped_at_seconds": dropped.as_secs_f64()}),
        }
    }

    fn soak(&self, devices: u32) -> Run {
        let (users, rate) = (self.users.unwrap_or(20), self.user_rate.unwrap_or(1.0));
        let duration = or(self.duration, 30 * 60);
        let ramp = or(self.ramp, 10).min(duration / 5);
        Run {
            scenario: "stress",
            heading: format!("soak, {users} users with {devices} devices each for {duration:?}"),
            plan: Plan::new(Rhythm::Each(rate)).then(ramp, users).then(duration - ramp, users),
            limits: Some(Tier::Medium.limits()),
            also: Also::Endurance(self.endurance.clone(), ramp),
            settings: json!({"scenario": "soak", "users": users, "devices": devices, "user_rate": rate,
                "duration_seconds": duration.as_secs_f64()}),
        }
    }

    fn breakpoint(&self, devices: u32, args: &UserArgs) -> Run {
        let (most, rate) = (self.users.unwrap_or(1_000), self.user_rate.unwrap_or(5.0));
        // Whole seconds, as the points of the series are.
        let whole = |given: Option<Duration>, seconds| {
            Duration::from_secs(given.map_or(seconds, |given| given.as_secs().max(1)))
        };
        let (ramp, hold) = (whole(self.ramp, 2), whole(self.duration, 5));
        let p95_max_us = args.limits(Tier::Beyond.limits()).arrival_p95_us;
        let breakpoint = Breakpoint::new(self.users_min, most, ramp, hold, p95_max_us);
        Run {
            scenario: "stress",
            heading: format!("breakpoint, up to {most} users, {rate} changes a second by each"),
            plan: breakpoint.plan(rate),
            limits: None,
            also: Also::Breakpoint(breakpoint),
            settings: json!({"scenario": "breakpoint", "users_min": self.users_min, "users_max": most,
                "devices": devices, "user_rate": rate, "p95_max_us": p95_max_us}),
        }
    }
}

fn or(given: Option<Duration>, seconds: u64) -> Duration {
    given.unwrap_or(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line<Of: Args> {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        users: UserArgs,
    }

    fn planned<Of: Args + Planned>(arguments: &[&str]) -> Run {
        let line = Line::<Of>::parse_from([&["x"], arguments].concat());
        line.of.planned(line.users.devices.unwrap_or(Of::DEVICES), &line.users)
    }

    fn users_at<const N: usize>(plan: &Plan, seconds: [u64; N]) -> [u32; N] {
        seconds.map(|seconds| plan.users_at(Duration::from_secs(seconds)))
    }

    #[test]
    fn a_tier_ramps_up_holds_and_ramps_down() {
        let short = planned::<Load>(&["--tier", "beyond"]).plan;
        assert_eq!(short.lasts(), Duration::from_secs(35));
        assert_eq!(users_at(&short, [5, 10, 29, 34, 35]), [25, 50, 50, 10, 0]);
        let full = planned::<Load>(&["--tier", "heavy", "--full", "--down", "1m"]).plan;
        assert_eq!(full.lasts(), Duration::from_secs(960));
        assert_eq!(users_at(&full, [150, 300, 899]), [15, 30, 30]);
    }

    #[test]
    fn rates_are_those_of_all_together() {
        for (run, users, rate) in
            [(planned::<Steady<false>>(&[]), 50, 10.0), (planned::<Steady<true>>(&[]), 500, 50.0)]
        {
            assert_eq!(run.plan.most(), users);
            let seconds = run.plan.lasts().as_secs_f64();
            // Who comes late makes fewer changes.
            let changes = run.plan.changes_planned();
            assert!((rate * (seconds - 10.0)..=rate * seconds).contains(&changes), "{changes}");
        }
        let few = planned::<Steady<true>>(&["--connections", "7", "--devices", "3", "--rate", "6"]);
        assert_eq!((few.plan.most(), &few.settings["rate"]), (3, &json!(6.0)));
    }

    #[test]
    fn all_users_are_here_and_make_their_changes_at_the_same_moments() {
        for every in ["1s", "1500ms", "4s", "10s"] {
            let plan = planned::<Burst>(&["--every", every, "--bursts", "3"]).plan;
            let mut moments: BTreeMap<Duration, u32> = BTreeMap::new();
            for change in plan.visits().into_iter().flat_map(|visit| plan.changes(visit)) {
                *moments.entry(change).or_default() += 1;
            }
            assert_eq!(moments.values().copied().collect::<Vec<_>>(), [50, 50, 50], "{every}");
        }
    }

    #[test]
    fn somebody_is_always_here_and_nobody_stays() {
        let plan = planned::<Stability>(&[]).plan;
        assert_eq!(plan.lasts(), Duration::from_secs(86_400));
        assert_eq!(users_at(&plan, [10, 43_200, 86_390]), [50; 3]);
        let visits = plan.visits();
        assert!((7_000..8_000).contains(&visits.len()), "{} users", visits.len());
        assert!(visits.iter().all(|visit| visit.to - visit.from <= Duration::from_secs(600)));
        let short = planned::<Stability>(&["--duration", "5s"]).plan;
        assert_eq!(short.lasts(), Duration::from_secs(5));
    }

    #[test]
    fn a_spike_comes_and_goes_and_some_stay() {
        let run = planned::<Stress>(&["--scenario", "spike"]);
        assert_eq!(run.plan.lasts(), Duration::from_secs(50));
        assert_eq!(users_at(&run.plan, [15, 30, 39, 40, 49]), [25, 50, 50, 5, 5]);
        let Also::Recovery { dropped, .. } = run.also else { panic!("{run:?}") };
        assert_eq!(dropped, Duration::from_secs(40));
    }
}
