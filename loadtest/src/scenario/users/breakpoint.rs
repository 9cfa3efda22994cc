//! Ever more users, level by level, until changes are slow or do not arrive.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::saturation::{self, InUse};
use crate::{
    measure::{
        latency,
        summary::{Check, Summary},
    },
    users::{
        findings::Findings,
        plan::{Plan, Rhythm},
        series::{Point, Series, Window},
    },
};

/// Each level has this many times the users of the one before.
const TIMES: f64 = 1.5;

/// A level at which more than this part of the changes has not arrived on other devices is where it breaks.
const MISSING_MAX: f64 = 0.01;

/// How long after a level it is judged: what has not arrived by then has failed.
const GRACE: Duration = Duration::from_secs(1);

/// Some users for some time, once they are all here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    users: u32,
    /// When the users of it begin to come, when they are all here, and when it ends.
    begins: Duration,
    from: Duration,
    to: Duration,
}

/// A level as it went.
#[derive(Debug, Serialize)]
struct Went {
    users: u32,
    from_seconds: f64,
    to_seconds: f64,
    changes_per_second: f64,
    arrivals_due: u64,
    arrived: u64,
    /// Of those that have arrived in the end.
    arrival_p95_us: Option<u64>,
    in_use: InUse,
}

/// More and more, from `first` to `most`.
fn levels(first: u32, most: u32, ramp: Duration, hold: Duration) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut users = first.min(most);
    let mut begins = Duration::ZERO;
    loop {
        let from = begins + ramp;
        levels.push(Level { users, begins, from, to: from + hold });
        if users >= most {
            return levels;
        }
        begins = from + hold;
        users = ((f64::from(users) * TIMES).ceil() as u32).min(most);
    }
}

/// Why a level is where it breaks; `window` is that of its changes, `connects` that of its connections.
fn broken(window: &Window, connects: &Window, p95_max_us: u64) -> Option<String> {
    let missing = window.arrivals_due.saturating_sub(window.arrivals_us.len() as u64);
    let unconnected = connects.connects_due.saturating_sub(connects.connected);
    if unconnected > 0 {
        return Some(format!("{unconnected} devices did not connect"));
    }
    if missing as f64 > MISSING_MAX * window.arrivals_due as f64 {
        return Some(format!(
            "{missing} of {} changes had not arrived {GRACE:?} after it",
            window.arrivals_due
        ));
    }
    let p95 = window.due(0.95).filter(|us| *us > p95_max_us)?;
    Some(format!("the p95 of changes on other devices was {}", latency::time(p95)))
}

/// The levels, how far they were judged, and the first that broke, with its reason.
#[derive(Debug)]
pub(super) struct Breakpoint {
    levels: Vec<Level>,
    /// Users of the first and of the last level.
    least: u32,
    most: u32,
    p95_max_us: u64,
    next: usize,
    broke: Option<(usize, String)>,
}

impl Breakpoint {
    pub(super) fn new(least: u32, most: u32, ramp: Duration, hold: Duration, p95_max_us: u64) -> Self {
        let levels = levels(least, most, ramp, hold);
        Self { levels, least, most, p95_max_us, next: 0, broke: None }
    }

    /// Level by level; the last one is judged while its users are still here.
    pub(super) fn plan(&self, rate: f64) -> Plan {
        let level = |plan: Plan, level: &Level| {
            plan.then(level.from - level.begins, level.users).then(level.to - level.from, level.users)
        };
        self.levels.iter().fold(Plan::new(Rhythm::Each(rate)), level).then(2 * GRACE, self.most)
    }

    /// Judges the next level if it has ended. Returns whether none has broken.
    pub(super) fn go_on(&mut self, series: &Series, elapsed: Duration) -> bool {
        let at = self.next;
        if let Some(level) = self.levels.get(at).filter(|level| elapsed >= level.to + GRACE) {
            self.next += 1;
            let (window, connects) =
                (series.window(level.from, level.to), series.window(level.begins, level.to));
            self.broke = broken(&window, &connects, self.p95_max_us).map(|why| (at, why));
        }
        self.broke.is_none()
    }

    pub(super) fn tell(self, points: &[Point], findings: &Findings, summary: &mut Summary) {
        let Self { levels, least, next, broke, .. } = self;
        let went = |level: &Level| {
            let window = findings.series.window(level.from, level.to);
            let seconds = level.from.as_secs_f64()..level.to.as_secs_f64();
            let within = points.iter().filter(|point| seconds.contains(&point.at_seconds));
            Went {
                users: level.users,
                from_seconds: level.from.as_secs_f64(),
                to_seconds: level.to.as_secs_f64(),
                changes_per_second: window.changes_due as f64 / (level.to - level.from).as_secs_f64(),
                arrivals_due: window.arrivals_due,
                arrived: window.arrivals_us.len() as u64,
                arrival_p95_us: window.due(0.95),
                in_use: InUse::of(within),
            }
        };
        // Those that were judged, the one that broke included.
        let went: Vec<Went> = levels.iter().take(next).map(went).collect();
        for level in &went {
            let p95 = level.arrival_p95_us.map_or_else(|| "too few arrived".to_owned(), latency::time);
            summary.row(
                format!("{} users", level.users),
                format!("{:.0} changes a second, p95 {p95}", level.changes_per_second),
            );
        }
        let held = went.iter().take(broke.as_ref().map_or(next, |(at, _)| *at));
        let borne = held.map(|level| level.users).max();
        let told = match &broke {
            Some((at, why)) => format!("{} users: {why}", levels[*at].users),
            None => format!("not reached with {} users", borne.unwrap_or(0)),
        };
        summary.row("breaks at", told.clone());
        let in_use: Vec<InUse> = went.iter().map(|level| level.in_use).collect();
        let used_up = saturation::first(&in_use, findings.effort.processors);
        let used_up_told = match &used_up {
            Some((at, what)) => format!("with {} users: {}", levels[*at].users, what.join("; ")),
            None => "nothing that is watched".to_owned(),
        };
        summary.row("used up first", used_up_told.clone());
        summary.check(Check::at_least("users before it breaks", borne.unwrap_or(0), least));
        summary.put("levels", &went);
        summary.put(
            "breakpoint",
            json!({"borne_users": borne, "breaks_at_users": broke.as_ref().map(|(at, _)| levels[*at].users),
                "why": broke.as_ref().map(|(_, why)| why), "told": told,
                "used_up_at_users": used_up.as_ref().map(|(at, _)| levels[*at].users),
                "used_up": used_up.as_ref().map(|(_, what)| what), "used_up_told": used_up_told}),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn there_are_ever_more_users() {
        let breakpoint = Breakpoint::new(10, 60, s(2), s(5), 150_000);
        let levels = &breakpoint.levels;
        assert_eq!(levels.iter().map(|level| level.users).collect::<Vec<_>>(), [10, 15, 23, 35, 53, 60]);
        let plan = breakpoint.plan(5.0);
        for level in levels {
            assert_eq!(plan.users_at(level.from), level.users);
            assert_eq!(plan.users_at(level.to - Duration::from_millis(1)), level.users);
        }
        assert_eq!(plan.lasts(), s(44));
    }

    fn window(due: u64, arrived: &[u32]) -> Window {
        Window { arrivals_due: due, arrivals_us: arrived.to_vec(), ..Window::default() }
    }

    #[test]
    fn it_breaks_where_changes_are_slow_or_missing_or_nobody_connects() {
        let all = Window::default();
        assert_eq!(broken(&window(100, &[150_000; 100]), &all, 150_000), None);
        assert_eq!(broken(&window(100, &[1; 99]), &all, 150_000), None);
        assert!(broken(&window(100, &[150_001; 100]), &all, 150_000).is_some_and(|why| why.contains("p95")));
        assert!(broken(&window(100, &[1; 98]), &all, 150_000).is_some_and(|why| why.starts_with("2 of 100")));
        let one = Window { connects_due: 9, connected: 8, ..Window::default() };
        assert!(
            broken(&window(100, &[1; 100]), &one, 150_000).is_some_and(|why| why.starts_with("1 devices"))
        );
    }

    #[test]
    fn a_level_is_judged_once_after_it_has_ended() {
        let mut breakpoint = Breakpoint::new(1, 2, s(1), s(2), 150_000);
        let mut series = Series::new(s(10));
        series.change(s(1), 1);
        series.arrival(s(1), Duration::from_millis(1));
        series.change(s(5), 1);
        for (at, next) in [(3, 0), (4, 1), (5, 1)] {
            assert!(breakpoint.go_on(&series, s(at)));
            assert_eq!(breakpoint.next, next, "after {at} s");
        }
        assert!(!breakpoint.go_on(&series, s(7)));
        assert!(breakpoint.broke.as_ref().is_some_and(|(at, why)| *at == 1 && why.starts_with("1 of 1")));
        assert!(!breakpoint.go_on(&series, s(60)), "there are no more");
        assert_eq!(breakpoint.next, 2);
    }
}
