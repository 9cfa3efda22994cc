//! `chaos`: devices edit and publish while parts of the cluster are killed, frozen and restarted; then the
//! whole history proves or refutes what is promised.
//!
//! A checker in the manner of Jepsen: what clients ask for, are answered and are sent is written down by
//! the time of one clock, and judged at the end by a function of that history alone.

mod breaker;
mod plan;
mod story;
mod summary;
mod timeline;
mod work;

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use futures_util::FutureExt;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use testkit::{
    DeviceOptions, Encoding, Topic,
    device::{Standing, Track},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

use self::{
    breaker::Done,
    plan::{Part, Planned},
    summary::Found,
    work::Backend,
};
use super::{Scenario, clients::run_name};
use crate::{
    check::{
        Fault, check,
        history::{Moment, StreamHistory},
    },
    cluster::{ClusterArgs, Place},
    measure::summary::Outcome,
    run::{Stage, arguments, open_loop::OpenLoop},
    users::{
        edits::{create_all_drafts, draft_id, edit},
        fleet::{Fleet, Roster},
        ledger::{Clock, Counts, Ledger},
        record::Room,
        settle::{settle, settle_all},
    },
};

/// Entries of one run, on all devices together.
const RECORDED_MAX: u64 = 5_000_000;

/// The longest run: the record is kept in memory, and the backends' token is good for an hour.
const DURATION_MAX: Duration = Duration::from_secs(50 * 60);

/// Events of a request that has several.
const TOGETHER: usize = 3;

/// Of nodes that are started here. Devices leave a node that is silent for twice as long as the interval
/// between pings: frozen nodes are to be left, too.
const SETTINGS: [(&str, &str); 4] = [
    ("WS_PING_INTERVAL", "1s"),
    ("WS_PING_INTERVAL_MIN", "1s"),
    ("WS_PING_INTERVAL_MAX", "1s"),
    ("DRAIN_WINDOW", "1s"),
];

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many users.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    users: u32,
    /// How many devices each of them has; each follows all topics.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    devices: u32,
    /// How many topics.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    topics: u32,
    /// How many drafts each user has.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    drafts_per_user: u32,
    /// Requests a second: half of them edit drafts, the others publish, from devices and over HTTP, there now and
    /// then several events at once.
    #[arg(long, default_value = "50", value_parser = arguments::rate)]
    rate: f64,
    /// How long changes are made, and parts fail: 30s, 5m.
    #[arg(long, default_value = "60s", value_parser = arguments::duration)]
    duration: Duration,
    /// What may fail of a cluster that is started for the run; everything unless this says otherwise.
    #[arg(long, value_enum, value_delimiter = ',')]
    faults: Option<Vec<Kind>>,
    /// The pause from the end of one fault to the next, give or take a half.
    #[arg(long, default_value = "3s", value_parser = arguments::duration)]
    pause: Duration,
    /// What the plan of faults follows from; chosen at random, and printed, when it is not given.
    #[arg(long)]
    seed: Option<u64>,
    /// How long, once everything is mended, answers may take that are still awaited, and then devices to
    /// catch up.
    #[arg(long, default_value = "30s", value_parser = arguments::duration)]
    settle: Duration,
}

/// Parts of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Kind {
    Nodes,
    Redis,
    Postgres,
    Nginx,
}

impl Kind {
    fn of(part: Part) -> Self {
        match part {
            Part::Node(_) => Self::Nodes,
            Part::Redis => Self::Redis,
            Part::Postgres => Self::Postgres,
            Part::Nginx => Self::Nginx,
        }
    }
}

/// What is to fail, and what has failed so far.
struct Course {
    seed: u64,
    plan: Vec<Planned>,
    clock: Clock,
    done: Done,
}

/// The devices, with all that their work needs.
struct Crew {
    fleet: Arc<Fleet>,
    topics: Arc<[work::Topic]>,
    backend: Backend,
    /// Of the backends.
    token: String,
}

impl Scenario for Options {
    /// # Errors
    /// When devices cannot connect, nothing was acknowledged, a part that was broken does not come back, or
    /// the database cannot be read at the end.
    async fn run(mut self, stage: &mut Stage) -> Result<Outcome> {
        ensure!(self.pause > Duration::ZERO, "--pause must be longer than nothing");
        ensure!(self.duration <= DURATION_MAX, "at most {DURATION_MAX:?} for one run");
        let devices = f64::from(self.users) * f64::from(self.devices);
        // Of sixteen requests, eight are edits, and one has two further events.
        let each = (8.0 * f64::from(self.devices) + 10.0 * devices) / 16.0;
        let deliveries = (self.pace().planned() * each).ceil();
        let limit = RECORDED_MAX as f64;
        ensure!(deliveries <= limit, "{deliveries} deliveries are too many for one run: at most {limit}");
        let seed = self.seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));

        self.cluster.preset(&SETTINGS);
        let mut place = Place::of(&self.cluster, &mut stage.progress).await?;
        let plan = self.plan(seed, &place)?;
        let course = Course { seed, plan, clock: Clock::start(), done: Done::default() };
        stage.progress.part(&format!("connecting {} users with {} devices each", self.users, self.devices));
        let crew = tokio::select! {
            crew = self.gather(&place, course.clock) => crew?,
            () = stage.interrupt.pressed() => bail!("interrupted before the run"),
        };

        stage.progress.part(&format!(
            "{:?} of changes, with {} faults: --seed {seed}",
            self.duration,
            course.plan.len()
        ));
        let (begun, mut under_way) = self.load(&crew, &mut place, &course, stage).await?;

        stage.progress.part("waiting for answers, and for all devices to have what the database has");
        let answers = async { while under_way.join_next().await.is_some() {} };
        // What has no answer by then stays unknown.
        let _ = timeout(self.settle, answers).await;
        under_way.shutdown().await;
        let streams = crew.settle(&place, self.settle).await?;
        let roster = &crew.fleet.roster;
        ensure!(!roster.room.is_exceeded(), "more came than the {RECORDED_MAX} entries that are kept");
        ensure!(roster.counts.acked() > 0, "nothing was acknowledged, so nothing can be judged");

        let mut wrong: Vec<Vec<Fault>> = streams.iter().map(check).collect();
        for (user, wrong) in crew.fleet.users.iter().zip(&mut wrong) {
            // The order of events is judged by the records.
            wrong.extend(user.devices.iter().flat_map(|member| member.found(|_| true)));
        }
        let members = crew.fleet.users.iter().flat_map(|user| &user.devices);
        let links = members.map(|member| member.record.links(&member.label)).collect();
        let found = Found {
            seed,
            begun,
            connections: crew.fleet.connections(),
            links,
            faults: course.done.faults(),
            planned: course.plan.len(),
            streams,
            wrong,
            durable: self.cluster.starts(),
        };
        Ok(found.outcome(&self.settings()))
    }
}

impl Options {
    fn settings(&self) -> String {
        let Self { users, devices, topics, rate, duration, .. } = self;
        format!("{users} users with {devices} devices, {topics} topics, {rate} requests/s for {duration:?}")
    }

    fn pace(&self) -> OpenLoop {
        OpenLoop { rate: self.rate, duration: self.duration }
    }

    /// What is to fail.
    fn plan(&self, seed: u64, place: &Place) -> Result<Vec<Planned>> {
        let Some(cluster) = &place.started else {
            ensure!(self.faults.is_none(), "--faults needs a cluster that was started for the run: --start");
            return Ok(Vec::new());
        };
        let mut parts = breaker::parts(cluster);
        if let Some(kinds) = &self.faults {
            parts.retain(|part| kinds.contains(&Kind::of(*part)));
            let there: BTreeSet<Kind> = parts.iter().copied().map(Kind::of).collect();
            let missing = kinds.iter().find(|kind| !there.contains(kind));
            ensure!(missing.is_none(), "there is nothing of {missing:?}: --start nodes=3,nginx");
        }
        Ok(plan::plan(seed, &parts, self.duration, self.pause))
    }

    /// Connects the devices, each with its record, and makes the drafts.
    async fn gather(&self, place: &Place, clock: Clock) -> Result<Crew> {
        let run = run_name();
        let counts = Counts::new(clock);
        let topic = |number| work::Topic { name: format!("{run}:{number}"), ledger: Ledger::new(&counts) };
        let topics: Arc<[work::Topic]> = (1..=self.topics).map(topic).collect();
        let scope = format!("subscribe:{run}:* publish:{run}:*");
        let adjust = |device: usize, options: &mut DeviceOptions| {
            options.topics = topics.iter().map(|topic| Topic::named(&topic.name)).collect();
            // In every form that clients take.
            options.batch = device % 3 == 1;
            options.encoding = if device % 3 == 2 { Encoding::MessagePack } else { Encoding::Json };
        };
        let users = self.users as usize;
        let roster = Roster::of(place, users, &scope, Arc::clone(&counts), Room::new(RECORDED_MAX)).await?;
        let fleet = Fleet::connect(roster, self.devices, adjust).await?;
        for member in fleet.users.iter().flat_map(|user| &user.devices) {
            let refused = member.device.look(|replica| {
                let tracks = topics.iter().filter_map(|topic| replica.topic(&topic.name));
                let mut standings = tracks.map(Track::standing);
                standings.find(|standing| **standing != Standing::Followed).cloned()
            });
            ensure!(refused.is_none(), "a topic cannot be followed: {refused:?}");
        }
        create_all_drafts(&fleet, self.drafts_per_user).await?;
        let rights = format!("service subscribe:{run}:*");
        let token = place.signer.token(&format!("{run}-backend"), &rights).await?;
        let urls = place.entrances.iter().map(|entrance| entrance.http.clone()).collect();
        let backend = Backend::new(urls, &token)?;
        Ok(Crew { fleet: Arc::new(fleet), topics, backend, token })
    }

    /// Makes changes for the duration, while the plan is carried out. Returns when it began, and what is
    /// under way; everything is mended then.
    async fn load(
        &self,
        crew: &Crew,
        place: &mut Place,
        course: &Course,
        stage: &mut Stage,
    ) -> Result<(Moment, JoinSet<()>)> {
        let Course { seed, plan, clock, done } = course;
        let begun = clock.now();
        let (stop, stopped) = watch::channel(false);
        let mut rng = StdRng::seed_from_u64(*seed);
        let standing = |elapsed: Duration, under_way: usize| {
            let connections = crew.fleet.connections();
            format!(
                "{:>4.0}s  asked {}  acked {}  under way {under_way}  delivered {}  faults {}  offline {}  reconnects {}",
                elapsed.as_secs_f64(),
                crew.fleet.roster.counts.asked(),
                crew.fleet.roster.counts.acked(),
                crew.fleet.roster.room.events(),
                done.faults().len(),
                connections.offline,
                connections.reconnects,
            )
        };
        let change = |_| (!crew.fleet.roster.room.is_exceeded()).then(|| self.change(crew, &mut rng));
        let changes = async {
            let under_way = self.pace().run(stage, standing, change).await;
            stop.send_replace(true);
            under_way
        };
        let faults = async {
            match &mut place.started {
                Some(cluster) => breaker::carry_out(cluster, plan, &stopped, *clock, done).await,
                None => Ok(()),
            }
        };
        let (under_way, mended) = tokio::join!(changes, faults);
        mended?;
        Ok((begun, under_way))
    }

    /// One change of some user.
    fn change(&self, crew: &Crew, rng: &mut StdRng) -> futures_util::future::BoxFuture<'static, ()> {
        let users = crew.fleet.users.len();
        let (user, topic) = (rng.random_range(0..users), rng.random_range(0..crew.topics.len()));
        let device = rng.random_range(0..crew.fleet.users[user].devices.len());
        let draft = draft_id(rng.random_range(0..self.drafts_per_user));
        // Half of all are edits; of the posts, one in four has several events.
        let what = match rng.random_range(0..16) {
            0..4 => 0,
            4..7 => 1,
            7 => 2,
            _ => 3,
        };
        let (fleet, backend) = (Arc::clone(&crew.fleet), crew.backend.clone());
        let topics = Arc::clone(&crew.topics);
        async move {
            let (user, topic) = (&fleet.users[user], &topics[topic]);
            match what {
                0 => topic.publish(&user.devices[device]).await,
                1 => backend.post(topic, 1).await,
                2 => backend.post(topic, TOGETHER).await,
                _ => edit(user, &user.devices[device], &draft, Instant::now()).await,
            }
        }
        .boxed()
    }
}

impl Crew {
    /// Waits until the followers of each stream have what the database has, at most for `wait`; what then is,
    /// is to be judged: first of all users and then of all topics.
    ///
    /// # Errors
    /// When the database cannot be read to the last: then there is nothing to judge by.
    async fn settle(&self, place: &Place, wait: Duration) -> Result<Vec<StreamHistory>> {
        let end = tokio::time::Instant::now() + wait;
        let mut all = settle_all(&self.fleet, wait).await?;
        for topic in &*self.topics {
            let look = || topic.look(&self.fleet, place, &self.token);
            let mut history = settle(look, end).await?;
            history.ops = topic.ledger.ops().clone();
            all.push(history);
        }
        Ok(all)
    }
}
