//! What a stretch of the run cost: the nodes, what they share, and the load generator itself, whose being
//! busy must not be taken for the server's being slow.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::{
    cluster::nodes::{Nodes, Reading},
    measure::{
        clock,
        summary::{Summary, micros},
    },
};

/// From here on, threads wait for processors, and every latency is that of the queue.
const FULL: f64 = 0.9;

/// What was used up to one moment.
#[derive(Debug)]
pub(crate) struct Mark {
    nodes: Option<Reading>,
    generator: f64,
    helping: Helping,
    at: Instant,
}

/// Processor time for each of many things, microseconds; `None` where it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Costs {
    pub(crate) nodes_us: Option<f64>,
    pub(crate) redis_us: Option<f64>,
    pub(crate) postgres_us: Option<f64>,
    /// Nodes and Redis: what carries events.
    pub(crate) with_bus_us: Option<f64>,
    /// Nodes, Redis and Postgres.
    pub(crate) all_us: Option<f64>,
}

/// What was used between two moments.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Effort {
    pub(crate) seconds: f64,
    /// All nodes together; `None` when they do not say.
    pub(crate) server_cpu_seconds: Option<f64>,
    /// Of Redis, and of Postgres; `None` unless they were started for the run.
    pub(crate) redis_cpu_seconds: Option<f64>,
    pub(crate) postgres_cpu_seconds: Option<f64>,
    /// This process and its helpers.
    pub(crate) generator_cpu_seconds: f64,
    /// The helpers' part of it.
    pub(crate) helper_cpu_seconds: f64,
    /// Threads that the generator can keep busy; several in the process that publishes, one in each helper.
    pub(crate) helpers: usize,
    pub(crate) processors: usize,
    pub(crate) nodes: Option<Reading>,
}

/// What helper processes have used so far, and how many there are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Helping {
    pub(crate) cpu_seconds: f64,
    pub(crate) helpers: usize,
}

impl Mark {
    /// Now.
    pub(crate) async fn now(nodes: &Nodes, helping: Helping) -> Result<Self> {
        let nodes = nodes.read().await?;
        let generator = clock::cpu_seconds() + helping.cpu_seconds;
        Ok(Self { nodes, generator, helping, at: Instant::now() })
    }

    /// What was used since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> Effort {
        let nodes = self.nodes.zip(earlier.nodes).map(|(now, then)| now.since(&then));
        Effort {
            seconds: self
                .at
                .saturating_duration_since(earlier.at)
                .max(Duration::from_millis(1))
                .as_secs_f64(),
            server_cpu_seconds: nodes.and_then(|nodes| nodes.cpu_seconds),
            redis_cpu_seconds: nodes.and_then(|nodes| nodes.redis_cpu_seconds),
            postgres_cpu_seconds: nodes.and_then(|nodes| nodes.postgres_cpu_seconds),
            generator_cpu_seconds: self.generator - earlier.generator,
            helper_cpu_seconds: self.helping.cpu_seconds - earlier.helping.cpu_seconds,
            helpers: self.helping.helpers,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            nodes,
        }
    }
}

impl Effort {
    /// Processor time of the nodes for each of `count` things, microseconds.
    pub(crate) fn server_us_each(&self, count: u64) -> Option<f64> {
        us_each(self.server_cpu_seconds, count)
    }

    /// Processor time for each of `count` things, part by part.
    pub(crate) fn costs(&self, count: u64) -> Costs {
        let nodes_us = us_each(self.server_cpu_seconds, count);
        let redis_us = us_each(self.redis_cpu_seconds, count);
        let postgres_us = us_each(self.postgres_cpu_seconds, count);
        let with_bus_us = plus(nodes_us, redis_us);
        Costs { nodes_us, redis_us, postgres_us, with_bus_us, all_us: plus(with_bus_us, postgres_us) }
    }

    /// What the cluster has used, as far as that is known.
    fn cluster_cpu_seconds(&self) -> f64 {
        [self.server_cpu_seconds, self.redis_cpu_seconds, self.postgres_cpu_seconds]
            .into_iter()
            .flatten()
            .sum()
    }

    /// Why latencies may be those of the generator or of a full machine. It may be on another machine
    /// than the nodes: then only the first can be seen.
    pub(crate) fn doubts(&self) -> Option<String> {
        let generator = self.generator_cpu_seconds / self.seconds;
        let all = generator + self.cluster_cpu_seconds() / self.seconds;
        let processors = self.processors as f64;
        // Each helper is one thread: it has no rest before the process that publishes has none.
        let helping = self.helper_cpu_seconds / self.seconds;
        let helpers_full = self.helpers > 0 && helping > FULL * self.helpers as f64;
        if helpers_full || generator > FULL * processors.min(self.helpers as f64 + 1.0) {
            return Some("the load generator was busy all the time: latencies are its own, too".to_owned());
        }
        (all > FULL * processors).then(|| {
            "generator and cluster together needed as much as this machine has: if the nodes are on it, \
             latencies are those of waiting for a processor"
                .to_owned()
        })
    }

    /// Processors in use, on average.
    pub(crate) fn in_use(&self) -> String {
        let share = |seconds: f64| format!("{:.2}", seconds / self.seconds);
        let server = self.server_cpu_seconds.map_or_else(|| "not measured".to_owned(), share);
        let services = self.redis_cpu_seconds.zip(self.postgres_cpu_seconds);
        let services = services.map_or_else(String::new, |(redis, postgres)| {
            format!("Redis {}, Postgres {}, ", share(redis), share(postgres))
        });
        format!(
            "nodes {server}, {services}load generator {} ({} helpers), of {} here",
            share(self.generator_cpu_seconds),
            self.helpers,
            self.processors
        )
    }

    /// Tells it.
    pub(crate) fn tell(&self, summary: &mut Summary) {
        summary.row("processors in use", self.in_use());
        if let Some(doubts) = self.doubts() {
            summary.note(doubts);
        }
        summary.put("effort", self);
    }
}

impl Costs {
    /// As a row of a table.
    pub(crate) fn text(&self) -> String {
        let Self { nodes_us, redis_us, postgres_us, all_us, .. } = *self;
        match all_us {
            Some(_) => format!(
                "nodes {}, Redis {}, Postgres {}, together {}",
                micros(nodes_us),
                micros(redis_us),
                micros(postgres_us),
                micros(all_us)
            ),
            None => format!("nodes {}", micros(nodes_us)),
        }
    }
}

fn us_each(seconds: Option<f64>, count: u64) -> Option<f64> {
    seconds.filter(|_| count > 0).map(|seconds| seconds * 1e6 / count as f64)
}

fn plus(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? + other?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(server: f64, generator: f64, helpers: usize) -> Effort {
        Effort {
            seconds: 10.0,
            server_cpu_seconds: Some(server),
            redis_cpu_seconds: None,
            postgres_cpu_seconds: None,
            generator_cpu_seconds: generator,
            helper_cpu_seconds: 0.0,
            helpers,
            processors: 4,
            nodes: None,
        }
    }

    #[test]
    fn a_generator_without_rest_is_not_taken_for_the_server() {
        assert_eq!(effort(10.0, 5.0, 1).doubts(), None);
        assert!(effort(1.0, 19.0, 1).doubts().is_some_and(|doubts| doubts.contains("its own")));
        assert!(effort(30.0, 8.0, 3).doubts().is_some_and(|doubts| doubts.contains("waiting")));
        let busy = Effort { helper_cpu_seconds: 9.5, ..effort(1.0, 10.0, 1) };
        assert!(busy.doubts().is_some_and(|doubts| doubts.contains("its own")), "one thread has no more");
        assert_eq!(effort(4.0, 1.0, 1).server_us_each(1000), Some(4000.0));
        assert_eq!(effort(4.0, 1.0, 1).server_us_each(0), None);
    }

    #[test]
    fn what_nodes_share_is_counted_where_it_is_known() {
        let mut effort = effort(20.0, 8.0, 3);
        assert_eq!(effort.costs(1000).text(), "nodes 20000.00 µs");
        effort.redis_cpu_seconds = Some(2.0);
        assert_eq!(effort.costs(1000).with_bus_us, Some(22_000.0));
        assert_eq!(effort.costs(1000).all_us, None, "Postgres is not known");
        assert_eq!(effort.doubts(), None);
        effort.postgres_cpu_seconds = Some(8.0);
        assert_eq!(effort.costs(1000).all_us, Some(30_000.0));
        assert!(effort.doubts().is_some_and(|doubts| doubts.contains("waiting")));
    }
}
