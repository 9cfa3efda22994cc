//! Users with several devices each, who come, edit their drafts and leave, as a plan says. Each is judged
//! when it leaves, and forgotten: a run of a day keeps no more than one of a minute.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    arrivals,
    findings::Findings,
    fleet::{self, Roster, User},
    ledger::{Clock, Counts},
    limits::Limits,
    plan::{self, Plan, Rhythm},
    record::Room,
    series::{Sample, Series},
    settle::READS_MAX,
    tally::{Broken, Tally},
    visit,
};
use crate::{
    check::history::Moment,
    cluster::{ClusterArgs, Place, nodes::Nodes},
    measure::{
        clock,
        effort::{Helping, Mark},
        latency::{self, Latency},
        summary::micros_of,
    },
    run::{Stage, arguments, open_loop::UNDER_WAY_MAX},
};

/// Changes of one run on other devices: how long each took is kept to the end.
const ARRIVALS_MAX: f64 = 8_000_000.0;

/// Users of one run, over all its time: each needs a token.
const VISITS_MAX: usize = 100_000;

/// How often it is looked at how the run goes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The last of the run that the progress display speaks of: from so long ago, until so long ago, when most
/// of what was sent then has arrived.
const RECENTLY: (Duration, Duration) = (Duration::from_secs(7), Duration::from_secs(2));

/// Users of a warm-up.
const WARM_USERS: u32 = 2;

/// What all scenarios of users have in common.
#[derive(Debug, Clone, Args)]
pub(crate) struct UserArgs {
    /// How many devices each user has; 3 of `load` and `stress`, 2 otherwise.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100))]
    pub(crate) devices: Option<u32>,
    /// How many drafts each user has.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) drafts_per_user: u32,
    /// How long two users edit before anything is measured.
    #[arg(long, default_value = "2s", value_parser = arguments::duration)]
    warmup: Duration,
    /// How long, when a user leaves, its answers may take that are still awaited, and then its devices to
    /// catch up.
    #[arg(long, default_value = "15s", value_parser = arguments::duration)]
    pub(super) settle: Duration,
    /// The threshold of the 95th percentile of connecting, instead of the scenario's.
    #[arg(long, value_parser = arguments::duration)]
    connect_p95_max: Option<Duration>,
    /// The threshold of the 95th percentile from a change's intended sending to a user's other devices,
    /// instead of the scenario's.
    #[arg(long, value_parser = arguments::duration)]
    p95_max: Option<Duration>,
    /// The threshold of how many connections, and changes on other devices, succeed, instead of the
    /// scenario's.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    success_min: Option<u8>,
}

impl UserArgs {
    /// Lets a few users edit, so that what happens once is not measured, and then those of the plan, each
    /// with this number of devices. Ends when `go_on` says no, which is asked every second.
    ///
    /// # Errors
    /// When there is no cluster, nobody can connect, nothing was acknowledged, or a user's drafts cannot be
    /// read in the end: then there is nothing to judge.
    pub(crate) async fn run(
        &self,
        cluster: &ClusterArgs,
        devices: u32,
        plan: &Plan,
        stage: &mut Stage,
        go_on: impl FnMut(&Series, Duration) -> bool,
    ) -> Result<Findings> {
        let place = Place::of(cluster, &mut stage.progress).await?;
        Visits { place: &place, args: self, devices }.warm_and_run(plan, stage, go_on).await
    }

    /// The thresholds of a scenario, unless others are given.
    pub(crate) fn limits(&self, limits: Limits) -> Limits {
        Limits {
            connect_p95_us: self.connect_p95_max.map_or(limits.connect_p95_us, micros_of),
            arrival_p95_us: self.p95_max.map_or(limits.arrival_p95_us, micros_of),
            success_percent: self.success_min.map_or(limits.success_percent, f64::from),
        }
    }
}

/// The users of a run.
#[derive(Debug)]
struct Visits<'a> {
    place: &'a Place,
    args: &'a UserArgs,
    /// Devices of each user.
    devices: u32,
}

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
    began: Moment,
    pub(super) args: UserArgs,
    pub(super) devices: u32,
    journal: Mutex<Journal>,
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
        arrivals::harvest(user, |arrival| {
            journal.tally.arrived(&arrival);
            let at = Duration::from_micros(arrival.intended.saturating_sub(self.began));
            journal.series.arrival(at, arrival.waited());
        });
    }

    fn harvest_all(&self) {
        let mut journal = self.journal();
        for user in journal.present.values().cloned().collect::<Vec<_>>() {
            self.harvest(&mut journal, &user);
        }
    }

    fn standing(&self, plan: &Plan, elapsed: Duration) -> String {
        let journal = self.journal();
        let window =
            journal.series.window(elapsed.saturating_sub(RECENTLY.0), elapsed.saturating_sub(RECENTLY.1));
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

impl Visits<'_> {
    async fn warm_and_run(
        &self,
        plan: &Plan,
        stage: &mut Stage,
        go_on: impl FnMut(&Series, Duration) -> bool,
    ) -> Result<Findings> {
        let mut broken = Broken::default();
        if !self.args.warmup.is_zero() {
            stage.progress.part(&format!("warming up for {:?}", self.args.warmup));
            let here = WARM_USERS.min(plan.most());
            let warm = Plan::new(Rhythm::Each(2.0)).then(Duration::ZERO, here);
            let lasts = plan::LOOK + self.args.warmup;
            broken = self.run(&warm.then(lasts, here), broken, stage, |_, _| true).await?.tally.broken;
            ensure!(!stage.interrupt.was_pressed(), "interrupted before the run");
        }
        stage.progress.part(&format!("up to {} users for {:?}", plan.most(), plan.lasts()));
        self.run(plan, broken, stage, go_on).await
    }

    /// Lets users come, edit and leave.
    async fn run(
        &self,
        plan: &Plan,
        broken: Broken,
        stage: &mut Stage,
        mut go_on: impl FnMut(&Series, Duration) -> bool,
    ) -> Result<Findings> {
        let visits = plan.visits();
        let others = f64::from(self.devices.saturating_sub(1));
        let planned = plan.changes_planned() * others;
        ensure!(planned <= ARRIVALS_MAX, "{planned:.0} changes on other devices are too many for one run");
        ensure!(visits.len() <= VISITS_MAX, "{} users are too many for one run", visits.len());
        fleet::allow(plan.most().saturating_mul(self.devices))?;
        let clock = Clock::start();
        // Users are judged and forgotten when they leave, so there is no end to what the run may record.
        let (counts, room) = (Counts::new(clock), Room::new(u64::MAX));
        let roster = Roster::of(self.place, visits.len(), "", counts, room).await?;
        let before = Mark::now(&self.place.nodes, Helping::default()).await?;
        let series = Series::new(plan.lasts());
        let width = series.width();
        let begun = Instant::now();
        let shared = Arc::new(Shared {
            roster,
            began: clock.at(begun.into_std()),
            begun,
            args: self.args.clone(),
            devices: self.devices,
            journal: Mutex::new(Journal {
                series,
                tally: Tally::with(broken),
                connect: Latency::new(),
                failures: BTreeMap::new(),
                present: BTreeMap::new(),
            }),
            slots: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            reads: Semaphore::new(READS_MAX),
        });
        let sampler = sample(Arc::clone(&shared), self.place.nodes.clone(), width);
        let (stop, stopped) = watch::channel(false);
        let all = async {
            let mut under_way = JoinSet::new();
            let mut coming = visits.into_iter().enumerate().peekable();
            let mut looked = interval(LOOK_EVERY);
            looked.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut shown = interval(stage.progress.every());
            let mut ended = None;
            loop {
                let next = coming.peek().map_or(begun, |(_, visit)| begun + visit.from);
                tokio::select! {
                    () = sleep_until(next), if coming.peek().is_some() => {
                        let Some((number, visit)) = coming.next() else { continue };
                        let changes = plan.changes(visit);
                        let shared = Arc::clone(&shared);
                        under_way.spawn(visit::visit(shared, number, visit, changes, stopped.clone()));
                    }
                    Some(left) = under_way.join_next(), if !under_way.is_empty() => {
                        left.context("a user's task has failed")??;
                    }
                    _ = looked.tick() => {
                        shared.harvest_all();
                        if ended.is_none() && !go_on(&shared.journal().series, begun.elapsed()) {
                            ended = Some(begun.elapsed());
                        }
                    }
                    _ = shown.tick() => stage.progress.show(|| shared.standing(plan, begun.elapsed())),
                    () = stage.interrupt.pressed(), if ended.is_none() => ended = Some(begun.elapsed()),
                }
                if ended.is_some() && !*stop.borrow() {
                    stop.send_replace(true);
                    coming = Vec::new().into_iter().enumerate().peekable();
                }
                if under_way.is_empty() && coming.peek().is_none() {
                    return anyhow::Ok(ended.unwrap_or_else(|| plan.lasts()));
                }
            }
        };
        let lasted = tokio::select! {
            lasted = all => lasted?,
            never = sampler => match never {},
        };
        let effort = Mark::now(&self.place.nodes, Helping::default()).await?.since(&before);
        let shared = Arc::into_inner(shared).context("a user is still here")?;
        let journal = shared.journal.into_inner().unwrap_or_else(PoisonError::into_inner);
        Findings::of(journal, effort, lasted)
    }
}

/// Writes down how it stands, at even distances, until it is dropped.
async fn sample(shared: Arc<Shared>, nodes: Nodes, width: Duration) -> std::convert::Infallible {
    for times in 0u32.. {
        sleep_until(shared.begun + width * times).await;
        let at = shared.begun.elapsed();
        let mut sample = Sample { generator_cpu_seconds: clock::cpu_seconds(), ..Sample::default() };
        // A node that does not answer has no numbers; whether that is a failure is seen elsewhere.
        sample.nodes = nodes.read().await.ok().flatten();
        let mut journal = shared.journal();
        sample.users = journal.present.len() as u64;
        let devices = journal.present.values().flat_map(|user| &user.devices);
        sample.devices = devices.filter(|member| member.device.node().is_some()).count() as u64;
        journal.series.sample(at, sample);
    }
    std::future::pending().await
}
