//! `feed`: commentary, published over HTTP, to followers on all nodes.
//!
//! Events have their moments, fixed before the run. A cluster that falls behind does not slow the
//! publishers down, and what an event waits for its turn is part of its latency (an open loop). With
//! `--durable-writers` it is the other way round: each publisher waits for its answer, and what counts
//! is how many commits there are in a second.

mod history;
mod publishing;
mod saturate;

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use self::publishing::{EVENTS_MAX, Load, Round, Sent};
use super::{
    Scenario,
    clients::{Clients, Prepared, run_name},
};
use crate::{
    cluster::{ClusterArgs, Place},
    measure::{
        effort::{Effort, Helping, Mark},
        latency::Latency,
        summary::{Check, Outcome, Summary, micros, times},
    },
    run::{Stage, arguments},
    scenario::floor::{bare, inserts},
    swarm::{
        Pace, Swarm,
        orders::{Judged, Wire},
    },
};

/// How long followers may take to connect.
const CONNECT_WAIT: Duration = Duration::from_secs(120);

/// The limit of the 99th percentile at a fixed rate, unless another is given.
const P99_MAX: Duration = Duration::from_millis(250);

/// How long after the end events are sent that are behind.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// The longest that the floor's writers go on.
const FLOOR_WAIT: Duration = Duration::from_secs(5);

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many clients follow, spread over all nodes.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    followers: u32,
    /// How many publish, spread over all nodes; each waits for its answer before its next event.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    publishers: u32,
    /// Events a second, by all publishers together.
    #[arg(long, default_value = "20", value_parser = arguments::rate)]
    rate: f64,
    /// Instead of a rate: this many publishers, each of which sends its next event once the last one is
    /// committed.
    #[arg(long, value_name = "N", conflicts_with_all = ["rate", "publishers"],
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    durable_writers: Option<u32>,
    /// Instead of a rate: finds the highest that holds, beginning with --rate.
    #[arg(long, conflicts_with = "durable_writers")]
    saturate: bool,
    /// The highest rate that --saturate tries.
    #[arg(long, default_value_t = arguments::RATE_MAX, value_parser = arguments::rate)]
    rate_max: f64,
    /// How long each rate is tried with --saturate.
    #[arg(long, default_value = "4s", value_parser = arguments::duration)]
    step: Duration,
    /// Events in one request: a backend that collects them for a moment. They are sent when the last of them
    /// is due.
    #[arg(long, value_name = "EVENTS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    together: u32,
    /// How long it is measured.
    #[arg(long, default_value = "30s", value_parser = arguments::duration)]
    duration: Duration,
    /// How long it goes on before it is measured.
    #[arg(long, default_value = "3s", value_parser = arguments::duration)]
    warmup: Duration,
    /// How many topics the followers and the events are spread over.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    topics: u32,
    /// The length of an event's data, as JSON.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(60..=65_000))]
    bytes: u32,
    /// How messages are written.
    #[arg(long, value_enum, default_value_t = Wire::Json)]
    wire: Wire,
    /// Followers take arrays of events (`batch=1`).
    #[arg(long)]
    batch: bool,
    /// The threshold of the 99th percentile from the intended sending to the client: 250ms, or 100ms with
    /// --saturate. Not with --durable-writers.
    #[arg(long, value_parser = arguments::duration)]
    p99_max: Option<Duration>,
    /// How long, at the end, events may take that are still missing.
    #[arg(long, default_value = "10s", value_parser = arguments::duration)]
    settle: Duration,
    /// Does not measure what the machine alone costs.
    #[arg(long)]
    no_floor: bool,
}

/// What is ready to begin.
struct Ready {
    topics: Vec<String>,
    /// The publishers' token, which may also read.
    service: String,
    /// `None` when nobody is to follow.
    followers: Option<Swarm>,
    connected: u64,
    load: Load,
}

/// What was found.
struct Findings {
    sent: Vec<Sent>,
    /// How long it was published, in seconds: shorter than planned after Ctrl-C.
    seconds: f64,
    effort: Effort,
    judged: Judged,
    followers: u64,
    connected: u64,
    ended: u64,
    history: history::Compared,
}

impl Scenario for Options {
    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let planned = self.rate * self.duration.as_secs_f64();
        ensure!(planned <= EVENTS_MAX, "{planned} events are too many for one run: at most {EVENTS_MAX}");
        let place = Place::of(&self.cluster, &mut stage.progress).await?;
        if self.saturate {
            return Ok(self.saturate(&place, stage).await?.outcome());
        }
        let findings = self.measure(&place, stage).await?;
        ensure!(
            findings.sent.iter().any(|sent| sent.measured && sent.seq.is_some()),
            "nothing was published, so nothing can be judged: {:?}",
            publishing::failures(&findings.sent)
        );
        let summary = self.summary(&findings);
        Ok(self.with_floor(summary, &findings, &place, stage).await?.outcome())
    }
}

impl Options {
    async fn prepare(&self, place: &Place, stage: &mut Stage) -> Result<Ready> {
        let run = run_name();
        let topics: Vec<String> = (0..self.topics).map(|topic| format!("{run}:{topic}")).collect();
        let service = place.signer.token(&format!("{run}-service"), "service subscribe:*").await?;
        let followers = self.followers(place, &run, &topics, stage).await?;
        let connected = followers.as_ref().map_or(0, |swarm| swarm.status().ready) as u64;

        let publishers = self.durable_writers.unwrap_or(self.publishers) as usize;
        let (bytes, together) = (self.bytes as usize, u64::from(self.together));
        let load = Load::new(place, &service, publishers, &topics, bytes, together);
        Ok(Ready { topics, service, followers, connected, load })
    }

    /// What all followers together receive up to these events, one for each topic.
    fn deliveries_of(&self, heads: &[u64]) -> u64 {
        let followers =
            |topic: u64| u64::from(self.followers).saturating_sub(topic).div_ceil(self.topics.into());
        (0..).zip(heads).map(|(topic, head)| head * followers(topic)).sum()
    }

    async fn measure(&self, place: &Place, stage: &mut Stage) -> Result<Findings> {
        let Ready { topics, service, mut followers, connected, mut load } =
            self.prepare(place, stage).await?;
        let rate = self.durable_writers.is_none().then_some(self.rate);
        stage.progress.part(&format!("warming up for {:?}", self.warmup));
        let warm_up = Round { rate, duration: self.warmup, measured: false, behind_max: BEHIND_MAX };
        load.publish(stage, followers.as_ref(), warm_up).await;
        stage.progress.part(&format!("publishing for {:?}", self.duration));
        let helping = |swarm: &Option<Swarm>| swarm.as_ref().map_or_else(Helping::default, Swarm::helping);
        let before = Mark::now(&place.nodes, helping(&followers)).await?;
        let round = Round { duration: self.duration, measured: true, ..warm_up };
        let seconds = load.publish(stage, followers.as_ref(), round).await.as_secs_f64();
        let sent = load.sent;
        stage.verifying = true;

        stage.progress.part("waiting for what is still on its way");
        let arrived = match &mut followers {
            Some(swarm) => self.settle(swarm, &publishing::heads(&sent, topics.len()), stage).await?,
            None => true,
        };
        // Before the nodes are asked for all of it again.
        let effort = Mark::now(&place.nodes, helping(&followers)).await?.since(&before);
        stage.progress.part("reading the history");
        let acked = sent.iter().filter_map(|sent| Some((sent.topic, sent.seq?, sent.number))).collect();
        let history = history::compare(place, &service, &topics, acked).await?;
        let mut judged = Judged::default();
        let mut ended = 0;
        if let Some(swarm) = &mut followers {
            if arrived {
                // Also what was committed and not acknowledged.
                self.settle(swarm, &history.heads, stage).await?;
            }
            ended = swarm.status().ended as u64;
            judged = swarm.judge(&history.heads).await?;
        }
        if let Some(mut swarm) = followers {
            swarm.close(false).await?;
        }
        let followers = u64::from(self.followers);
        Ok(Findings { sent, seconds, effort, judged, followers, connected, ended, history })
    }

    /// Waits until everybody has the events up to these, one for each topic; returns whether it was in time.
    async fn settle(&self, swarm: &mut Swarm, heads: &[u64], stage: &mut Stage) -> Result<bool> {
        let wanted = self.deliveries_of(heads);
        Ok(swarm.until(stage, self.settle, "settling", |status| status.received >= wanted).await?.1)
    }

    async fn followers(
        &self,
        place: &Place,
        run: &str,
        topics: &[String],
        stage: &mut Stage,
    ) -> Result<Option<Swarm>> {
        let count = self.followers as usize;
        if count == 0 {
            return Ok(None);
        }
        stage.progress.part(&format!("connecting {count} followers"));
        let clients = Clients {
            count,
            per_user: 1,
            scope: "subscribe:*",
            wire: self.wire,
            batch: self.batch,
            topics: topics.to_vec(),
        };
        let Prepared { mut swarm, to, .. } = clients.prepare(place, run).await?;
        let status = swarm.connected(stage, count, &to, Pace::Window, CONNECT_WAIT).await?;
        if status.ready == 0 {
            bail!("no follower gets a connection: {:?}", swarm.judge(&[]).await?.failures);
        }
        Ok(Some(swarm))
    }

    fn summary(&self, findings: &Findings) -> Summary {
        let Findings { sent, seconds, effort, judged, followers, connected, ended, history } = findings;
        let how = match self.durable_writers {
            Some(writers) => format!("{writers} publishers that wait for their commits"),
            None => format!("{} publishers, {} events a second", self.publishers, self.rate),
        };
        let mut summary = Summary::new("feed", format!("{followers} followers, {how}, {:?}", self.duration));
        let measured: Vec<&Sent> = sent.iter().filter(|sent| sent.measured).collect();
        let acked = measured.iter().filter(|sent| sent.seq.is_some()).count() as u64;
        let failures = publishing::failures(sent);
        let failed: u64 = failures.values().sum();
        let mut answered = Latency::new();
        for sent in measured.iter().filter(|sent| sent.seq.is_some()) {
            answered.record_us(sent.answered_us);
        }
        let answered = answered.percentiles();
        let (from_send, from_commit) = (judged.from_send.percentiles(), judged.from_commit.percentiles());
        let per_second = acked as f64 / seconds;
        let expected = judged.tally.received + judged.tally.lost;
        let ratio = if expected > 0 { judged.tally.received as f64 / expected as f64 } else { 1.0 };

        summary.row("published", format!("{acked} of {}, {per_second:.1} a second", measured.len()));
        summary.row("  to the answer", answered.to_string());
        if let Some(nodes) = effort.nodes {
            let each = nodes.commits / acked.max(1) as f64;
            summary.row("  commits", format!("{:.0}, {each:.2} for each event", nodes.commits));
        }
        if !failures.is_empty() {
            summary.row("  failures", format!("{failures:?}"));
        }
        if self.followers > 0 {
            let deliveries = format!("{} measured, {:.5} of all arrived", judged.measured, ratio);
            summary.row("delivered", deliveries);
            summary.row("  from intended sending", from_send.to_string());
            summary.row("  from the event's time", from_commit.to_string());
        }
        let (what, count) = if self.followers > 0 { ("delivery", judged.measured) } else { ("event", acked) };
        let costs = effort.costs(count);
        summary.row(format!("processor, each {what}"), costs.text());
        effort.tell(&mut summary);
        for told in judged.told.iter().chain(&history.told) {
            summary.note(told.clone());
        }

        summary.check(Check::none("events that were not acknowledged", failed));
        summary.check(Check::none("events that the history has otherwise", history.wrong));
        if self.followers > 0 {
            summary.check(Check::all("followers connected", *connected, *followers));
            summary.check(Check::none("connections that ended", *ended));
            summary.check_all(judged.tally.checks());
            summary.check(Check::none("followers with any fault", judged.faulty));
            if self.durable_writers.is_none() {
                let limit = self.p99_max.unwrap_or(P99_MAX);
                let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
                summary.check(Check::p99("99% from intended sending to client", &from_send, limit));
            }
        }
        summary.put("settings", self.settings());
        summary.put(
            "published",
            json!({"acked": acked, "per_second": per_second, "failures": failures, "answered": answered,
                "commits": effort.nodes.map(|nodes| nodes.commits)}),
        );
        summary.put(
            "delivered",
            json!({"measured": judged.measured, "ratio": ratio, "tally": judged.tally,
                "faulty_followers": judged.faulty, "from_send": from_send, "from_commit": from_commit,
                "server_cpu_us_each": costs.nodes_us, "cpu_each": costs}),
        );
        summary
    }

    fn settings(&self) -> Value {
        json!({"followers": self.followers, "publishers": self.publishers, "rate": self.rate,
            "durable_writers": self.durable_writers, "saturate": self.saturate, "together": self.together,
            "duration_seconds": self.duration.as_secs_f64(), "topics": self.topics, "bytes": self.bytes,
            "wire": self.wire, "batch": self.batch})
    }

    /// Measures what the machine alone needs for the same, and compares.
    async fn with_floor(
        &self,
        mut summary: Summary,
        findings: &Findings,
        place: &Place,
        stage: &mut Stage,
    ) -> Result<Summary> {
        if self.no_floor || stage.interrupt.was_pressed() {
            return Ok(summary);
        }
        stage.progress.part("measuring what the machine alone needs for the same");
        let duration = self.duration.min(FLOOR_WAIT);
        if self.followers > 0 {
            let delivered = findings.judged.measured as f64 / f64::from(self.followers);
            let rate = (delivered / findings.seconds).clamp(1.0, bare::RATE_MAX);
            let (sockets, bytes) = (self.followers as usize, self.bytes as usize);
            let floor = bare::delivery(stage, self.wire, sockets, bytes, rate, duration, 1).await?;
            let costs = findings.effort.costs(findings.judged.measured);
            let alone = Some(floor.cpu_us_per_delivery);
            let with_bus = costs.with_bus_us.map(|us| format!(", with Redis {}", times(Some(us), alone)));
            summary.row(
                "floor, for each delivery",
                format!(
                    "{}; the nodes need {}{}",
                    micros(alone),
                    times(costs.nodes_us, alone),
                    with_bus.unwrap_or_default()
                ),
            );
            summary.row("  from intended sending", floor.from_send.to_string());
            summary.put("floor_delivery", &floor);
            let times = |each: Option<f64>| each.map(|each| each / floor.cpu_us_per_delivery);
            summary.put("floor_delivery_times", times(costs.nodes_us));
            summary.put("floor_delivery_times_with_bus", times(costs.with_bus_us));
        }
        if self.durable_writers.is_none() && self.followers > 0 {
            let from_commit = findings.judged.from_commit.percentiles();
            self.commit_floor(&mut summary, from_commit, place, stage).await?;
        }
        if let (Some(writers), Some(database)) = (self.durable_writers, &place.database) {
            let acked = findings.sent.iter().filter(|sent| sent.measured && sent.seq.is_some()).count();
            let (per_second, bytes) = (acked as f64 / findings.seconds, self.bytes as usize);
            inserts::compare(&mut summary, database, writers, bytes, duration, per_second).await?;
        }
        Ok(summary)
    }
}
