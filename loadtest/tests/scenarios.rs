//! The other scenarios, each for a moment, against real nodes.

#![allow(clippy::unwrap_used)]

mod server;

use serde_json::Value;
use testkit::{Cluster, Node, NodeOptions, token};

use crate::server::{LOADTEST, Ran, run};

fn started<'a>(scenario: &'a str, nodes: &'a str, server: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&[scenario, "--start", nodes, "--server", server], more].concat()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN)
}

#[tokio::test]
async fn connections_are_counted_timed_and_weighed() {
    let server = server::built();
    let server = server.to_str().unwrap();
    for burst in [&["--p99-max", "60s"][..], &["--burst", "--p99-max", "60s"]] {
        let more = [&["--levels", "10,200", "--hold", "100ms", "--memory-max", "1000"], burst].concat();
        let ran = run(started("connections", "nodes=2", server, &more)).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        let levels = ran.json["levels"].as_array().unwrap();
        assert_eq!(levels[1]["connected"], 200, "{ran:?}");
        assert_eq!(levels[1]["connect"]["count"], 200, "{ran:?}");
        assert!(number(&levels[1]["bytes_each"]) > 100.0, "{ran:?}");
        assert!(number(&levels[1]["cpu_us_each"]) > 1.0, "{ran:?}");
        assert!(number(&ran.json["floor_connection"]["cpu_us_each"]) > 0.1, "{ran:?}");
    }
}

#[tokio::test]
async fn a_node_that_takes_fewer_connections_is_not_ready() {
    let server = server::built();
    let more = ["--levels", "30", "--no-floor", "--set", "CONNECTIONS_MAX=25"];
    let ran = run(started("connections", "nodes=1", server.to_str().unwrap(), &more)).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.json["levels"][0]["connected"], 25, "{ran:?}");
    assert_eq!(ran.json["levels"][0]["failures"]["closed with 1013"], 5, "{ran:?}");
}

#[tokio::test]
async fn clients_go_to_further_processes_where_files_are_few() {
    let node = Node::start(NodeOptions::embedded(server::built())).await.unwrap();
    let url = format!("ws://127.0.0.1:{}", node.port());
    let few = format!(
        "ulimit -n 400 && exec {LOADTEST} connections --levels 300 --hold 0s --no-floor --p99-max 60s \
         --secret '{}' --url {url} --metrics {}",
        token::SECRET,
        node.metrics_url(),
    );
    let ran = Ran::of("sh", ["-c", &few]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.text.contains("300 connected"), "{ran:?}");
    assert!(ran.text.contains("(3 helpers)"), "{ran:?}");
}

#[tokio::test]
async fn memory_is_watched_while_clients_come_and_go() {
    let server = server::built();
    let more = ["--cycles", "3", "--connections", "30", "--hold", "10ms"];
    let ran = run(started("churn", "nodes=1", server.to_str().unwrap(), &more)).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json["cycles"].as_array().unwrap().len(), 3, "{ran:?}");
    assert!(number(&ran.json["cycles"][0]["resident_bytes"]) > 1e6, "{ran:?}");
}

#[tokio::test]
async fn devices_that_lose_their_node_come_back_with_what_they_missed() {
    let server = server::built();
    for follow in ["user", "topic"] {
        let more = ["--devices", "60", "--gap", "20", "--per-query", "2", "--follow", follow];
        let ran = run(started("storm", "nodes=2", server.to_str().unwrap(), &more)).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.json["storm"]["synced_devices"], 60, "{ran:?}");
        assert_eq!(ran.json["storm"]["tally"]["received"], 1200, "{ran:?}");
        assert!(number(&ran.json["storm"]["queries_each"]) > 0.0, "{ran:?}");
    }
}

#[tokio::test]
async fn a_storm_that_asks_too_much_of_the_database_is_no_good() {
    let server = server::built();
    let more = ["--devices", "10", "--per-stream", "1", "--gap", "2", "--per-query", "1000000"];
    let ran = run(started("storm", "nodes=2", server.to_str().unwrap(), &more)).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.text.contains("BROKEN  queries of the log"), "{ran:?}");
}

#[tokio::test]
async fn the_floor_needs_no_server() {
    let ran = run([
        "floor",
        "--sockets",
        "20",
        "--rate",
        "50",
        "--duration",
        "500ms",
        "--connections",
        "50",
        "--writers",
        "4",
    ])
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json["delivery"]["deliveries"], 20 * 25, "{ran:?}");
    assert_eq!(ran.json["delivery_batched"]["batch"], 10, "{ran:?}");
    assert!(number(&ran.json["connection"]["bytes_each"]) > 0.0, "{ran:?}");
    assert!(number(&ran.json["inserts"]["per_second"]) > 1.0, "{ran:?}");
}

#[tokio::test]
async fn what_cannot_be_measured_is_no_verdict() {
    let node = Node::start(NodeOptions::embedded(server::built())).await.unwrap();
    let url = format!("ws://127.0.0.1:{}", node.port());
    let server = server::built();
    let server = server.to_str().unwrap();
    for (arguments, why) in [
        (vec!["feed", "--url", &url], "no tokens"),
        (vec!["churn", "--url", &url, "--secret", token::SECRET], "give --metrics"),
        (vec!["storm", "--start", "nodes=1", "--server", server], "needs a node to go to"),
        (vec!["feed", "--start", "nodes=1", "--server", "/nowhere"], "there is no /nowhere"),
        (vec!["feed", "--start", "nodes=1", "--url", &url], "cannot be used with"),
        (vec!["connections", "--url", "ws://127.0.0.1:1", "--secret", "s", "--levels", "1"], "no client"),
    ] {
        let ran = run(arguments).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.errors.contains(why), "{ran:?}");
    }
}

#[tokio::test]
async fn writers_commit_and_the_drafts_are_compared() {
    let server = server::built();
    let more = ["--users", "20", "--writers", "6", "--duration", "1s", "--warmup", "100ms"];
    let ran = run(started("writers", "nodes=2", server.to_str().unwrap(), &more)).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(number(&ran.json["written"]["acked"]) > 6.0, "{ran:?}");
    assert!(number(&ran.json["floor_inserts_times"]) > 0.0, "{ran:?}");
    assert!(ran.json["written"]["cpu_each"]["postgres_us"].is_number(), "{ran:?}");
}

#[tokio::test]
async fn a_draft_that_is_not_what_was_acknowledged_is_noticed() {
    let cluster = Cluster::start(server::built(), 1).await.unwrap();
    let url = format!("ws://127.0.0.1:{}", cluster.nodes[0].port());
    server::keep_content(&cluster).await;
    let more = ["--users", "2", "--writers", "2", "--duration", "1s", "--secret", token::SECRET];
    let ran = run(["writers", "--url", &url].into_iter().chain(more)).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let wrong = "drafts that the database has otherwise";
    let checks = ran.json["checks"].as_array().unwrap();
    assert_eq!(checks.iter().find(|check| check["name"] == wrong).unwrap()["measured"], "1", "{ran:?}");
}
