//! `writers`: how many changes of drafts are committed in a second, when each writer waits for its commit.
//!
//! The drafts are those of many users, so that no two writers meet at one; what a hundred writers to one topic
//! reach is `feed --durable-writers 100`.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::{Scenario, clients::run_name};
use crate::{
    cluster::{ClusterArgs, Place, publisher::Publisher},
    measure::{
        effort::{Effort, Helping, Mark},
        latency::Latency,
        summary::{Check, Outcome, Summary},
    },
    run::{Shared, Stage, arguments},
    scenario::floor::{inserts, server::data},
};

/// The draft that each user has.
const DRAFT: &str = "d";

/// The longest that the floor's writers go on.
const FLOOR_WAIT: Duration = Duration::from_secs(5);

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many users, with a draft each.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    users: u32,
    /// How many change them, each its share of the users in turn; spread over all nodes.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(inserts::WRITERS_MAX)))]
    writers: u32,
    /// How long it is measured.
    #[arg(long, default_value = "15s", value_parser = arguments::duration)]
    duration: Duration,
    /// How long it goes on before it is measured.
    #[arg(long, default_value = "2s", value_parser = arguments::duration)]
    warmup: Duration,
    /// The length of what a change sets, as JSON.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(60..=65_000))]
    bytes: u32,
    /// Does not measure what the machine alone costs.
    #[arg(long)]
    no_floor: bool,
}

/// A user's draft, as its writer knows it.
#[derive(Debug)]
struct Draft {
    user: String,
    token: String,
    /// The last version that was acknowledged, and the number of the change that made it.
    version: u64,
    number: u64,
    /// Whether a change was not answered with success: then nobody writes to it any more.
    unsure: bool,
}

/// One who writes, and what came of it.
#[derive(Debug)]
struct Writer {
    publisher: Publisher,
    drafts: Vec<Draft>,
    bytes: usize,
    answered: Latency,
    failures: BTreeMap<String, u64>,
}

/// When all writers stop.
#[derive(Debug, Clone)]
struct Until {
    end: Instant,
    shared: Shared,
}

impl Scenario for Options {
    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let place = Place::of(&self.cluster, &mut stage.progress).await?;
        stage.progress.part(&format!("making the drafts of {} users", self.users));
        let mut writers = self.writers(&place).await?;
        let mut made = JoinSet::new();
        for mut writer in writers.drain(..) {
            made.spawn(async move {
                writer.create().await?;
                anyhow::Ok(writer)
            });
        }
        let mut writers = Vec::new();
        while let Some(writer) = made.join_next().await {
            writers.push(writer??);
        }
        stage.progress.part(&format!("warming up for {:?}", self.warmup));
        let mut writers = write_all(writers, self.warmup, stage).await.0;
        for writer in &mut writers {
            writer.answered = Latency::new();
        }
        stage.progress.part(&format!("writing for {:?}", self.duration));
        let before = Mark::now(&place.nodes, Helping::default()).await?;
        let (mut writers, seconds) = write_all(writers, self.duration, stage).await;
        let effort = Mark::now(&place.nodes, Helping::default()).await?.since(&before);
        stage.verifying = true;
        stage.progress.part("reading the drafts");
        let mut wrong = Vec::new();
        for writer in &mut writers {
            wrong.extend(writer.verify().await?);
        }
        let mut answered = Latency::new();
        let mut failures = BTreeMap::new();
        for writer in &writers {
            answered.add(&writer.answered);
            for (what, count) in &writer.failures {
                *failures.entry(what.clone()).or_default() += count;
            }
        }
        ensure!(
            answered.percentiles().count > 0,
            "nothing was committed, so nothing can be judged: {failures:?}"
        );
        let per_second = answered.percentiles().count as f64 / seconds;
        let mut summary = self.summary(&answered, per_second, &failures, &effort, &wrong);
        if let (false, Some(database)) = (self.no_floor, &place.database) {
            stage.progress.part("measuring what the machine alone needs for the same");
            let duration = self.duration.min(FLOOR_WAIT);
            let bytes = self.bytes as usize;
            inserts::compare(&mut summary, database, self.writers, bytes, duration, per_second).await?;
        }
        Ok(summary.outcome())
    }
}

/// Lets all write; returns them, and how long that was in seconds.
async fn write_all(writers: Vec<Writer>, duration: Duration, stage: &mut Stage) -> (Vec<Writer>, f64) {
    let begun = Instant::now();
    let until = Until { end: begun + duration, shared: Shared::default() };
    let mut under_way = JoinSet::new();
    for writer in writers {
        under_way.spawn(writer.write(until.clone()));
    }
    let done = stage.finish(under_way, &until.shared, String::new).await;
    (done, begun.elapsed().as_secs_f64().max(0.001))
}

impl Writer {
    async fn create(&mut self) -> Result<()> {
        for Draft { user, token, version, .. } in &mut self.drafts {
            let body = format!("{{\"draftId\":\"{DRAFT}\",\"content\":{{}}}}");
            let (status, answer) = self.publisher.request("POST", "/v1/drafts", token, None, body).await?;
            ensure!(status == 201, "making a draft of {user} is answered {status}: {answer}");
            *version = answer["version"].as_u64().context("an answer without version")?;
        }
        Ok(())
    }

    /// Changes one draft after the other, each once the last change was answered.
    async fn write(mut self, until: Until) -> Self {
        let mut turn = 0;
        while !until.shared.is_stopped() && Instant::now() < until.end {
            let sure = self.drafts.iter().filter(|draft| !draft.unsure).count();
            if sure == 0 {
                break;
            }
            let at = turn % self.drafts.len();
            turn += 1;
            if !self.drafts[at].unsure {
                until.shared.acknowledged(u64::from(self.change(at).await));
            }
        }
        self
    }

    /// Returns whether it was acknowledged.
    async fn change(&mut self, at: usize) -> bool {
        let Self { publisher, drafts, bytes, answered, failures } = self;
        let draft = &mut drafts[at];
        let number = draft.number + 1;
        let path = format!("/v1/drafts/{DRAFT}?baseVersion={}", draft.version);
        let body = format!("{{\"set\":{}}}", data(0, number, *bytes));
        let begun = Instant::now();
        // As over the socket, where each command has its id, and can be repeated.
        let failure = match publisher.request("PATCH", &path, &draft.token, Some(number), body).await {
            Ok((200, answer)) => match answer["version"].as_u64() {
                Some(version) if version == draft.version + 1 => {
                    answered.record(begun.elapsed());
                    (draft.version, draft.number) = (version, number);
                    return true;
                }
                _ => "200 with another version".to_owned(),
            },
            Ok((status, answer)) => format!("{status} {}", answer["code"].as_str().unwrap_or_default()),
            Err(error) => format!("{error:#}"),
        };
        draft.unsure = true;
        *failures.entry(failure).or_default() += 1;
        false
    }

    /// What the database has otherwise.
    async fn verify(&mut self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for Draft { user, token, version, number, unsure } in &self.drafts {
            let (status, draft) = self
                .publisher
                .request("GET", &format!("/v1/drafts/{DRAFT}"), token, None, String::new())
                .await?;
            ensure!(status == 200, "reading the draft of {user} is answered {status}: {draft}");
            let found =
                (draft["version"].as_u64(), draft["content"]["set"]["n"].as_u64().unwrap_or_default());
            // What was not answered may have been done.
            let right =
                found == (Some(*version), *number) || (*unsure && found == (Some(version + 1), number + 1));
            if !right {
                wrong.push(format!(
                    "{user} has {found:?}, acknowledged was version {version}, change {number}"
                ));
            }
        }
        Ok(wrong)
    }
}

impl Options {
    async fn writers(&self, place: &Place) -> Result<Vec<Writer>> {
        let run = run_name();
        let users: Vec<String> = (0..self.users).map(|user| format!("{run}-{user}")).collect();
        let tokens = place.signer.tokens(&users, "").await?;
        let mut drafts: Vec<Draft> = users
            .into_iter()
            .zip(tokens)
            .map(|(user, token)| Draft { user, token, version: 0, number: 0, unsure: false })
            .collect();
        let nodes = &place.entrances;
        let share = drafts.len().div_ceil(self.writers as usize);
        let mut writers = Vec::new();
        while !drafts.is_empty() {
            let of_one = drafts.split_off(drafts.len().saturating_sub(share));
            let node = &nodes[writers.len() % nodes.len()];
            writers.push(Writer {
                publisher: Publisher::new(&node.http, String::new()),
                drafts: of_one,
                bytes: self.bytes as usize,
                answered: Latency::new(),
                failures: BTreeMap::new(),
            });
        }
        Ok(writers)
    }

    fn summary(
        &self,
        answered: &Latency,
        per_second: f64,
        failures: &BTreeMap<String, u64>,
        effort: &Effort,
        wrong: &[String],
    ) -> Summary {
        let heading =
            format!("{} writers, drafts of {} users, {:?}", self.writers, self.users, self.duration);
        let mut summary = Summary::new("writers", heading);
        let answered = answered.percentiles();
        summary.row("committed", format!("{}, {per_second:.1} a second", answered.count));
        summary.row("  to the answer", answered.to_string());
        if let Some(nodes) = effort.nodes {
            let each = nodes.commits / answered.count.max(1) as f64;
            summary.row("  commits", format!("{:.0}, {each:.2} for each change", nodes.commits));
        }
        if !failures.is_empty() {
            summary.row("  failures", format!("{failures:?}"));
        }
        let costs = effort.costs(answered.count);
        summary.row("processor, each change", costs.text());
        effort.tell(&mut summary);
        for told in wrong.iter().take(10) {
            summary.note(told.clone());
        }
        summary.check(Check::none("changes that were not acknowledged", failures.values().sum()));
        summary.check(Check::none("drafts that the database has otherwise", wrong.len() as u64));
        summary.put(
            "settings",
            json!({"users": self.users, "writers": self.writers, "bytes": self.bytes,
                "duration_seconds": self.duration.as_secs_f64()}),
        );
        summary.put(
            "written",
            json!({"acked": answered.count, "per_second": per_second, "answered": answered,
                "failures": failures, "cpu_each": costs,
                "commits": effort.nodes.map_or(Value::Null, |nodes| nodes.commits.into())}),
        );
        summary
    }
}
