//! What the nodes say of themselves: their metrics; and what the services behind them use, of a cluster
//! that was started here.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use testkit::{Cluster, Node, Service, http, node::metric_sum, process, wait};

/// The nodes whose metrics can be read; none when nobody has said where they are.
#[derive(Debug, Clone)]
pub(crate) struct Nodes {
    urls: Vec<String>,
    services: Services,
}

/// The process ids of what the nodes share, when it was started here.
#[derive(Debug, Clone, Copy, Default)]
struct Services {
    redis: Option<u32>,
    postgres: Option<u32>,
}

/// All nodes together at one moment. What none of them names is `None`: an older server, or another
/// operating system.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Reading {
    pub(crate) cpu_seconds: Option<f64>,
    /// Of Redis, and of Postgres with its backends; `None` unless they were started here, and run as they
    /// did then.
    pub(crate) redis_cpu_seconds: Option<f64>,
    pub(crate) postgres_cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<f64>,
    pub(crate) open_files: Option<f64>,
    pub(crate) connections: f64,
    /// Transactions that committed, and how long they took, all together.
    pub(crate) commits: f64,
    pub(crate) commit_seconds: f64,
    /// Writes that wait for their commit, and calls that wait for a connection to the database.
    pub(crate) write_queue: f64,
    pub(crate) pool_waiting: f64,
    pub(crate) head_queries: f64,
    pub(crate) read_queries: f64,
}

impl Nodes {
    /// `http://host:port`, with or without `/metrics`.
    pub(crate) fn new(urls: Vec<String>) -> Self {
        let urls = urls
            .into_iter()
            .map(|url| {
                let base = url.trim_end_matches('/');
                if base.ends_with("/metrics") { base.to_owned() } else { format!("{base}/metrics") }
            })
            .collect();
        Self { urls, services: Services::default() }
    }

    /// Those of a cluster that was started here.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let services = Services { redis: cluster.redis.pid(), postgres: cluster.postgres.pid() };
        Self { services, ..Self::new(cluster.nodes.iter().map(Node::metrics_url).collect()) }
    }

    /// Without the node at a position.
    pub(crate) fn without(&self, node: usize) -> Self {
        let mut urls = self.urls.clone();
        if node < urls.len() {
            urls.remove(node);
        }
        Self { urls, services: self.services }
    }

    /// Whether there is anything to read.
    pub(crate) fn are_known(&self) -> bool {
        !self.urls.is_empty()
    }

    /// Reads them all. `None` when nobody has said where they are.
    pub(crate) async fn read(&self) -> Result<Option<Reading>> {
        let mut all: Option<Reading> = None;
        for url in &self.urls {
            let answer = http::get(url).await.with_context(|| format!("read the metrics of {url}"))?;
            ensure!(answer.status == 200, "{url} answers {}", answer.status);
            let reading = reading(&answer.text);
            all = Some(all.map_or(reading, |all| all.plus(&reading)));
        }
        if let Some(all) = &mut all {
            let used = |pid: Option<u32>| process::cpu_seconds(pid?).ok();
            all.redis_cpu_seconds = used(self.services.redis);
            all.postgres_cpu_seconds = used(self.services.postgres);
        }
        Ok(all)
    }

    /// Waits until the nodes have no more than `most` connections, at most for `deadline`: what is left
    /// then is to be judged.
    pub(crate) async fn until_left(&self, most: f64, deadline: Duration) -> Result<()> {
        let left = wait::poll(deadline, async || match self.read().await {
            Ok(Some(reading)) if reading.connections > most => Err(None),
            Ok(_) => Ok(()),
            Err(error) => Err(Some(error)),
        });
        match left.await {
            Err(Some(error)) => Err(error),
            Err(None) | Ok(()) => Ok(()),
        }
    }
}

fn reading(text: &str) -> Reading {
    let sum = |name: &str| metric_sum(text, name, &[]);
    // A gauge of the process is never zero.
    let known = |name: &str| Some(sum(name)).filter(|value| *value > 0.0);
    Reading {
        cpu_seconds: known("process_cpu_seconds_total"),
        redis_cpu_seconds: None,
        postgres_cpu_seconds: None,
        resident_bytes: known("process_resident_memory_bytes"),
        open_files: known("process_open_fds"),
        connections: sum("draftwire_connections"),
        commits: sum("draftwire_commit_seconds_count"),
        commit_seconds: sum("draftwire_commit_seconds_sum"),
        write_queue: sum("draftwire_write_queue_depth"),
        pool_waiting: sum("draftwire_store_pool_waiting"),
        head_queries: sum("draftwire_log_head_queries_total"),
        read_queries: sum("draftwire_log_read_queries_total"),
    }
}

impl Reading {
    fn plus(&self, other: &Self) -> Self {
        self.with(other, |a, b| a + b)
    }

    /// What was added since an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        self.with(earlier, |a, b| a - b)
    }

    fn with(&self, other: &Self, f: impl Fn(f64, f64) -> f64) -> Self {
        let both = |a: Option<f64>, b: Option<f64>| Some(f(a?, b?));
        Self {
            cpu_seconds: both(self.cpu_seconds, other.cpu_seconds),
            redis_cpu_seconds: both(self.redis_cpu_seconds, other.redis_cpu_seconds),
            postgres_cpu_seconds: both(self.postgres_cpu_seconds, other.postgres_cpu_seconds),
            resident_bytes: both(self.resident_bytes, other.resident_bytes),
            open_files: both(self.open_files, other.open_files),
            connections: f(self.connections, other.connections),
            commits: f(self.commits, other.commits),
            commit_seconds: f(self.commit_seconds, other.commit_seconds),
            write_queue: f(self.write_queue, other.write_queue),
            pool_waiting: f(self.pool_waiting, other.pool_waiting),
            head_queries: f(self.head_queries, other.head_queries),
            read_queries: f(self.read_queries, other.read_queries),
        }
    }

    /// Queries of the log.
    pub(crate) fn queries(&self) -> f64 {
        self.head_queries + self.read_queries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_summed_and_readings_compared() {
        let one = reading("process_cpu_seconds_total 1.5\ndraftwire_connections 3\nprocess_open_fds 9\n");
        let other = reading("process_cpu_seconds_total 0.5\ndraftwire_log_head_queries_total 4\n");
        let both = one.plus(&other);
        assert_eq!(both.cpu_seconds, Some(2.0));
        assert_eq!(both.open_files, None, "one of them does not say");
        assert_eq!((both.connections, both.queries()), (3.0, 4.0));
        assert_eq!(both.since(&one).cpu_seconds, Some(0.5));
    }

    #[test]
    fn the_path_may_be_left_out() {
        let nodes = Nodes::new(vec!["http://a:1".to_owned(), "http://b:2/metrics/".to_owned()]);
        assert_eq!(nodes.urls, ["http://a:1/metrics", "http://b:2/metrics"]);
        assert_eq!(nodes.without(0).urls, ["http://b:2/metrics"]);
        assert!(!nodes.without(0).without(0).are_known());
    }
}
