//! `feed` against a real cluster, and against those that lie.

#![allow(clippy::unwrap_used)]

mod liar;
mod server;

use std::time::Duration;

use liar::Lie;
use serde_json::Value;
use testkit::{Cluster, Node, NodeOptions, token, wait};

use crate::server::{Ran, interrupted, run};

const FEED: [&str; 10] =
    ["feed", "--followers", "10", "--rate", "40", "--duration", "2s", "--warmup", "200ms", "--p99-max"];

/// Ten followers and forty events a second, for two seconds; on a machine that may be busy.
fn feed(more: &[&str]) -> Vec<String> {
    [&FEED[..], &["60s"], more].concat().into_iter().map(str::to_owned).collect()
}

async fn through(lie: Lie) -> Ran {
    let node = Node::start(NodeOptions::embedded(server::built())).await.unwrap();
    let liar = liar::lie(node.port(), lie, "COMMENT").await;
    let url = format!("ws://127.0.0.1:{}", liar.port);
    let ran = run(feed(&["--no-floor", "--settle", "1s", "--secret", token::SECRET, "--url", &url])).await;
    assert!(liar.has_lied(), "there were too few events to lie about: {ran:?}");
    ran
}

/// How many of a threshold's kind there were.
fn measured<'a>(ran: &'a Ran, name: &str) -> &'a Value {
    let checks = ran.json["checks"].as_array().unwrap();
    &checks.iter().find(|check| check["name"] == name).unwrap()["measured"]
}

#[tokio::test]
async fn followers_on_all_nodes_have_every_event_once() {
    let server = server::built();
    let start = ["--start", "nodes=2", "--server", server.to_str().unwrap()];
    for wire in [&["--wire", "json"][..], &["--wire", "msgpack", "--batch", "--topics", "3"]] {
        let ran = run(feed(&[&start, wire].concat())).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.json["published"]["acked"], 80, "{ran:?}");
        // Three topics share ten followers.
        assert!(ran.json["delivered"]["measured"].as_u64().unwrap() >= 80 * 3, "{ran:?}");
        assert_eq!(ran.json["delivered"]["ratio"], 1.0, "{ran:?}");
        assert_eq!(ran.json["delivered"]["from_send"]["count"], ran.json["delivered"]["measured"], "{ran:?}");
        assert!(ran.json["delivered"]["server_cpu_us_each"].as_f64().unwrap() > 0.0, "{ran:?}");
        assert!(ran.json["delivered"]["cpu_each"]["all_us"].as_f64().unwrap() > 0.0, "{ran:?}");
        assert!(ran.json["floor_delivery"]["cpu_us_per_delivery"].as_f64().unwrap() > 0.0, "{ran:?}");
    }
}

#[tokio::test]
async fn writers_that_wait_share_commits_and_are_compared_with_the_floor() {
    let server = server::built();
    let ran = run([
        "feed",
        "--start",
        "nodes=1",
        "--server",
        server.to_str().unwrap(),
        "--followers",
        "0",
        "--durable-writers",
        "20",
        "--duration",
        "2s",
        "--warmup",
        "200ms",
    ])
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let published = &ran.json["published"];
    assert!(published["acked"].as_f64().unwrap() > published["commits"].as_f64().unwrap(), "{ran:?}");
    assert_eq!(ran.json["floor_inserts"]["writers"], 20, "{ran:?}");
}

#[tokio::test]
async fn events_in_one_request_have_their_own_moments_and_numbers() {
    let server = server::built();
    let start = ["--start", "nodes=1", "--server", server.to_str().unwrap()];
    let ran = run(feed(&[&start[..], &["--together", "8", "--topics", "2"]].concat())).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json["published"]["acked"], 80, "{ran:?}");
    assert_eq!(ran.json["delivered"]["measured"], 80 * 5, "{ran:?}");
    assert!(ran.json["commit_to_client_times"].as_f64().unwrap() > 0.0, "{ran:?}");
}

#[tokio::test]
async fn the_highest_rate_is_searched_within_bounds() {
    let server = server::built();
    let start = ["feed", "--saturate", "--start", "nodes=1", "--server", server.to_str().unwrap()];
    let rates =
        ["--followers", "5", "--rate", "20", "--rate-max", "40", "--step", "500ms", "--duration", "1s"];
    let search = async |p99_max| {
        run([&start[..], &rates, &["--warmup", "100ms", "--p99-max", p99_max]].concat()).await
    };
    let ran = search("60s").await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let found = &ran.json["saturated"];
    assert_eq!(found["highest"]["rate"], 40.0, "{ran:?}");
    assert_eq!(found["steps"].as_array().unwrap().len(), 2, "{ran:?}");
    assert_eq!(found["half"]["rate"], 20.0, "{ran:?}");
    assert_eq!(found["half"]["from_commit"]["count"], 20 * 5, "{ran:?}");
    assert!(ran.json["commit_to_client_times"].as_f64().unwrap() > 0.0, "{ran:?}");

    let ran = search("0ms").await;
    assert_eq!(ran.code, 1, "no rate is that fast: {ran:?}");
    assert!(ran.json["saturated"]["highest"].is_null(), "{ran:?}");
}

#[tokio::test]
async fn one_event_that_is_dropped_repeated_or_swapped_is_noticed() {
    let honest = through(Lie::None).await;
    assert_eq!(honest.code, 0, "{honest:?}");
    for (lie, name) in
        [(Lie::Drop, "events lost"), (Lie::Repeat, "events repeated"), (Lie::Swap, "events out of order")]
    {
        let ran = through(lie).await;
        assert_eq!(ran.code, 1, "{lie:?}: {ran:?}");
        assert_eq!(measured(&ran, name), "1", "{lie:?}: {ran:?}");
        assert_eq!(measured(&ran, "followers with any fault"), "1", "{lie:?}: {ran:?}");
    }
}

#[tokio::test]
async fn a_database_that_has_something_else_is_noticed() {
    let cluster = Cluster::start(server::built(), 1).await.unwrap();
    let url = format!("ws://127.0.0.1:{}", cluster.nodes[0].port());
    let running = tokio::spawn(run(feed(&["--no-floor", "--secret", token::SECRET, "--url", &url])));
    wait::until("events are there", Duration::from_secs(60), async || {
        let sum =
            cluster.postgres.query("db0", "SELECT coalesce(sum(head), 0) FROM draftwire.streams").await?;
        anyhow::ensure!(sum.parse::<u64>()? >= 20, "{sum} events");
        Ok(())
    })
    .await;
    let forge = "UPDATE draftwire.events SET payload = '{\"n\": 12345}' WHERE seq = 15 RETURNING seq";
    assert_eq!(cluster.postgres.query("db0", forge).await.unwrap(), "15");

    let ran = running.await.unwrap();
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(measured(&ran, "events that the history has otherwise"), "1", "{ran:?}");
}

#[tokio::test]
async fn the_demo_gives_tokens_with_rights_to_topics() {
    let node = Node::start(NodeOptions::embedded(server::built()).env("DEMO", "true")).await.unwrap();
    let url = format!("ws://127.0.0.1:{}", node.port());
    let ran = run(feed(&["--no-floor", "--demo", "--url", &url])).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// Ends a feed with Ctrl-C once this many events were delivered.
async fn ended_after(delivered: f64, more: &[&str]) -> Ran {
    let node = Node::start(NodeOptions::embedded(server::built())).await.unwrap();
    let url = format!("ws://127.0.0.1:{}", node.port());
    let feed = ["feed", "--followers", "10", "--duration", "1h", "--warmup", "0s", "--p99-max", "60s"];
    let feed = [&feed[..], more, &["--secret", token::SECRET, "--url", &url]].concat();
    interrupted(feed, async || {
        let now = node.metric("draftwire_events_delivered_total", &[]).await?;
        anyhow::ensure!(now > delivered, "{now}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn ctrl_c_ends_the_feed_and_what_was_done_is_verified() {
    let ran = ended_after(50.0, &[]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.text.contains("events lost") && !ran.text.contains("BROKEN"), "{ran:?}");
}

#[tokio::test]
async fn ctrl_c_ends_the_search_for_the_highest_rate() {
    // A hundred deliveries are those of the only step; then half of its rate is looked at for an hour.
    let ran = ended_after(150.0, &["--saturate", "--rate", "10", "--rate-max", "10", "--step", "1s"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.text.contains("10 events a second") && ran.text.contains("half of it"), "{ran:?}");
    assert!(ran.text.contains("events lost") && !ran.text.contains("BROKEN"), "{ran:?}");
}
