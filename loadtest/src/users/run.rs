//! Users with several devices each, who come, edit their drafts and leave, as a plan says. Each is judged
//! when it leaves, and forgotten: a run of a day keeps no more than one of a minute.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use super::{
    findings::Findings,
    fleet::{self, Roster},
    journal::{Journal, Shared},
    ledger::{Clock, Counts},
    options::UserArgs,
    plan::{self, Plan, Rhythm},
    record::Room,
    series::{Sample, Series},
    settle::READS_MAX,
    tally::{Broken, Tally},
    visit,
};
use crate::{
    cluster::{ClusterArgs, Place, nodes::Nodes},
    measure::{
        clock,
        effort::{Helping, Mark},
        latency::Latency,
    },
    run::{Stage, open_loop::UNDER_WAY_MAX},
};

/// Changes of one run on other devices: how long each took is kept to the end.
const ARRIVALS_MAX: f64 = 8_000_000.0;

/// Users of one run, over all its time: each needs a token.
const VISITS_MAX: usize = 100_000;

/// How often it is looked at how the run goes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Users of a warm-up.
const WARM_USERS: u32 = 2;

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
}

/// The users of a run.
#[derive(Debug)]
struct Visits<'a> {
    place: &'a Place,
    args: &'a UserArgs,
    /// Devices of each user.
    devices: u32,
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
