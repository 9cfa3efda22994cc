//! How many users are here at which moment, and what they do then. Pure: everything follows from the plan,
//! before the run.

use std::time::Duration;

/// How long a user looks before the first change.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Spreads the users' first changes evenly, however many there are: multiples of it fall into the largest
/// gap (the golden ratio's fraction).
const SPREAD: f64 = 0.618_033_988_749_895;

/// From here to a number of users, evenly, in this time. Zero is a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) lasts: Duration,
    pub(crate) users: u32,
}

/// When users make changes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rhythm {
    /// Each for itself, at this rate a second.
    Each(f64),
    /// All at the same moments, this far apart.
    Together(Duration),
}

/// Who is here when, and who makes changes when. It begins without users.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    legs: Vec<Leg>,
    rhythm: Rhythm,
    /// After this long a user leaves, and another one comes; `None` lets them stay.
    stay: Option<Duration>,
    /// Before this moment nobody makes a change.
    quiet: Duration,
}

/// A user from coming to leaving; times since the plan's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visit {
    /// Which of the users that are here at one time it is.
    pub(crate) place: u32,
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

impl Plan {
    pub(crate) fn new(rhythm: Rhythm) -> Self {
        Self { legs: Vec::new(), rhythm, stay: None, quiet: Duration::ZERO }
    }

    /// Then from as many as there are to `users`, evenly.
    #[must_use]
    pub(crate) fn then(mut self, lasts: Duration, users: u32) -> Self {
        self.legs.push(Leg { lasts, users });
        self
    }

    /// With others coming for those who were here that long.
    #[must_use]
    pub(crate) fn staying(mut self, stay: Duration) -> Self {
        self.stay = Some(stay.max(LOOK));
        self
    }

    /// Without changes before this moment.
    #[must_use]
    pub(crate) fn quiet(mut self, until: Duration) -> Self {
        self.quiet = until;
        self
    }

    pub(crate) fn lasts(&self) -> Duration {
        self.legs.iter().map(|leg| leg.lasts).sum()
    }

    /// The most users that are here at one time.
    pub(crate) fn most(&self) -> u32 {
        self.legs.iter().map(|leg| leg.users).max().unwrap_or(0)
    }

    /// How many users are here; none after the end.
    pub(crate) fn users_at(&self, at: Duration) -> u32 {
        let mut begun = Duration::ZERO;
        let mut users = 0;
        for leg in &self.legs {
            let end = begun + leg.lasts;
            if at < end {
                let done = (at - begun).as_secs_f64() / leg.lasts.as_secs_f64();
                let between = f64::from(users) + (f64::from(leg.users) - f64::from(users)) * done;
                return between.ceil() as u32;
            }
            begun = end;
            users = leg.users;
        }
        0
    }

    /// Every user's coming and leaving, in the order in which they come.
    pub(crate) fn visits(&self) -> Vec<Visit> {
        let mut visits = Vec::new();
        for place in 0..self.most() {
            let mut here_since = None;
            let mut begun = Duration::ZERO;
            let mut users = 0;
            for leg in &self.legs {
                // When the number of users passes this place, which is when the next one is due.
                let passes = |from: u32, to: u32| {
                    let part = (f64::from(place) - f64::from(from)) / (f64::from(to) - f64::from(from));
                    begun + leg.lasts.mul_f64(part.clamp(0.0, 1.0))
                };
                if here_since.is_none() && leg.users > place {
                    here_since = Some(passes(users, leg.users));
                } else if leg.users <= place
                    && let Some(from) = here_since.take()
                {
                    visits.extend(self.stays(place, from, passes(users, leg.users)));
                }
                begun += leg.lasts;
                users = leg.users;
            }
            if let Some(from) = here_since {
                visits.extend(self.stays(place, from, begun));
            }
        }
        visits.sort_by_key(|visit| (visit.from, visit.place));
        visits
    }

    /// One after the other at one place. The first ones leave at different moments, so that not all
    /// change at once.
    fn stays(&self, place: u32, from: Duration, to: Duration) -> Vec<Visit> {
        let Some(stay) = self.stay else {
            return vec![Visit { place, from, to }];
        };
        let mut visits = Vec::new();
        let mut begin = from;
        let mut end = from + stay.mul_f64(phase(place)).max(LOOK);
        while begin < to {
            visits.push(Visit { place, from: begin, to: end.min(to) });
            begin = end;
            end += stay;
        }
        visits
    }

    /// The moments at which the user of a visit makes a change.
    pub(crate) fn changes(&self, visit: Visit) -> impl Iterator<Item = Duration> + Send + use<> {
        let begin = (visit.from + LOOK).max(self.quiet);
        let (first, apart) = match self.rhythm {
            Rhythm::Each(rate) => {
                let apart = Duration::from_secs_f64(1.0 / rate);
                (begin + apart.mul_f64(phase(visit.place)), apart)
            }
            Rhythm::Together(apart) => {
                let apart = apart.max(Duration::from_millis(1));
                let times = begin.as_nanos().div_ceil(apart.as_nanos());
                (apart.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)), apart)
            }
        };
        // By multiplication: sums of many small steps drift.
        let moment = move |n: u32| first.saturating_add(apart.saturating_mul(n));
        (0..).map(moment).take_while(move |at| *at < visit.to)
    }

    /// About how many changes there are.
    pub(crate) fn changes_planned(&self) -> f64 {
        let apart = match self.rhythm {
            Rhythm::Each(rate) => 1.0 / rate,
            Rhythm::Together(apart) => apart.as_secs_f64().max(1e-3),
        };
        self.visits().iter().map(|visit| (visit.to - visit.from).as_secs_f64() / apart).sum()
    }
}

/// A part of a whole for each place, spread evenly.
fn phase(place: u32) -> f64 {
    (f64::from(place) * SPREAD).fract()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn ramp() -> Plan {
        Plan::new(Rhythm::Each(1.0)).then(s(10), 10).then(s(20), 10).then(s(5), 0)
    }

    #[test]
    fn users_come_evenly_stay_and_leave_evenly() {
        let plan = ramp();
        assert_eq!((plan.lasts(), plan.most()), (s(35), 10));
        for (at, users) in [(0, 0), (1, 1), (5, 5), (10, 10), (29, 10), (32, 6), (35, 0), (99, 0)] {
            assert_eq!(plan.users_at(s(at)), users, "after {at} s");
        }
        let visits = plan.visits();
        assert_eq!(visits.len(), 10);
        assert_eq!(visits[0], Visit { place: 0, from: s(0), to: s(35) });
        assert_eq!(visits[9], Visit { place: 9, from: s(9), to: s(30) + Duration::from_millis(500) });
    }

    #[test]
    fn a_step_takes_no_time() {
        let plan = Plan::new(Rhythm::Each(1.0)).then(s(0), 4).then(s(5), 4).then(s(0), 1).then(s(5), 1);
        assert_eq!([0, 4, 5, 9, 10].map(|at| plan.users_at(s(at))), [4, 4, 1, 1, 0]);
        let visits = plan.visits();
        assert_eq!(visits[0], Visit { place: 0, from: s(0), to: s(10) });
        assert_eq!(visits[3], Visit { place: 3, from: s(0), to: s(5) });
    }

    #[test]
    fn who_leaves_may_come_back() {
        let plan = Plan::new(Rhythm::Each(1.0)).then(s(2), 2).then(s(2), 0).then(s(2), 2).then(s(2), 2);
        let second: Vec<Visit> = plan.visits().into_iter().filter(|visit| visit.place == 1).collect();
        assert_eq!(
            second,
            [Visit { place: 1, from: s(1), to: s(3) }, Visit { place: 1, from: s(5), to: s(8) }]
        );
    }

    #[test]
    fn others_come_for_those_who_have_stayed_long_enough() {
        let plan = Plan::new(Rhythm::Each(1.0)).then(s(0), 3).then(s(100), 3).staying(s(30));
        let visits = plan.visits();
        for place in 0..3 {
            let mine: Vec<&Visit> = visits.iter().filter(|visit| visit.place == place).collect();
            assert_eq!((mine[0].from, mine[mine.len() - 1].to), (s(0), s(100)));
            assert!(mine.windows(2).all(|two| two[0].to == two[1].from), "somebody is always here: {mine:?}");
            assert!(mine.iter().all(|visit| visit.to - visit.from <= s(30)), "{mine:?}");
        }
        let mut ends: Vec<Duration> = visits.iter().map(|visit| visit.to).filter(|to| *to < s(100)).collect();
        let count = ends.len();
        ends.sort_unstable();
        ends.dedup();
        assert_eq!(ends.len(), count, "they do not leave together");
    }

    #[test]
    fn changes_are_spread_or_all_at_once() {
        let visits = ramp().visits();
        let mut firsts: Vec<u32> = visits
            .iter()
            .filter_map(|visit| ramp().changes(*visit).next())
            .map(|at| at.subsec_nanos())
            .collect();
        firsts.dedup();
        assert_eq!(firsts.len(), 10);
        let changes: Vec<Duration> = ramp().changes(visits[0]).collect();
        assert_eq!((changes.len(), changes[0], changes[33]), (34, s(1), s(34)));

        let together = Plan::new(Rhythm::Together(s(4))).then(s(2), 5).then(s(10), 5);
        for visit in together.visits() {
            assert_eq!(together.changes(visit).collect::<Vec<_>>(), [s(4), s(8)], "{visit:?}");
        }
    }

    proptest! {
        #[test]
        fn visits_are_what_the_plan_says(
            legs in prop::collection::vec((0u64..20, 0u32..30), 1..6),
            at in 0u64..100,
            stay in prop::option::of(2u64..10),
        ) {
            let mut plan = Plan::new(Rhythm::Each(0.5));
            for (seconds, users) in legs {
                plan = plan.then(s(seconds), users);
            }
            if let Some(stay) = stay {
                plan = plan.staying(s(stay));
            }
            let visits = plan.visits();
            // Between two whole seconds, where rounding decides nothing.
            let at = s(at) + Duration::from_micros(777_777);
            let here = visits.iter().filter(|visit| visit.from <= at && at < visit.to).count();
            prop_assert_eq!(here, plan.users_at(at) as usize);
            for visit in visits {
                prop_assert!(visit.from <= visit.to && visit.to <= plan.lasts());
                prop_assert!(plan.changes(visit).all(|change| change >= visit.from + LOOK && change < visit.to));
            }
        }
    }
}
