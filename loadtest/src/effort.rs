//! What a stretch of the run cost: the nodes, and the load generator itself, whose being busy must not be
//! taken for the server's being slow.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use crate::{
    clock,
    nodes::{Nodes, Reading},
    outcome::Summary,
    swarm::Swarm,
};

/// From here on, threads wait for processors, and every latency is that of the queue.
const FULL: f64 = 0.9;

/// What was used up to one moment.
#[derive(Debug)]
pub(crate) struct Mark {
    nodes: Option<Reading>,
    generator: f64,
    helpers: usize,
    at: Instant,
}

/// What was used between two moments.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Effort {
    pub(crate) seconds: f64,
    /// All nodes together; `None` when they do not say.
    pub(crate) server_cpu_seconds: Option<f64>,
    /// This process and its helpers.
    pub(crate) generator_cpu_seconds: f64,
    /// Threads that the generator can keep busy; several in the process that publishes, one in each helper.
    pub(crate) helpers: usize,
    pub(crate) processors: usize,
    pub(crate) nodes: Option<Reading>,
}

impl Mark {
    /// Now.
    ///
    /// # Errors
    /// When a node does not answer.
    pub(crate) async fn now(nodes: &Nodes, swarm: Option<&Swarm>) -> Result<Self> {
        let nodes = nodes.read().await?;
        let helpers = swarm.map_or(0.0, |swarm| swarm.status().cpu_seconds);
        let generator = clock::cpu_seconds() + helpers;
        Ok(Self { nodes, generator, helpers: swarm.map_or(0, Swarm::helpers), at: Instant::now() })
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
            generator_cpu_seconds: self.generator - earlier.generator,
            helpers: self.helpers,
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            nodes,
        }
    }
}

impl Effort {
    /// Processor time of the nodes for each of so many things, microseconds.
    pub(crate) fn server_us_each(&self, count: u64) -> Option<f64> {
        self.server_cpu_seconds.filter(|_| count > 0).map(|seconds| seconds * 1e6 / count as f64)
    }

    /// Why latencies may be those of the generator or of a full machine. It may be on another machine
    /// than the nodes: then only the first can be seen.
    fn doubts(&self) -> Option<String> {
        let generator = self.generator_cpu_seconds / self.seconds;
        let all = generator + self.server_cpu_seconds.unwrap_or_default() / self.seconds;
        let processors = self.processors as f64;
        if generator > FULL * processors.min(self.helpers as f64 + 1.0) {
            return Some("the load generator was busy all the time: latencies are its own, too".to_owned());
        }
        (all > FULL * processors).then(|| {
            "generator and nodes together needed as much as this machine has: if the nodes are on it, \
             latencies are those of waiting for a processor"
                .to_owned()
        })
    }

    /// Tells it.
    pub(crate) fn tell(&self, summary: &mut Summary) {
        let share = |seconds: f64| format!("{:.2}", seconds / self.seconds);
        let server = self.server_cpu_seconds.map_or_else(|| "not measured".to_owned(), share);
        summary.row(
            "processors in use",
            format!(
                "nodes {server}, load generator {} ({} helpers), of {} here",
                share(self.generator_cpu_seconds),
                self.helpers,
                self.processors
            ),
        );
        if let Some(doubts) = self.doubts() {
            summary.note(doubts);
        }
        summary.put("effort", self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effort(server: f64, generator: f64, helpers: usize) -> Effort {
        Effort {
            seconds: 10.0,
            server_cpu_seconds: Some(server),
            generator_cpu_seconds: generator,
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
        assert_eq!(effort(4.0, 1.0, 1).server_us_each(1000), Some(4000.0));
        assert_eq!(effort(4.0, 1.0, 1).server_us_each(0), None);
    }
}
