//! Nodes with all they need.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};

use crate::{
    Device, DeviceOptions, Nginx, Node, NodeOptions, Postgres, Redis, device::drafts_of, http, wait,
};

/// How to start a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    binary: PathBuf,
    nodes: usize,
    nginx: bool,
    env: Vec<(String, String)>,
    postgres: Vec<(String, String)>,
}

impl ClusterOptions {
    /// Nodes run `binary` (`env!("CARGO_BIN_EXE_draftwire")`).
    pub fn new(binary: impl AsRef<Path>) -> Self {
        Self {
            binary: binary.as_ref().to_owned(),
            nodes: 2,
            nginx: false,
            env: Vec::new(),
            postgres: Vec::new(),
        }
    }

    /// How many nodes; two otherwise.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// With Nginx in front of them.
    #[must_use]
    pub fn nginx(mut self) -> Self {
        self.nginx = true;
        self
    }

    /// With a setting of all nodes.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a setting of Postgres (`postgresql.conf`).
    #[must_use]
    pub fn postgres(mut self, name: &str, value: &str) -> Self {
        self.postgres.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts everything and waits until every node is ready.
    ///
    /// # Errors
    /// When a part does not start; with the end of its log.
    pub async fn start(self) -> Result<Cluster> {
        let settings: Vec<(&str, &str)> =
            self.postgres.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let (postgres, redis) = tokio::try_join!(Postgres::start_with(&settings), Redis::start())?;
        let database_url = postgres.create_database().await?;
        let mut nodes = Vec::new();
        for number in 1..=self.nodes {
            nodes.push(Node::spawn(self.node(number, &database_url, &redis))?);
        }
        for node in &mut nodes {
            node.wait_ready().await?;
        }
        let ports: Vec<u16> = nodes.iter().map(Node::port).collect();
        let nginx = if self.nginx { Some(Nginx::start(&ports).await?) } else { None };
        Ok(Cluster { nginx, nodes, redis, postgres, database_url, options: self })
    }

    fn node(&self, number: usize, database_url: &str, redis: &Redis) -> NodeOptions {
        NodeOptions {
            binary: self.binary.clone(),
            name: format!("node{number}"),
            database_url: Some(database_url.to_owned()),
            redis_url: Some(redis.url()),
            env: self.env.clone(),
        }
    }
}

/// A running cluster. Dropping it ends all of it.
#[derive(Debug)]
pub struct Cluster {
    /// In front of the nodes, when asked for.
    pub nginx: Option<Nginx>,
    /// `node1` and so on.
    pub nodes: Vec<Node>,
    /// The bus.
    pub redis: Redis,
    /// The store.
    pub postgres: Postgres,
    /// The nodes' database.
    pub database_url: String,
    options: ClusterOptions,
}

impl Cluster {
    /// Starts `nodes` nodes, without Nginx.
    ///
    /// # Errors
    /// As [`ClusterOptions::start`].
    pub async fn start(binary: impl AsRef<Path>, nodes: usize) -> Result<Self> {
        ClusterOptions::new(binary).nodes(nodes).start().await
    }

    /// Starts a further node, with settings of its own on top of those of all. Nginx does not know it.
    ///
    /// # Errors
    /// As [`ClusterOptions::start`].
    pub async fn add_node(&mut self, env: &[(&str, &str)]) -> Result<()> {
        let mut options = self.options.node(self.nodes.len() + 1, &self.database_url, &self.redis);
        options.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        self.nodes.push(Node::start(options).await?);
        Ok(())
    }

    /// Where devices connect that begin at node `first` (from zero) and go on to the others in turn.
    pub fn ws_urls(&self, first: usize) -> Vec<String> {
        let mut urls: Vec<String> = self.nodes.iter().map(Node::ws_url).collect();
        let count = urls.len();
        urls.rotate_left(first % count);
        urls
    }

    /// Where HTTP requests go that take the nodes in turn, beginning at node `first` (from zero).
    pub fn http_urls(&self, first: usize) -> Vec<String> {
        let mut urls: Vec<String> = self.nodes.iter().map(|node| node.http_url("")).collect();
        let count = urls.len();
        urls.rotate_left(first % count);
        urls
    }

    /// The sum of a metric over all nodes that answer; see [`Node::metric`].
    pub async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut sum = 0.0;
        for node in &self.nodes {
            sum += node.metric(name, labels).await.unwrap_or(0.0);
        }
        sum
    }

    /// Options of a device that begins at node `first` (from zero) and goes on to the others in turn.
    pub fn device_options(&self, user: &str, device: &str, first: usize) -> DeviceOptions {
        DeviceOptions::new(self.ws_urls(first), user, device)
    }

    /// A connected device that begins at node `first` (from zero) and goes on to the others in turn.
    ///
    /// # Panics
    /// When it does not get a connection.
    pub async fn device(&self, user: &str, device: &str, first: usize) -> Device {
        Device::connect(self.device_options(user, device, first)).await
    }

    /// Waits until these devices, all of them of one user, have what the store has; then checks that
    /// nothing was wrong on the way, and that each has seen every event once, in order, since it first
    /// connected.
    ///
    /// # Panics
    /// When they do not get there in time, or a promise was broken.
    pub async fn assert_converged(&self, devices: &[&Device], deadline: Duration) {
        let Some(first) = devices.first() else { return };
        let token = first.token();
        wait::until("the devices have what the store has", deadline, || async {
            let stored = self.stored_drafts(&token).await?;
            for device in devices {
                let drafts = device.drafts();
                ensure!(
                    drafts == stored,
                    "{} at {:?} has {}, the store {} ({:?}, {:?})",
                    device.name(),
                    device.cursor(),
                    outline(&drafts),
                    outline(&stored),
                    device.counters(),
                    device.violations(),
                );
                ensure!(device.seq() == first.seq(), "{} is at another event", device.name());
            }
            Ok(())
        })
        .await;
        for device in devices {
            let name = device.name();
            assert_eq!(device.violations(), [], "{name}: {:?}", device.counters());
            let seen = device.seen();
            let begin = seen.first().copied().unwrap_or(1);
            let whole: Vec<u64> = (begin..begin + seen.len() as u64).collect();
            assert!(seen == whole, "{name} has not seen every event once: {seen:?}");
            assert_eq!(seen.last().copied().unwrap_or(0), device.seq(), "{name}");
        }
    }

    /// A user's drafts as the store has them, asked of any node that answers.
    ///
    /// # Errors
    /// When no node answers.
    pub async fn stored_drafts(&self, token: &str) -> Result<BTreeMap<String, crate::device::DraftState>> {
        let mut last = anyhow::anyhow!("no nodes");
        for node in &self.nodes {
            match http::get_as(token, &node.http_url("/v1/drafts")).await {
                Ok(answer) if answer.status == 200 => {
                    let list = if answer.json.is_array() { &answer.json } else { &answer.json["drafts"] };
                    return Ok(drafts_of(list));
                }
                Ok(answer) => last = anyhow::anyhow!("{}: {}", answer.status, answer.text),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// What drafts are there, short enough for a message.
fn outline(drafts: &BTreeMap<String, crate::device::DraftState>) -> String {
    let versions: Vec<String> =
        drafts.iter().take(10).map(|(id, draft)| format!("{id}@{}", draft.version)).collect();
    format!("{} drafts ({})", drafts.len(), versions.join(" "))
}
