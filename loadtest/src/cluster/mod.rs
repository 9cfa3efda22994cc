//! Where the load goes: a cluster that is there, or one that is started for the run.

pub(crate) mod nodes;
pub(crate) mod publisher;
pub(crate) mod tokens;
pub(crate) mod topic_log;
pub(crate) mod urls;

use std::{path::PathBuf, str::FromStr};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use testkit::{Cluster, ClusterOptions, Node, token};

use self::{
    nodes::Nodes,
    tokens::{Signer, TokenArgs},
    urls::{Entrance, entrance},
};
use crate::run::{files, progress::Progress};

/// Connections that a started Postgres takes: its nodes' pools, and the floor's writers.
const POSTGRES_CONNECTIONS: &str = "500";

/// Which cluster, and how to get in.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Where clients connect; repeat it to spread them over nodes.
    #[arg(long = "url", value_name = "WS_URL", default_value = "ws://127.0.0.1:8080")]
    urls: Vec<String>,
    /// Where the nodes' metrics are; one for each node. Without, their processors and memory are not
    /// measured.
    #[arg(long = "metrics", value_name = "HTTP_URL", conflicts_with = "start")]
    metrics: Vec<String>,
    /// The nodes' Postgres: what a commit costs without them is measured there, in a table of its own.
    #[arg(long, value_name = "URL", conflicts_with = "start")]
    database: Option<String>,
    /// Starts a cluster of its own for the run, with Postgres and Redis: `nodes=3`, or `nodes=3,nginx`.
    #[arg(long, value_name = "WHAT", conflicts_with = "urls")]
    start: Option<Start>,
    /// The server that is started; otherwise `draftwire` beside this program.
    #[arg(long, value_name = "FILE", requires = "start")]
    server: Option<PathBuf>,
    /// A setting of the started nodes, `NAME=value`; may be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "start", value_parser = setting)]
    settings: Vec<(String, String)>,
    #[command(flatten)]
    tokens: TokenArgs,
}

impl ClusterArgs {
    /// Whether a cluster is started for the run.
    pub(crate) fn starts(&self) -> bool {
        self.start.is_some()
    }

    /// Settings of the nodes that are started, where the command line has no other value.
    pub(crate) fn preset(&mut self, settings: &[(&str, &str)]) {
        let preset = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        // Of a setting that is named twice, the last counts.
        self.settings.splice(..0, preset);
    }
}

/// What `--start` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Start {
    nodes: usize,
    nginx: bool,
}

impl FromStr for Start {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut start = Self { nodes: 0, nginx: false };
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("nodes", nodes)) => start.nodes = nodes.parse().unwrap_or(0),
                None if part == "nginx" => start.nginx = true,
                _ => return Err(format!("{part:?} is neither nodes=… nor nginx")),
            }
        }
        if (1..=64).contains(&start.nodes) {
            Ok(start)
        } else {
            Err("nodes=1 to nodes=64 is needed".to_owned())
        }
    }
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("NAME=value is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A cluster that can be used.
#[derive(Debug)]
pub(crate) struct Place {
    /// One for each node, unless something balances between them.
    pub(crate) entrances: Vec<Entrance>,
    pub(crate) nodes: Nodes,
    pub(crate) signer: Signer,
    /// Where the nodes keep their events, if that is known.
    pub(crate) database: Option<String>,
    /// When it was started here; ends with this value.
    pub(crate) started: Option<Cluster>,
}

impl Place {
    /// Finds or starts it.
    pub(crate) async fn of(args: &ClusterArgs, progress: &mut Progress) -> Result<Self> {
        if let Some(start) = args.start {
            return Self::start(args, start, progress).await;
        }
        let entrances: Vec<Entrance> = args.urls.iter().map(|url| entrance(url)).collect::<Result<_>>()?;
        let first = entrances.first().context("give a --url")?;
        let signer = Signer::of(&args.tokens, &first.http)?;
        let nodes = Nodes::new(args.metrics.clone());
        Ok(Self { entrances, nodes, signer, database: args.database.clone(), started: None })
    }

    async fn start(args: &ClusterArgs, start: Start, progress: &mut Progress) -> Result<Self> {
        let server = match &args.server {
            Some(server) => server.clone(),
            None => std::env::current_exe()?.with_file_name("draftwire"),
        };
        ensure!(server.exists(), "there is no {}: build it, or give --server", server.display());
        // Nodes inherit it.
        files::raise()?;
        progress.part(&format!("starting {} nodes of {}", start.nodes, server.display()));
        let mut options = ClusterOptions::new(std::path::absolute(server)?)
            .nodes(start.nodes)
            .postgres("max_connections", POSTGRES_CONNECTIONS);
        if start.nginx {
            options = options.nginx();
        }
        for (name, value) in &args.settings {
            options = options.env(name, value);
        }
        let cluster = options.start().await?;
        let urls: Vec<String> = match &cluster.nginx {
            Some(nginx) => vec![nginx.ws_url()],
            None => cluster.nodes.iter().map(Node::ws_url).collect(),
        };
        Ok(Self {
            entrances: urls.iter().map(|url| entrance(url)).collect::<Result<_>>()?,
            nodes: Nodes::of(&cluster),
            signer: Signer::Secret(token::SECRET.to_owned()),
            database: Some(cluster.database_url.clone()),
            started: Some(cluster),
        })
    }

    /// Where requests go that any node answers.
    pub(crate) fn http(&self) -> Result<&str> {
        match self.entrances.last() {
            Some(entrance) => Ok(&entrance.http),
            None => bail!("no node"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_start_is_read() {
        assert_eq!("nodes=3".parse(), Ok(Start { nodes: 3, nginx: false }));
        assert_eq!("nodes=1,nginx".parse(), Ok(Start { nodes: 1, nginx: true }));
        for wrong in ["", "3", "nodes=0", "nodes=x", "nginx", "nodes=1,redis"] {
            assert!(wrong.parse::<Start>().is_err(), "{wrong:?} was taken");
        }
    }
}
