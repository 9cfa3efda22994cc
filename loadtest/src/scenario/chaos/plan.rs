//! Which part fails when, how, and for how long. Pure: the same seed gives the same plan.

use std::{fmt, time::Duration};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;

use crate::check::history::Moment;

/// How long a part is away at most; at least a hundredth of it.
const AWAY_MAX: Duration = Duration::from_secs(5);

/// How often a second part fails while one is away: one time in this many.
const TOGETHER_ONE_IN: u32 = 4;

/// A part of the cluster that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    /// A node, by its place from zero.
    Node(usize),
    Redis,
    Postgres,
    Nginx,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(at) => write!(f, "node{}", at + 1),
            Self::Redis => f.write_str("redis"),
            Self::Postgres => f.write_str("postgres"),
            Self::Nginx => f.write_str("nginx"),
        }
    }
}

impl Serialize for Part {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// What is done to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum How {
    /// SIGKILL; later it is started again.
    Kill,
    /// SIGSTOP, and later SIGCONT: its connections stay, and nothing is answered.
    Freeze,
    /// It is asked to stop, and started again once it has.
    Restart,
}

const HOWS: [How; 3] = [How::Kill, How::Freeze, How::Restart];

impl How {
    /// As a story tells it.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Kill => "killed",
            Self::Freeze => "frozen",
            Self::Restart => "stopped",
        }
    }
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) part: Part,
    pub(super) how: How,
    /// From the beginning of the load.
    pub(super) at: Duration,
    /// From then until it is mended.
    pub(super) lasts: Duration,
}

impl Planned {
    fn end(&self) -> Duration {
        self.at + self.lasts
    }
}

/// One fault that was carried out, and mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outage {
    pub(super) part: Part,
    pub(super) how: How,
    pub(super) began: Moment,
    pub(super) mended: Moment,
}

/// Faults for `duration`, all of them mended by then, by when they begin. Now and then two parts are away
/// together; otherwise, from the end of one to the next, there is `pause`, give or take a half. The same
/// part is never hurt twice at one time.
pub(super) fn plan(seed: u64, parts: &[Part], duration: Duration, pause: Duration) -> Vec<Planned> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut planned: Vec<Planned> = Vec::new();
    let mut at = Duration::ZERO;
    if parts.is_empty() {
        return planned;
    }
    loop {
        at += pause.mul_f64(rng.random_range(0.5..1.5));
        let first = fault(&mut rng, parts, at);
        if first.end() > duration {
            return planned;
        }
        at = first.end();
        planned.push(first);
        if parts.len() > 1 && rng.random_range(0..TOGETHER_ONE_IN) == 0 {
            let others: Vec<Part> = parts.iter().copied().filter(|part| *part != first.part).collect();
            let begin = first.at + first.lasts.mul_f64(rng.random_range(0.0..1.0));
            let second = fault(&mut rng, &others, begin);
            if second.end() <= duration {
                at = at.max(second.end());
                planned.push(second);
            }
        }
    }
}

/// Something that happens to one of `parts`, of which there is one.
fn fault(rng: &mut StdRng, parts: &[Part], at: Duration) -> Planned {
    let part = parts[rng.random_range(0..parts.len())];
    let how = HOWS[rng.random_range(0..HOWS.len())];
    Planned { part, how, at, lasts: AWAY_MAX.mul_f64(rng.random_range(0.01..=1.0)) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const PARTS: [Part; 5] = [Part::Node(0), Part::Node(1), Part::Redis, Part::Postgres, Part::Nginx];

    proptest! {
        #[test]
        fn a_plan_is_its_seeds_and_ends_in_time(
            seed: u64,
            parts in 1..=PARTS.len(),
            seconds in 0..300_u64,
            pause in 1..10_000_u64,
        ) {
            let (parts, duration) = (&PARTS[..parts], Duration::from_secs(seconds));
            let pause = Duration::from_millis(pause);
            let faults = plan(seed, parts, duration, pause);
            prop_assert_eq!(&faults, &plan(seed, parts, duration, pause));
            for fault in &faults {
                prop_assert!(fault.end() <= duration && fault.lasts <= AWAY_MAX && !fault.lasts.is_zero());
                prop_assert!(fault.at >= pause / 2);
            }
            prop_assert!(faults.is_sorted_by_key(|fault| fault.at));
            for part in parts {
                let own: Vec<&Planned> = faults.iter().filter(|fault| fault.part == *part).collect();
                prop_assert!(own.windows(2).all(|two| two[0].end() < two[1].at), "{:?} twice at once", part);
            }
        }
    }

    #[test]
    fn in_time_everything_happens_to_everybody_and_seeds_differ() {
        let of = |seed| plan(seed, &PARTS, Duration::from_secs(3600), Duration::from_secs(1));
        let faults = of(7);
        let all: BTreeSet<(Part, &str)> = faults.iter().map(|fault| (fault.part, fault.how.done())).collect();
        assert_eq!(all.len(), PARTS.len() * HOWS.len());
        assert!(faults.windows(2).any(|two| two[1].at < two[0].end()), "some come together");
        assert_ne!(faults, of(8));
        assert_eq!(plan(7, &[], Duration::from_secs(3600), Duration::from_secs(1)), []);
    }
}
