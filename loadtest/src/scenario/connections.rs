//! `connections`: what it takes to connect many clients, and what they hold while they are idle.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{
    Scenario,
    clients::{Clients, Prepared, run_name},
};
use crate::{
    cluster::{ClusterArgs, Place},
    measure::{
        effort::{Effort, Mark},
        latency::{Percentiles, time},
        summary::{Check, Outcome, Summary, bytes, micros, times},
    },
    run::{Stage, arguments},
    scenario::floor::bare,
    swarm::{
        CLIENTS_MAX, Pace, Swarm,
        orders::{Judged, To, Wire},
    },
};

/// How long the clients of a level may take to connect, or to leave.
const WAIT: Duration = Duration::from_secs(180);

/// From how many clients on nodes give memory back: of fewer it is not worth the effort, nor the wait.
const CROWD_MIN: usize = 256;

/// How long nodes may take to give memory back.
const GIVE_BACK_MAX: Duration = Duration::from_secs(20);

/// Clients that connect before anything is measured: the first ones pay for what all share.
const WARM_UP: usize = 20;

/// From how many clients on memory is divided by their number: of fewer, it is the allocator's.
const MEMORY_CLIENTS_MIN: usize = 100;

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How many clients connect, one level after the other; separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "10,50,100,500,1000,10000",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CLIENTS_MAX)))]
    levels: Vec<u32>,
    /// All clients of a level connect at once. Their times count from that moment.
    #[arg(long)]
    burst: bool,
    /// How long clients are held before memory is read.
    #[arg(long, default_value = "2s", value_parser = arguments::duration)]
    hold: Duration,
    /// The threshold of the 99th percentile of connecting; ten times as much in a burst.
    #[arg(long, default_value = "1s", value_parser = arguments::duration)]
    p99_max: Duration,
    /// The threshold of the nodes' memory for each connection, in KiB, at the largest level.
    #[arg(long, value_name = "KIB", default_value_t = 32)]
    memory_max: u32,
    /// Does not measure what the machine alone needs.
    #[arg(long)]
    no_floor: bool,
}

/// What one level has shown.
#[derive(Debug, Serialize)]
struct Level {
    clients: usize,
    connected: usize,
    ended: usize,
    seconds: f64,
    connect: Percentiles,
    cpu_us_each: Option<f64>,
    /// Of the nodes: before any level, with the clients, and after they have left.
    resident_idle: Option<f64>,
    resident_connected: Option<f64>,
    resident_after: Option<f64>,
    bytes_each: Option<f64>,
    failures: std::collections::BTreeMap<String, u64>,
    effort: Effort,
}

impl Scenario for Options {
    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let place = Place::of(&self.cluster, &mut stage.progress).await?;
        let most = self.levels.iter().copied().max().unwrap_or(1) as usize;
        let clients = Clients {
            count: most.max(WARM_UP),
            per_user: 1,
            scope: "",
            wire: Wire::Json,
            batch: false,
            topics: Vec::new(),
        };
        let Prepared { mut swarm, to, .. } = clients.prepare(&place, &run_name()).await?;
        let others = place.nodes.read().await?.map_or(0.0, |nodes| nodes.connections);
        stage.progress.part("warming up");
        swarm.connected(stage, WARM_UP, &to, Pace::Window, WAIT).await?;
        leave(&mut swarm, stage, &place, others).await?;
        let idle = place.nodes.read().await?.and_then(|nodes| nodes.resident_bytes);
        let mut levels = Vec::new();
        for clients in &self.levels {
            levels.push(self.level(*clients as usize, idle, &mut swarm, &to, &place, stage).await?);
        }
        ensure!(levels.iter().any(|level| level.connected > 0), "no client gets a connection: {levels:?}");
        drop(swarm);
        let floor = if self.no_floor {
            None
        } else {
            stage.progress.part("measuring what the machine alone needs for the same");
            Some(bare::connection(stage, most, self.pace()).await?)
        };
        Ok(self.summary(&levels, floor.as_ref()).outcome())
    }
}

/// Ends all connections, and waits until the nodes have noticed.
async fn leave(swarm: &mut Swarm, stage: &mut Stage, place: &Place, others: f64) -> Result<()> {
    swarm.closed(stage, false, WAIT).await?;
    place.nodes.until_left(others, WAIT).await
}

/// The nodes' memory once they have given back what they held for clients that have left: when it is close
/// to `idle`, or they have had their time.
async fn given_back(place: &Place, idle: Option<f64>) -> Result<Option<f64>> {
    let deadline = tokio::time::Instant::now() + GIVE_BACK_MAX;
    loop {
        let now = place.nodes.read().await?.and_then(|nodes| nodes.resident_bytes);
        let is_back = now.zip(idle).is_none_or(|(now, idle)| now < 1.05 * idle);
        if is_back || tokio::time::Instant::now() >= deadline {
            return Ok(now);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

impl Options {
    fn pace(&self) -> Pace {
        if self.burst { Pace::Burst } else { Pace::Window }
    }

    async fn level(
        &self,
        clients: usize,
        idle: Option<f64>,
        swarm: &mut Swarm,
        to: &[To],
        place: &Place,
        stage: &mut Stage,
    ) -> Result<Level> {
        stage.progress.part(&format!("connecting {clients} clients"));
        let ended = swarm.status().ended;
        let others = place.nodes.read().await?.map_or(0.0, |nodes| nodes.connections);
        let before = Mark::now(&place.nodes, swarm.helping()).await?;
        let begun = std::time::Instant::now();
        let status = swarm.connected(stage, clients, to, self.pace(), WAIT).await?;
        let seconds = begun.elapsed().as_secs_f64();
        let effort = Mark::now(&place.nodes, swarm.helping()).await?.since(&before);
        let Judged { connect, failures, .. } = swarm.judge(&[]).await?;
        tokio::time::sleep(self.hold).await;
        let held = place.nodes.read().await?.and_then(|nodes| nodes.resident_bytes);
        let ended = swarm.status().ended - ended;
        leave(swarm, stage, place, others).await?;
        let after = given_back(place, idle.filter(|_| clients >= CROWD_MIN)).await?;
        let each = |held: f64, idle: f64| (held - idle) / clients as f64;
        Ok(Level {
            clients,
            connected: status.ready,
            ended,
            seconds,
            connect: connect.percentiles(),
            cpu_us_each: effort.server_us_each(clients as u64),
            resident_idle: idle,
            resident_connected: held,
            resident_after: after,
            bytes_each: held.zip(idle).filter(|_| clients >= MEMORY_CLIENTS_MIN).map(|(h, i)| each(h, i)),
            failures,
            effort,
        })
    }

    fn summary(&self, levels: &[Level], floor: Option<&bare::Connection>) -> Summary {
        let how = if self.burst { "all at once" } else { "64 at a time" };
        let mut summary = Summary::new("connections", format!("{:?} clients, {how}", self.levels));
        let size = |size: Option<f64>| size.map_or_else(|| "not measured".to_owned(), bytes);
        for level in levels {
            let Level { clients, connected, seconds, connect, .. } = level;
            let rate = *connected as f64 / seconds.max(1e-6);
            summary.row(
                format!("{clients} clients"),
                format!("{connected} connected in {seconds:.2} s, {rate:.0} a second"),
            );
            summary.row("  each", connect.to_string());
            summary.row(
                "  nodes",
                format!(
                    "{} of a processor each; memory {} idle, {} with them, {} after them",
                    micros(level.cpu_us_each),
                    size(level.resident_idle),
                    size(level.resident_connected),
                    size(level.resident_after)
                ),
            );
            if let Some(each) = level.bytes_each {
                summary.row("  memory of each", bytes(each));
            }
            if !level.failures.is_empty() {
                summary.row("  failures", format!("{:?}", level.failures));
            }
        }
        let largest = levels.iter().max_by_key(|level| level.clients);
        if let (Some(floor), Some(largest)) = (floor, largest) {
            summary.row(
                format!("floor, {} connections", floor.connections),
                format!(
                    "{} each, the nodes need {}; {} of a processor each, the nodes need {}; p99 {}",
                    bytes(floor.bytes_each),
                    times(largest.bytes_each, Some(floor.bytes_each)),
                    micros(Some(floor.cpu_us_each)),
                    times(largest.cpu_us_each, Some(floor.cpu_us_each)),
                    time(floor.connect.p99_us)
                ),
            );
            summary.put("floor_connection", floor);
            summary.put("floor_memory_times", largest.bytes_each.map(|each| each / floor.bytes_each));
            summary.put("floor_cpu_times", largest.cpu_us_each.map(|each| each / floor.cpu_us_each));
        }
        if let Some(largest) = largest {
            largest.effort.tell(&mut summary);
        }
        let limit = if self.burst { self.p99_max * 10 } else { self.p99_max };
        let limit = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
        for level in levels {
            let Level { clients, connected, ended, connect, .. } = level;
            summary.check(Check::all(&format!("{clients}: connected"), *connected as u64, *clients as u64));
            summary.check(Check::none(&format!("{clients}: connections that ended"), *ended as u64));
            summary.check(Check::p99(&format!("{clients}: 99% connected within"), connect, limit));
        }
        let each = largest.and_then(|level| level.bytes_each);
        summary.check(Check::at_most(
            "memory of the nodes for each connection",
            each,
            f64::from(self.memory_max) * 1024.0,
            bytes,
        ));
        summary.put("settings", json!({"levels": self.levels, "burst": self.burst}));
        summary.put("levels", levels);
        summary
    }
}
