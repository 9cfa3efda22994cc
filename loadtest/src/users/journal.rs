//! What is written down while users are here, and what all of them share.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    fleet::{Roster, User},
    options::UserArgs,
    plan::Plan,
    series::Series,
    tally::Tally,
};
use crate::{
    check::history::Moment,
    measure::latency::{self, Latency},
};

/// How much of the run the progress display speaks of.
const RECENTLY: Duration = Duration::from_secs(5);

/// How long ago that ended: most of what was sent then has arrived.
const ARRIVED_AFTER: Duration = Duration::from_secs(2);

/// What is written down while users are here.
#[derive(Debug)]
pub(super) struct Journal {
    pub(super) series: Series,
    pub(super) tally: Tally,
    pub(super) connect: Latency,
    pub(super) failures: BTreeMap<String, u64>,
    pub(super) present: BTreeMap<usize, Arc<User>>,
}

/// What the users of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) roster: Roster,
    pub(super) begun: Instant,
    /// The same on the clock of what devices were sent.
    pub(super) began: Moment,
    pub(super) args: UserArgs,
    pub(super) devices: u32,
    pub(super) journal: Mutex<Journal>,
    /// Edits under way.
    pub(super) slots: Arc<Semaphore>,
    /// Users whose drafts are read from the database.
    pub(super) reads: Semaphore,
}

impl Journal {
    /// A device that was to connect at a moment did.
    pub(super) fn connected(&mut self, due: Duration, took: Duration) {
        self.connect.record(took);
        self.series.connect(due, Some(took));
    }

    /// It did not.
    pub(super) fn unconnected(&mut self, due: Duration, why: String) {
        *self.failures.entry(why).or_default() += 1;
        self.series.connect(due, None);
    }
}

impl Shared {
    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment, since the plan's beginning.
    pub(super) fn since_begun(&self, at: std::time::Instant) -> Duration {
        at.saturating_duration_since(self.begun.into_std())
    }

    /// Writes down which changes of a user have arrived.
    pub(super) fn harvest(&self, journal: &mut Journal, user: &User) {
        user.harvest(|arrival| {
            journal.tally.arrived(&arrival);
            let at = Duration::from_micros(arrival.intended.saturating_sub(self.began));
            journal.series.arrival(at, arrival.waited());
        });
    }

    pub(super) fn harvest_all(&self) {
        let mut journal = self.journal();
        for user in journal.present.values().cloned().collect::<Vec<_>>() {
            self.harvest(&mut journal, &user);
        }
    }

    pub(super) fn standing(&self, plan: &Plan, elapsed: Duration) -> String {
        let journal = self.journal();
        let window = journal.series.window_before(elapsed.saturating_sub(ARRIVED_AFTER), RECENTLY);
        let p95 = window.due(0.95).map_or_else(|| "-".to_owned(), latency::time);
        let counts = &self.roster.counts;
        format!(
            "{:>4.0}s  users {} of {}  changes {}  acknowledged {}  failed {}  p95 to other devices {p95}",
            elapsed.as_secs_f64(),
            journal.present.len(),
            plan.users_at(elapsed),
            counts.asked(),
            counts.acked(),
            counts.failed(),
        )
    }
}
