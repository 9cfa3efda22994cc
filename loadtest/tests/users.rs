//! The scenarios with users who come and go, each for a moment, against real nodes. What a busy machine does to
//! latencies is not tested: those thresholds are out of reach, or cannot be held.

#![allow(clippy::unwrap_used)]

mod liar;
mod server;

use liar::Lie;
use serde_json::Value;
use testkit::{Node, NodeOptions, token};

use crate::server::{Ran, interrupted, run};

/// Thresholds that no machine breaks.
const PATIENT: [&str; 4] = ["--connect-p95-max", "60s", "--p95-max", "60s"];

async fn against(node: &Node, scenario: &[&str]) -> Ran {
    let (url, metrics) = (node.ws_url(), node.metrics_url());
    let place = ["--url", &url, "--metrics", &metrics, "--secret", token::SECRET, "--warmup", "0s"];
    run([scenario, &place].concat()).await
}

async fn node() -> Node {
    Node::start(NodeOptions::embedded(server::built())).await.unwrap()
}

fn check<'a>(ran: &'a Ran, name: &str) -> &'a Value {
    let checks = ran.json["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name);
    check.unwrap_or_else(|| panic!("no {name:?}: {ran:?}"))
}

fn verdict<'a>(ran: &'a Ran, name: &str) -> &'a str {
    check(ran, name)["verdict"].as_str().unwrap()
}

/// Everything that was to happen did, and the series tells of all of it.
fn complete(ran: &Ran) {
    assert_eq!(ran.code, 0, "{ran:?}");
    let measured = &ran.json["measured"];
    assert_eq!(measured["connected"], measured["connects_due"], "{ran:?}");
    assert_eq!(measured["arrived"], measured["arrivals_due"], "{ran:?}");
    assert!(measured["arrived"].as_u64().unwrap() > 0, "{ran:?}");
    let points = ran.json["series"]["points"].as_array().unwrap();
    for name in ["connected", "arrived"] {
        let sum: u64 = points.iter().map(|point| point[name].as_u64().unwrap()).sum();
        assert_eq!(sum, measured[name].as_u64().unwrap(), "{name}: {ran:?}");
    }
    assert!(points.iter().any(|point| point["nodes_resident_bytes"].as_f64() > Some(1e6)), "{ran:?}");
    assert_eq!(ran.json["broken"]["gaps"], 0, "{ran:?}");
}

#[tokio::test]
async fn a_tier_of_users_comes_works_and_leaves() {
    let server = server::built();
    let start = ["load", "--start", "nodes=2,nginx", "--server", server.to_str().unwrap()];
    let short = ["--ramp", "1s", "--hold", "2s", "--down", "1s", "--tier", "medium"];
    let ran = run([&start[..], &short, &PATIENT].concat()).await;
    complete(&ran);
    assert_eq!(ran.json["measured"]["connects_due"], 20 * 3, "{ran:?}");
    assert_eq!(ran.json["verified"]["devices"], 20 * 3, "{ran:?}");
}

#[tokio::test]
async fn each_threshold_can_break() {
    let node = node().await;
    let short = ["load", "--ramp", "500ms", "--hold", "1500ms", "--down", "0s"];
    let breaks = async |limit: &str, name: &str| {
        let ran = against(&node, &[&short[..], &[limit, "0s"]].concat()).await;
        assert_eq!((ran.code, verdict(&ran, name)), (1, "broken"), "{ran:?}");
    };
    tokio::join!(
        breaks("--connect-p95-max", "95% connected within"),
        breaks("--p95-max", "95% of changes on other devices within"),
    );
}

#[tokio::test]
async fn a_node_that_takes_fewer_devices_is_not_ready() {
    let node = NodeOptions::embedded(server::built()).env("CONNECTIONS_MAX", "20");
    let node = Node::start(node).await.unwrap();
    let short = ["load", "--ramp", "200ms", "--hold", "2s", "--down", "0s", "--settle", "1s"];
    let ran = against(&node, &[&short[..], &PATIENT].concat()).await;
    assert_eq!((ran.code, verdict(&ran, "devices that connected")), (1, "broken"), "{ran:?}");
    assert_eq!(verdict(&ran, "changes that reached other devices"), "broken", "{ran:?}");
    assert_eq!(verdict(&ran, "events missing"), "held", "{ran:?}");
}

#[tokio::test]
async fn one_event_that_is_dropped_repeated_or_swapped_is_noticed() {
    let node = node().await;
    let short =
        ["load", "--ramp", "0s", "--hold", "3s", "--down", "0s", "--user-rate", "20", "--settle", "3s"];
    let through = async |lie, name: &str| {
        let liar = liar::lie(node.port(), lie, "DRAFT_UPDATED").await;
        let url = format!("ws://127.0.0.1:{}", liar.port);
        let to = ["--url", &url, "--secret", token::SECRET, "--warmup", "0s"];
        let ran = run([&short[..], &to, &PATIENT].concat()).await;
        assert!(liar.has_lied(), "there were too few events to lie about: {ran:?}");
        assert_eq!((ran.code, &check(&ran, name)["measured"]), (1, &Value::from("1")), "{lie:?}: {ran:?}");
        assert_eq!(check(&ran, "devices with any fault")["measured"], "1", "{lie:?}: {ran:?}");
    };
    tokio::join!(
        through(Lie::Drop, "events missing"),
        through(Lie::Repeat, "events repeated"),
        through(Lie::Swap, "events out of order"),
    );
}

#[tokio::test]
async fn a_spike_comes_and_goes() {
    let node = node().await;
    let spike = ["stress", "--scenario", "spike", "--ramp", "1s", "--duration", "1s", "--after", "4s"];
    let never = ["stress", "--scenario", "spike", "--users", "6", "--ramp", "0s", "--duration", "2s"];
    let never = [&never[..], &["--after", "1s", "--recovery-max", "1s"], &PATIENT].concat();
    let spike = [&spike[..], &PATIENT].concat();
    let (ran, never) = tokio::join!(against(&node, &spike), against(&node, &never));
    complete(&ran);
    assert_eq!(ran.json["recovery_seconds"], 0.0, "{ran:?}");
    assert_eq!(ran.json["verified"]["users"], 50, "{ran:?}");
    let recovery = verdict(&never, "recovery within");
    assert_eq!((never.code, recovery), (1, "broken"), "nothing shows it: {never:?}");
}

#[tokio::test]
async fn memory_and_latency_are_watched_for_as_long_as_it_takes() {
    let node = node().await;
    let easy = ["--growth-max", "1000", "--rise-max", "60s"];
    let soak = ["stress", "--scenario", "soak", "--duration", "6s", "--ramp", "500ms"];
    let stability = ["stability", "--duration", "6s", "--stay", "2s", "--connections", "20", "--rate", "40"];
    let [soak, stability] = [&soak[..], &stability[..]].map(|what| [what, &PATIENT, &easy].concat());
    let (ran, stability) = tokio::join!(against(&node, &soak), against(&node, &stability));
    complete(&ran);
    assert_eq!(verdict(&ran, "growth of the nodes' memory"), "held", "{ran:?}");
    assert_eq!(ran.json["verified"]["users"], 20, "{ran:?}");
    complete(&stability);
    assert!(stability.json["verified"]["users"].as_u64().unwrap() > 20, "others came: {stability:?}");
    let rise = verdict(&stability, "rise of the p95 of changes on other devices");
    assert_eq!(rise, "held", "{stability:?}");
}

#[tokio::test]
async fn ever_more_users_come_until_it_breaks() {
    let node = node().await;
    let more = ["stress", "--scenario", "breakpoint", "--users-min", "4", "--users", "9", "--duration", "1s"];
    let more = [&more[..], &["--ramp", "1s"]].concat();
    let impatient = [&more[..], &["--connect-p95-max", "60s", "--p95-max", "0s"]].concat();
    let more = [&more[..], &PATIENT].concat();
    let (ran, broken) = tokio::join!(against(&node, &more), against(&node, &impatient));
    complete(&ran);
    let users: Vec<&Value> =
        ran.json["levels"].as_array().unwrap().iter().map(|level| &level["users"]).collect();
    assert_eq!(users, [4, 6, 9], "{ran:?}");
    assert_eq!(ran.json["breakpoint"]["borne_users"], 9, "{ran:?}");
    assert!(ran.json["breakpoint"]["breaks_at_users"].is_null(), "{ran:?}");

    assert_eq!((broken.code, verdict(&broken, "users before it breaks")), (1, "broken"), "{broken:?}");
    assert_eq!(broken.json["breakpoint"]["breaks_at_users"], 4, "{broken:?}");
    assert_eq!(broken.json["levels"].as_array().unwrap().len(), 1, "it ends there: {broken:?}");
}

#[tokio::test]
async fn connections_and_messages_are_as_many_as_named() {
    let node = node().await;
    // A busy machine takes a thousand connections in seconds.
    let baseline = ["baseline", "--devices", "2", "--ramp", "1s", "--duration", "2s", "--rate", "40"];
    let high = ["high", "--devices", "50", "--ramp", "4s", "--duration", "8s", "--rate", "40"];
    for (scenario, connections) in [(baseline, 100), (high, 1000)] {
        let ran = against(&node, &[&scenario[..], &PATIENT].concat()).await;
        complete(&ran);
        assert_eq!(ran.json["measured"]["connects_due"], connections, "{ran:?}");
    }
}

#[tokio::test]
async fn all_users_make_their_changes_at_once() {
    let node = node().await;
    let burst = ["burst", "--connections", "40", "--bursts", "2", "--every", "2s"];
    let ran = against(&node, &[&burst[..], &PATIENT].concat()).await;
    complete(&ran);
    let points = ran.json["series"]["points"].as_array().unwrap().iter();
    let busy: Vec<&Value> =
        points.map(|point| &point["changes_due"]).filter(|due| due.as_u64() > Some(0)).collect();
    assert_eq!(busy, [20, 20], "{ran:?}");
}

#[tokio::test]
async fn ctrl_c_ends_the_load_and_what_was_done_is_judged() {
    let node = node().await;
    let load = ["load", "--ramp", "0s", "--hold", "1h", "--warmup", "0s", "--url", &node.ws_url()];
    let load = [&load[..], &["--secret", token::SECRET], &PATIENT].concat();
    let ran = interrupted(load, async || {
        let changes = node.metric("draftwire_commands_total", &[("type", "DRAFT_UPDATE")]).await?;
        anyhow::ensure!(changes >= 5.0, "{changes}");
        Ok(())
    })
    .await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.text.contains("held    devices that connected"), "{ran:?}");
}

#[tokio::test]
async fn users_who_are_not_let_in_are_no_verdict() {
    let node = node().await;
    let url = node.ws_url();
    let secret = "another secret of at least thirty-two bytes";
    let ran = run(["baseline", "--url", &url, "--secret", secret, "--warmup", "0s", "--connections", "2"]
        .into_iter()
        .chain(["--ramp", "0s", "--duration", "1s"]))
    .await;
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.errors.contains("tokens are refused"), "{ran:?}");
}
