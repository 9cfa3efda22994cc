//! The program against a cluster to which something happens meanwhile.

#![allow(clippy::unwrap_used)]

mod server;

use std::{
    process::{Output, Stdio},
    time::Duration,
};

use testkit::{Cluster, Service, token, wait};
use tokio::process::{Child, Command};

const DEADLINE: Duration = Duration::from_secs(60);

/// Ten users with two devices each, and two drafts.
fn load(cluster: &Cluster, more: &[&str]) -> Child {
    let mut command = Command::new(server::LOADTEST);
    for node in &cluster.nodes {
        command.args(["--url", &format!("ws://127.0.0.1:{}", node.port())]);
    }
    command
        .args(["--users", "10", "--devices", "2", "--rate", "40"])
        .args(more)
        .env("JWT_SECRET", token::SECRET)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// Waits until the drafts are made and edits are under way.
async fn under_way(cluster: &Cluster) {
    wait::until("edits are under way", DEADLINE, async || {
        let sum =
            cluster.postgres.query("db0", "SELECT coalesce(sum(head), 0) FROM draftwire.streams").await?;
        anyhow::ensure!(sum.parse::<u64>()? >= 60, "{sum} events");
        Ok(())
    })
    .await;
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn devices_survive_a_killed_node_and_the_promises_hold() {
    let mut cluster = Cluster::start(server::built(), 2).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let child = load(&cluster, &["--duration", "8s", "--settle", "60s", "--json", json.to_str().unwrap()]);
    under_way(&cluster).await;
    cluster.nodes[0].kill9();
    cluster.nodes[0].start_again().await.unwrap();

    let output = child.wait_with_output().await.unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["commands"]["sent"], report["commands"]["acked"], "{text}");
    assert!(report["connections"]["resumes"].as_u64().unwrap() >= 10, "half of the devices resumed: {text}");
    assert_eq!(report["connections"]["offline"], 0, "{text}");
}

#[tokio::test]
async fn a_database_that_says_otherwise_is_a_broken_promise() {
    let cluster = Cluster::start(server::built(), 2).await.unwrap();
    server::keep_content(&cluster).await;
    let child = load(&cluster, &["--duration", "2s", "--settle", "1s"]);
    let output = child.wait_with_output().await.unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("BROKEN  devices unlike the database"), "{text}");
    assert!(text.contains("draft draft-0 is at version"), "{text}");
}

#[tokio::test]
async fn ctrl_c_ends_the_load_and_what_was_done_is_verified() {
    let cluster = Cluster::start(server::built(), 1).await.unwrap();
    let child = load(&cluster, &["--duration", "1h"]);
    under_way(&cluster).await;
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());

    let output = child.wait_with_output().await.unwrap();
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("144000 planned"), "{text}");
    assert!(text.contains("20 devices, 20 drafts of 10 users"), "{text}");
}
