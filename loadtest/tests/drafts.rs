//! The program against a real node, as an operator runs it.

#![allow(clippy::unwrap_used)]

mod server;

use std::process::{Command, Output};

use serde_json::Value;
use testkit::{Node, NodeOptions, token};

async fn run(arguments: Vec<String>) -> Output {
    tokio::task::spawn_blocking(move || {
        Command::new(server::LOADTEST).env_remove("JWT_SECRET").args(arguments).output().unwrap()
    })
    .await
    .unwrap()
}

fn arguments(node: &Node, more: &[&str]) -> Vec<String> {
    let url = format!("ws://localhost:{}", node.port());
    let fixed =
        ["drafts", "--url", &url, "--users", "5", "--rate", "50", "--duration", "2s", "--settle", "60s"];
    fixed.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
}

#[tokio::test]
async fn a_node_keeps_its_promises() {
    let node = Node::start(NodeOptions::embedded(server::built())).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let more = ["--secret", token::SECRET, "--json", json.to_str().unwrap()];
    let output = run(arguments(&node, &more)).await;
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    assert!(text.contains("15 devices, 10 drafts of 5 users"), "{text}");

    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    assert_eq!(report["held"], true, "{report}");
    let commands = &report["commands"];
    assert_eq!(commands["planned"], 100, "{report}");
    assert_eq!(commands["sent"], commands["acked"], "{report}");
    let acked = commands["acked"].as_u64().unwrap();
    assert_eq!(report["deliveries"]["expected"], 2 * acked, "{report}");
    assert_eq!(report["deliveries"]["from_intended"]["count"], 2 * acked, "{report}");
    assert_eq!(report["verified"]["events"], 3 * (acked + 10), "{report}");
    assert_eq!(report["connections"]["by_node"], serde_json::json!({ "node": 15 }), "{report}");
}

#[tokio::test]
async fn the_demo_gives_tokens_to_whoever_asks() {
    let node = Node::start(NodeOptions::embedded(server::built()).env("DEMO", "true")).await.unwrap();
    let output = run(arguments(&node, &["--demo"])).await;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_run_that_cannot_be_made_is_no_verdict() {
    let node = Node::start(NodeOptions::embedded(server::built())).await.unwrap();
    for (more, why) in [
        (vec![], "no tokens"),
        (vec!["--secret", "another secret of at least thirty-two bytes"], "refuses the tokens"),
        (vec!["--demo", "--secret", "both"], "cannot be used with"),
        (vec!["--secret", token::SECRET, "--url", "http://127.0.0.1"], "does not begin with ws://"),
    ] {
        let output = run(arguments(&node, &more)).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(why), "{errors}");
    }
}
