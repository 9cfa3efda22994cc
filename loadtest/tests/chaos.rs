//! `chaos` against a cluster that it hurts itself, and against those that lie.

#![allow(clippy::unwrap_used)]

mod liar;
mod server;

use liar::Lie;
use serde_json::Value;
use testkit::{Node, NodeOptions, token};

use crate::server::{Ran, run};

async fn through(lie: Lie, kind: &str) -> Ran {
    let node = Node::start(NodeOptions::embedded(server::built())).await.unwrap();
    let liar = liar::lie(node.port(), lie, kind).await;
    let url = format!("ws://127.0.0.1:{}", liar.port);
    // Enough for the liar to speak the truth first, on every stream.
    let load = ["chaos", "--users", "2", "--devices", "3", "--rate", "80", "--duration", "3s", "--seed", "1"];
    let ran = run([&load[..], &["--settle", "2s", "--secret", token::SECRET, "--url", &url]].concat()).await;
    assert!(liar.has_lied(), "there were too few events to lie about: {ran:?}");
    ran
}

/// Promises that were broken.
fn broken(ran: &Ran) -> Vec<&str> {
    let checks = ran.json["checks"].as_array().unwrap();
    let broken = checks.iter().filter(|check| check["verdict"] == "broken");
    broken.filter_map(|check| check["name"].as_str()).collect()
}

fn sum(series: &Value) -> u64 {
    series.as_array().unwrap().iter().filter_map(Value::as_u64).sum()
}

#[tokio::test]
async fn a_cluster_whose_parts_fail_keeps_its_promises() {
    let server = server::built();
    let start = ["chaos", "--start", "nodes=2,nginx", "--server", server.to_str().unwrap()];
    let load = ["--users", "3", "--devices", "3", "--rate", "40", "--duration", "15s", "--settle", "60s"];
    let ran = run([&start[..], &load, &["--seed", "7", "--pause", "500ms"]].concat()).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let json = &ran.json;
    assert!(ran.errors.contains("--seed 7"), "{ran:?}");
    assert_eq!(json["seed"], 7, "{ran:?}");
    let faults = json["faults"].as_array().unwrap();
    assert!(faults.len() >= 3, "{ran:?}");
    assert!(faults.iter().all(|fault| fault["recovery_seconds"].is_number()), "{ran:?}");
    assert!(json["resumes"].as_u64().unwrap() > 0, "{ran:?}");
    // Six drafts are made before, and some requests have several events.
    assert!(json["invocations"].as_u64().unwrap() > 606, "{ran:?}");
    assert_eq!(sum(&json["series"]["acked"]), json["acked"], "{ran:?}");
    assert_eq!(sum(&json["series"]["delivered"]), json["deliveries"], "{ran:?}");
    assert_eq!(json["violations"], Value::Array(Vec::new()), "{ran:?}");
}

#[tokio::test]
async fn one_event_that_is_dropped_repeated_or_swapped_is_found_and_its_history_told() {
    let honest = through(Lie::None, "CHANGE").await;
    assert_eq!(honest.code, 0, "{honest:?}");
    for (lie, kind, name) in [
        (Lie::Drop, "CHANGE", "events left out or out of order"),
        (Lie::Repeat, "CHANGE", "events seen, or changes made, twice"),
        (Lie::Swap, "DRAFT_UPDATED", "events left out or out of order"),
        (Lie::Drop, "DRAFT_UPDATED", "events left out or out of order"),
    ] {
        let ran = through(lie, kind).await;
        assert_eq!(ran.code, 1, "{lie:?} {kind}: {ran:?}");
        assert!(broken(&ran).contains(&name), "{lie:?} {kind}: {ran:?}");
        let violation = &ran.json["violations"][0];
        let history: Vec<&str> =
            violation["history"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for told in ["asks to", "is acknowledged as event", "is sent event"] {
            assert!(history.iter().any(|line| line.contains(told)), "{told}: {ran:?}");
        }
        let times: Vec<f64> = history
            .iter()
            .map(|line| line.trim_start().split_once("s  ").unwrap().0.parse().unwrap())
            .collect();
        assert!(times.is_sorted(), "{ran:?}");
        assert!(history.iter().all(|line| ran.text.contains(line)), "{ran:?}");
        assert!(ran.text.contains(violation["what"].as_str().unwrap()), "{ran:?}");
    }
}

#[tokio::test]
async fn only_what_was_started_here_is_hurt() {
    for (arguments, why) in [
        (vec!["--secret", "s", "--faults", "redis"], "needs a cluster that was started"),
        (vec!["--duration", "1h"], "for one run"),
        (vec!["--rate", "100000", "--users", "100"], "too many for one run"),
    ] {
        let ran = run([&["chaos"], &arguments[..]].concat()).await;
        assert_eq!(ran.code, 2, "{ran:?}");
        assert!(ran.errors.contains(why), "{ran:?}");
    }
}
