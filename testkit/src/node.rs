//! One node: the server's real binary in a process of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitStatus},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{http, ports, process::Process, service::Service, token};

/// How long it may take until it is ready; migrations included.
const START_WAIT: Duration = Duration::from_secs(60);

/// How long it may take to drain and leave when it is asked to stop.
const DRAIN_WAIT: Duration = Duration::from_secs(60);

/// How to start a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The server (`env!("CARGO_BIN_EXE_draftwire")`).
    pub binary: PathBuf,
    /// `NODE_NAME`.
    pub name: String,
    /// `DATABASE_URL`; without, the node runs embedded on a SQLite file of its own.
    pub database_url: Option<String>,
    /// `REDIS_URL`; without, the bus is in the process.
    pub redis_url: Option<String>,
    /// Further settings, as environment variables; they win over those above.
    pub env: Vec<(String, String)>,
}

impl NodeOptions {
    /// An embedded node.
    pub fn embedded(binary: impl AsRef<Path>) -> Self {
        Self {
            binary: binary.as_ref().to_owned(),
            name: "node".to_owned(),
            database_url: None,
            redis_url: None,
            env: Vec::new(),
        }
    }

    /// With a setting.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running node. Dropping it kills it.
#[derive(Debug)]
pub struct Node {
    options: NodeOptions,
    port: u16,
    metrics_port: u16,
    // Before the folder: fields are dropped in this order.
    process: Process,
    dir: TempDir,
}

impl Node {
    /// Starts a node on free ports and waits until it is ready.
    ///
    /// # Errors
    /// When it exits or does not become ready; with the end of its log.
    pub async fn start(options: NodeOptions) -> Result<Self> {
        let mut node = Self::spawn(options)?;
        node.wait_ready().await?;
        Ok(node)
    }

    /// Starts a node without waiting: for tests of starting itself.
    ///
    /// # Errors
    /// When the binary cannot be run.
    pub fn spawn(options: NodeOptions) -> Result<Self> {
        let (port, metrics_port) = (ports::free()?, ports::free()?);
        let dir = TempDir::with_prefix("node-")?;
        let process = Self::run(&options, port, metrics_port, dir.path())?;
        Ok(Self { options, port, metrics_port, process, dir })
    }

    /// `NODE_NAME`.
    pub fn name(&self) -> &str {
        &self.options.name
    }

    /// The port of 127.0.0.1 that clients connect to.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where WebSockets are opened.
    pub fn ws_url(&self) -> String {
        format!("ws://127.0.0.1:{}/ws/realtime", self.port)
    }

    /// The address of a path on its HTTP API.
    pub fn http_url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Waits until `/readyz` answers 200.
    ///
    /// # Errors
    /// When it exits before, or the time is over; with the end of its log.
    pub(crate) async fn wait_ready(&mut self) -> Result<()> {
        let url = self.http_url("/readyz");
        self.process
            .wait_ready(START_WAIT, || async {
                let answer = http::get(&url).await?;
                ensure!(answer.status == 200, "{} from {url}: {}", answer.status, answer.text);
                Ok(())
            })
            .await
    }

    /// Where its metrics are.
    pub fn metrics_url(&self) -> String {
        format!("http://127.0.0.1:{}/metrics", self.metrics_port)
    }

    /// The port of 127.0.0.1 that they are on.
    pub(crate) fn metrics_port(&self) -> u16 {
        self.metrics_port
    }

    /// The text of `/metrics`.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn metrics(&self) -> Result<String> {
        Ok(http::get(&self.metrics_url()).await?.text)
    }

    /// The sum of a metric's series that carry these labels. Zero when there is none: a counter
    /// appears with its first count.
    ///
    /// # Errors
    /// When the node does not answer.
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        Ok(metric_sum(&self.metrics().await?, name, labels))
    }

    /// Memory in use (resident set), bytes.
    ///
    /// # Errors
    /// When it no longer runs.
    pub fn rss_bytes(&self) -> Result<u64> {
        self.process.rss_bytes()
    }

    /// Asks it to drain and stop (SIGTERM).
    pub fn terminate(&self) {
        self.process.terminate();
    }

    /// Asks it to read again what it can (SIGHUP).
    pub fn hang_up(&self) {
        self.process.signal(Signal::HUP);
    }

    /// Waits until it has exited by itself.
    ///
    /// # Errors
    /// When it still runs after `deadline`; with the end of its log.
    pub async fn wait_exit(&mut self, deadline: Duration) -> Result<ExitStatus> {
        self.process.wait_exit(deadline).await
    }

    /// All that it has logged, over restarts.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> Result<String> {
        self.process.log()
    }

    fn run(options: &NodeOptions, port: u16, metrics_port: u16, dir: &Path) -> Result<Process> {
        let mut command = Command::new(&options.binary);
        command
            .arg("serve")
            .current_dir(dir)
            // A setting in the developer's shell is none of the test's.
            .env_clear()
            .env("NODE_NAME", &options.name)
            .env("JWT_SECRET", token::SECRET)
            .env("LISTEN_ADDR", format!("127.0.0.1:{port}"))
            .env("METRICS_ADDR", format!("127.0.0.1:{metrics_port}"))
            .env("LOG_LEVEL", "info");
        match &options.database_url {
            Some(url) => command.env("DATABASE_URL", url),
            None => command.env("DATA_DIR", dir.join("data")),
        };
        if let Some(url) = &options.redis_url {
            command.env("REDIS_URL", url);
        }
        command.envs(options.env.iter().map(|(name, value)| (name, value)));
        Process::start(&options.name, command, &dir.join("log")).context("start a node")
    }
}

impl Service for Node {
    /// It drains.
    const STOP_SIGNAL: Signal = Signal::TERM;
    const STOP_WAIT: Duration = DRAIN_WAIT;

    fn process(&self) -> Option<&Process> {
        Some(&self.process)
    }

    fn process_mut(&mut self) -> Option<&mut Process> {
        Some(&mut self.process)
    }

    /// One that still runs is killed first.
    async fn start_again(&mut self) -> Result<()> {
        self.process.kill9();
        self.process = Self::run(&self.options, self.port, self.metrics_port, self.dir.path())?;
        self.wait_ready().await
    }
}

/// The sum of a metric's series that carry these labels, in the Prometheus text format:
/// `name{label="value",…} number`. Zero when there is none.
pub fn metric_sum(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let wanted: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{value}\"")).collect();
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (series, number) = rest.rsplit_once(' ')?;
            let inside = match series {
                "" => "",
                series => series.strip_prefix('{')?.strip_suffix('}')?,
            };
            let has = |label: &String| inside.split(',').any(|part| part == label);
            wanted.iter().all(has).then(|| number.parse::<f64>().ok())?
        })
        .fold(0.0, |sum, number| sum + number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_label() {
        let text = "# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"1\"} 4\na{x=\"2\"} 5\nab 6\nb 7.5\n";
        assert_eq!(metric_sum(text, "a", &[]), 12.0);
        assert_eq!(metric_sum(text, "a", &[("x", "1")]), 7.0);
        assert_eq!(metric_sum(text, "a", &[("x", "1"), ("y", "2")]), 3.0);
        assert_eq!(metric_sum(text, "b", &[]), 7.5);
        assert_eq!(metric_sum(text, "c", &[]), 0.0);
    }
}
