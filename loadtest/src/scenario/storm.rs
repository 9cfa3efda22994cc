//! `storm`: all devices lose their node at once, and come back elsewhere with a gap.
//!
//! They try as often as it takes, with growing pauses, as devices do; no attempt is spread over time at
//! the beginning, which well-behaved devices would do: it is the worst case.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use testkit::Service;

use super::{
    Scenario,
    clients::{Clients, Prepared, run_name},
};
use crate::{
    cluster::{ClusterArgs, Place, nodes::Nodes, publisher::Publisher, urls::Entrance},
    measure::{
        effort::Mark,
        latency::time,
        summary::{Check, Outcome, Summary},
    },
    run::{Stage, arguments},
    scenario::floor::server::data,
    swarm::{
        Pace, Swarm,
        orders::{Judged, Status, To, Wire},
    },
};

/// How long devices may take to connect at first, and to notice that their node is gone.
const WAIT: Duration = Duration::from_secs(180);

/// Requests under way that write what the devices miss.
const WRITING_MAX: usize = 8;

/// Events in one request; the most that a node takes.
const EVENTS_PER_REQUEST: u32 = 1000;

/// Whose streams the devices follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Follow {
    /// Those of their users.
    User,
    /// Topics.
    Topic,
}

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many devices.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    devices: u32,
    /// How many events each of them misses.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    gap: u32,
    /// Whether each follows its user's stream, or they follow topics.
    #[arg(long, value_enum, default_value_t = Follow::User)]
    follow: Follow,
    /// How many devices follow the same stream. A node takes 50 of one user unless it is told otherwise.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    per_stream: u32,
    /// The length of an event's data, as JSON.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(60..=65_000))]
    bytes: u32,
    /// The threshold of the time until all are back and have all that they missed.
    #[arg(long, default_value = "30s", value_parser = arguments::duration)]
    within: Duration,
    /// The threshold of the database: for each query of the log, this many devices have to be back.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    per_query: u32,
}

impl Scenario for Options {
    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let mut place = Place::of(&self.cluster, &mut stage.progress).await?;
        ensure!(
            place.started.as_ref().is_none_or(|cluster| cluster.nodes.len() > 1),
            "a storm needs a node to go to: --start nodes=2 or more"
        );
        let run = run_name();
        let count = self.devices as usize;
        let per_stream = self.per_stream as usize;
        let topics = match self.follow {
            Follow::User => Vec::new(),
            Follow::Topic => (0..count.div_ceil(per_stream)).map(|topic| format!("{run}:{topic}")).collect(),
        };
        let clients = Clients {
            count,
            per_user: if self.follow == Follow::User { per_stream } else { 1 },
            scope: "subscribe:*",
            wire: Wire::Json,
            batch: false,
            topics: topics.clone(),
        };
        let Prepared { mut swarm, to, users } = clients.prepare(&place, &run).await?;
        let service = place.signer.token(&format!("{run}-service"), "service").await?;

        stage.progress.part(&format!("connecting {count} devices to one node"));
        // Behind what balances there is one address for all nodes.
        let (lost, others) = (&to[..1], if to.len() > 1 { &to[1..] } else { &to[..] });
        let status = swarm.connected(stage, count, lost, Pace::Window, WAIT).await?;
        ensure!(
            status.ready == count,
            "{} of {count} devices connect, so there is no storm: {:?}",
            status.ready,
            swarm.judge(&[]).await?.failures
        );

        let (nodes, entrances) = lose_node(&mut place, &mut swarm, stage).await?;
        let paths: Vec<String> = match self.follow {
            Follow::User => users.iter().map(|user| format!("/v1/users/{user}/events")).collect(),
            Follow::Topic => topics.iter().map(|topic| format!("/v1/topics/{topic}/events")).collect(),
        };
        stage.progress.part(&format!("writing {} events to each of {} streams", self.gap, paths.len()));
        let heads = tokio::select! {
            heads = self.write_gap(&entrances, &service, &paths) => heads?,
            () = stage.interrupt.pressed() => anyhow::bail!("interrupted"),
        };
        let (judged, status, seconds, before, after) =
            self.storm(&mut swarm, others, &heads, &nodes, stage).await?;
        Ok(self.summary(&judged, &status, seconds, &before, &after).outcome())
    }
}

/// Takes the first node away; returns which are left.
async fn lose_node(
    place: &mut Place,
    swarm: &mut Swarm,
    stage: &mut Stage,
) -> Result<(Nodes, Vec<Entrance>)> {
    stage.progress.part("the node is lost");
    let mut left = place.entrances.clone();
    let nodes = match &mut place.started {
        Some(cluster) => {
            if let Some(node) = cluster.nodes.first_mut() {
                node.kill9();
            }
            if cluster.nginx.is_none() {
                left.remove(0);
            } else {
                // It has spread them over all nodes: the others' lose their connections with them.
                swarm.close(true).await?;
            }
            place.nodes.without(0)
        }
        // It cannot be killed from here: its devices lose their connections to it.
        None => {
            swarm.close(true).await?;
            if left.len() > 1 {
                left.remove(0);
            }
            place.nodes.clone()
        }
    };
    let (status, noticed) = swarm.until(stage, WAIT, "losing the node", |status| status.ready == 0).await?;
    ensure!(noticed, "{} devices still have their connection", status.ready);
    Ok((nodes, left))
}

impl Options {
    /// Writes what the devices miss; returns the last event of each stream.
    async fn write_gap(&self, left: &[Entrance], token: &str, paths: &[String]) -> Result<Vec<u64>> {
        let node = left.last().context("no node is left")?;
        let chunk = paths.len().div_ceil(WRITING_MAX).max(1);
        let written = stream::iter(paths.chunks(chunk)).map(|paths| async move {
            let mut publisher = Publisher::new(&node.http, token.to_owned());
            let mut heads = Vec::with_capacity(paths.len());
            for path in paths {
                heads.push(self.write_stream(&mut publisher, path).await?);
            }
            anyhow::Ok(heads)
        });
        let heads: Vec<Vec<u64>> = written.buffered(WRITING_MAX).try_collect().await?;
        Ok(heads.concat())
    }

    async fn write_stream(&self, publisher: &mut Publisher, path: &str) -> Result<u64> {
        let mut head = 0;
        let mut number = 0;
        while number < self.gap {
            let many = EVENTS_PER_REQUEST.min(self.gap - number);
            let events: Vec<String> = (number..number + many)
                .map(|number| {
                    let data = data(0, u64::from(number), self.bytes as usize);
                    format!("{{\"event\":\"COMMENT\",\"data\":{data}}}")
                })
                .collect();
            let (status, answer) = publisher.post(path, format!("[{}]", events.join(","))).await?;
            ensure!(status == 201, "{path} answers {status}: {answer}");
            head = answer["seq"].as_u64().context("an answer without seq")?;
            number += many;
        }
        Ok(head)
    }

    async fn storm(
        &self,
        swarm: &mut Swarm,
        to: &[To],
        heads: &[u64],
        nodes: &Nodes,
        stage: &mut Stage,
    ) -> Result<(Judged, Status, f64, Mark, Mark)> {
        let count = self.devices as usize;
        stage.progress.part(&format!("{count} devices come back"));
        let before = Mark::now(nodes, swarm.helping()).await?;
        let begun = Instant::now();
        swarm.connect(count, to, Pace::Storm).await?;
        let (status, _) =
            swarm.until(stage, self.within * 2, "coming back", |status| status.synced == count).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let after = Mark::now(nodes, swarm.helping()).await?;
        let judged = swarm.judge(heads).await?;
        swarm.close(false).await?;
        Ok((judged, status, seconds, before, after))
    }

    fn summary(
        &self,
        judged: &Judged,
        status: &Status,
        seconds: f64,
        before: &Mark,
        after: &Mark,
    ) -> Summary {
        let heading = format!("{} devices come back, {} events behind", self.devices, self.gap);
        let mut summary = Summary::new("storm", heading);
        let effort = after.since(before);
        let (synced, connect) = (judged.synced.percentiles(), judged.connect.percentiles());
        let all_synced = (status.synced == self.devices as usize).then_some(synced.max_us);
        summary.row("synced", format!("{} of {} in {seconds:.2} s", status.synced, self.devices));
        summary.row("  connected after", connect.to_string());
        summary.row("  synced after", synced.to_string());
        summary.row("replayed", format!("{} events", judged.tally.received));
        summary.row("attempts repeated", format!("{} {:?}", status.retries, judged.failures));
        let each = effort.nodes.map(|nodes| {
            let queries = nodes.queries();
            let per_query = if queries > 0.0 {
                format!("{:.0} devices a query", status.synced as f64 / queries)
            } else {
                "none".to_owned()
            };
            summary.row(
                "queries of the log",
                format!(
                    "{:.0} for heads, {:.0} for events: {per_query}",
                    nodes.head_queries, nodes.read_queries
                ),
            );
            queries / (status.synced.max(1)) as f64
        });
        let us = effort.server_us_each(status.synced as u64);
        summary.row(
            "nodes, for each device",
            us.map_or_else(|| "not measured".to_owned(), |us| time(us as u64)),
        );
        effort.tell(&mut summary);
        for told in &judged.told {
            summary.note(told.clone());
        }
        summary.check(Check::all(
            "devices that have all they missed",
            status.synced as u64,
            self.devices.into(),
        ));
        let limit = u64::try_from(self.within.as_micros()).unwrap_or(u64::MAX);
        summary.check(Check::within("until the last has", all_synced, limit));
        summary.check_all(judged.tally.checks());
        summary.check(Check::none("devices with any fault", judged.faulty));
        let limit = 1.0 / f64::from(self.per_query);
        summary.check(Check::at_most("queries of the log for each device", each, limit, |each| {
            format!("{each:.4}")
        }));
        summary.put(
            "settings",
            json!({"devices": self.devices, "gap": self.gap, "follow": self.follow,
                "per_stream": self.per_stream, "bytes": self.bytes}),
        );
        summary.put(
            "storm",
            json!({"synced_devices": status.synced, "seconds": seconds, "synced": synced, "connect": connect,
                "tally": judged.tally, "retries": status.retries, "failures": judged.failures,
                "queries_each": each}),
        );
        summary
    }
}
