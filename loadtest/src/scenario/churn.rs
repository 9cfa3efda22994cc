//! `churn`: the same clients come and go. Memory that grows with every cycle is never given back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{
    Scenario,
    clients::{Clients, Prepared, run_name},
};
use crate::{
    cluster::{ClusterArgs, Place, nodes::Reading},
    measure::{
        stats,
        summary::{Check, Outcome, Summary, bytes},
    },
    run::{Stage, arguments},
    swarm::{
        Pace, Swarm,
        orders::{To, Wire},
    },
};

/// How long clients may take to connect, or to leave.
const WAIT: Duration = Duration::from_secs(120);

/// Cycles before those that count: allocators and pools grow to their size.
const WARM_UP: u32 = 3;

/// Growth of less than this in all counted cycles is the allocator's, whatever it is for each connection.
const NOISE_BYTES: f64 = 1_048_576.0;

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How often they come and go, after three cycles that do not count.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(3..=10_000))]
    cycles: u32,
    /// How many come and go.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    connections: u32,
    /// How long they stay, and stay away.
    #[arg(long, default_value = "200ms", value_parser = arguments::duration)]
    hold: Duration,
    /// They leave without a word.
    #[arg(long)]
    abrupt: bool,
    /// The threshold of growth, in bytes for each connection that was made. Growth below 1 MiB in all is
    /// never counted as growth.
    #[arg(long, value_name = "BYTES", default_value_t = 512)]
    growth_max: u32,
}

/// The nodes after one cycle.
#[derive(Debug, Clone, Serialize)]
struct Cycle {
    connected: usize,
    resident_bytes: f64,
    open_files: Option<f64>,
    connections: f64,
}

impl Scenario for Options {
    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let place = Place::of(&self.cluster, &mut stage.progress).await?;
        ensure!(
            place.nodes.are_known(),
            "give --metrics of the nodes, or --start: memory is what is measured"
        );
        let clients = Clients {
            count: self.connections as usize,
            per_user: 1,
            scope: "subscribe:*",
            wire: Wire::Json,
            batch: false,
            // Of a topic that all follow; what comes and goes is the connections.
            topics: vec![run_name()],
        };
        let Prepared { mut swarm, to, .. } = clients.prepare(&place, &run_name()).await?;
        let mut cycles = Vec::new();
        let before = place.nodes.read().await?.context("the nodes say nothing of themselves")?;
        for number in 1..=self.cycles + WARM_UP {
            stage.progress.show(|| format!("cycle {number} of {}", self.cycles + WARM_UP));
            let cycle = self.cycle(&mut swarm, &to, &place, before.connections, stage).await?;
            if number > WARM_UP {
                cycles.push(cycle);
            }
        }
        Ok(self.summary(&before, &cycles).outcome())
    }
}

impl Options {
    async fn cycle(
        &self,
        swarm: &mut Swarm,
        to: &[To],
        place: &Place,
        others: f64,
        stage: &mut Stage,
    ) -> Result<Cycle> {
        let count = self.connections as usize;
        let status = swarm.connected(stage, count, to, Pace::Window, WAIT).await?;
        tokio::time::sleep(self.hold).await;
        swarm.closed(stage, self.abrupt, WAIT).await?;
        place.nodes.until_left(others, WAIT).await?;
        tokio::time::sleep(self.hold).await;
        let nodes = place.nodes.read().await?.context("the nodes say nothing of themselves")?;
        Ok(Cycle {
            connected: status.ready,
            resident_bytes: nodes.resident_bytes.context("the nodes do not say what memory they use")?,
            open_files: nodes.open_files,
            connections: (nodes.connections - others).max(0.0),
        })
    }

    fn summary(&self, before: &Reading, cycles: &[Cycle]) -> Summary {
        let heading = format!("{} cycles of {} connections", self.cycles, self.connections);
        let mut summary = Summary::new("churn", heading);
        let memory: Vec<f64> = cycles.iter().map(|cycle| cycle.resident_bytes).collect();
        for (number, cycle) in cycles.iter().enumerate() {
            summary.row(
                format!("after cycle {}", number + 1),
                format!(
                    "{} in memory, {} files, {} connections",
                    bytes(cycle.resident_bytes),
                    cycle.open_files.map_or_else(|| "?".to_owned(), |files| format!("{files:.0}")),
                    cycle.connections
                ),
            );
        }
        let growth = Growth::of(&memory, self.connections);
        summary.row(
            "grows by",
            format!("{} a cycle, {} in all", bytes(growth.each_cycle), bytes(growth.in_all)),
        );
        let connected: usize = cycles.iter().map(|cycle| cycle.connected).sum();
        let wanted = u64::from(self.cycles) * u64::from(self.connections);
        summary.check(Check::all("connected", connected as u64, wanted));
        summary.check(Check::at_most(
            "memory that stays for each connection",
            Some(growth.charged()),
            f64::from(self.growth_max),
            bytes,
        ));
        let files = cycles.last().and_then(|cycle| cycle.open_files).zip(before.open_files);
        // Pools open a few connections of their own, as they are needed.
        let limit = 20.0 + f64::from(self.connections) * 0.1;
        summary.check(Check::at_most(
            "files that stay open",
            files.map(|(last, first)| last - first),
            limit,
            |files| format!("{files:.0}"),
        ));
        let stayed = cycles.iter().filter(|cycle| cycle.connections > 0.0).count();
        summary.check(Check::none("cycles after which connections were left", stayed as u64));
        summary.put("settings", json!({"cycles": self.cycles, "connections": self.connections}));
        summary.put("cycles", cycles);
        summary.put("growth", growth);
        summary
    }
}

/// How memory grows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Growth {
    /// By the slope that half of all pairs of cycles are above: one cycle in which an allocator takes
    /// memory for good is not growth.
    each_cycle: f64,
    each_connection: f64,
    in_all: f64,
}

impl Growth {
    fn of(memory: &[f64], connections: u32) -> Self {
        let each_cycle = stats::slope(memory);
        let in_all = each_cycle * memory.len().saturating_sub(1) as f64;
        Self { each_cycle, each_connection: each_cycle / f64::from(connections.max(1)), in_all }
    }

    /// The growth that is compared with the threshold.
    fn charged(&self) -> f64 {
        if self.in_all < NOISE_BYTES { 0.0 } else { self.each_connection }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_told_from_noise() {
        let cycles = |leak: f64| -> Vec<f64> {
            (0..12).map(|n| 5e7 + leak * f64::from(n) + f64::from(n * 7919 % 13) * 20_000.0).collect()
        };
        assert_eq!(Growth::of(&cycles(0.0), 100).charged(), 0.0);
        let leak = Growth::of(&cycles(200_000.0), 100).charged();
        assert!((1_500.0..2_500.0).contains(&leak), "{leak}");
        // One step for good.
        let mut step = cycles(0.0);
        step[6..].iter_mut().for_each(|bytes| *bytes += 4e6);
        assert!(Growth::of(&step, 100).in_all < 8e6);
    }
}
