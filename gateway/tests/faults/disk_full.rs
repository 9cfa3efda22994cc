//! The disk of a database fills up, and then has room again.

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use serde_json::json;
use testkit::{Node, NodeOptions, Service, http, token, wait};

use crate::{DEADLINE, cluster, turn};

const BINARY: &str = env!("CARGO_BIN_EXE_draftwire");

/// Every change is refused for a moment at most, whatever it is, and health says the same as writes do.
async fn refuses_while_full(node: &Node, name: &str) {
    for n in 0..10 {
        let status = create(node, &format!("{name}-{n}"), 3000).await;
        assert_eq!(status, 503, "change {n} while there is no room");
    }
    let health = http::get(&node.http_url("/healthz")).await.unwrap();
    assert_eq!(health.status, 503, "{}", health.text);
    assert_eq!(health.json["store"]["ok"], false, "{}", health.text);
}

async fn heals(node: &Node, name: &str) {
    wait::until("changes are taken again", DEADLINE, async || {
        let status = create(node, name, 3000).await;
        assert!([201, 503].contains(&status), "{status}");
        anyhow::ensure!(status == 201, "{status}");
        Ok(())
    })
    .await;
    wait::until("health says so", DEADLINE, async || {
        let health = http::get(&node.http_url("/healthz")).await?;
        anyhow::ensure!(health.status == 200, "{}", health.text);
        Ok(())
    })
    .await;
}

async fn create(node: &Node, draft: &str, bytes: usize) -> u16 {
    let token = format!("Bearer {}", token::good("ann"));
    let body = json!({ "draftId": draft, "content": { "text": "x".repeat(bytes) } });
    let headers = [("authorization", token.as_str())];
    http::request("POST", &node.http_url("/v1/drafts"), &headers, Some(&body)).await.unwrap().status
}

/// A limit on the size of each file stands for the disk: every write fails, of the database as of the log,
/// which is a file here, and it needs no rights.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_embedded_store_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    // What is beyond the limit fails then, instead of ending the process.
    let script = folder.path().join("draftwire");
    fs::write(&script, format!("#!/bin/sh\ntrap '' XFSZ\nexec {BINARY} \"$@\"\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let data = folder.path().join("data");
    let options = NodeOptions::embedded(&script)
        .env("JWT_SECRET", token::SECRET)
        .env("DATA_DIR", data.to_str().unwrap());
    let node = Node::start(options).await.unwrap();
    assert_eq!(create(&node, "before", 3000).await, 201);

    for round in ["once", "again"] {
        limit(&node, "0");
        refuses_while_full(&node, &format!("{round}-full")).await;
        limit(&node, "unlimited");
        heals(&node, &format!("{round}-after")).await;
    }
}

fn limit(node: &Node, bytes: &str) {
    let pid = node.pid().unwrap().to_string();
    let limit = format!("--fsize={bytes}:unlimited");
    let done = Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap();
    assert!(done.success());
}

/// Postgres reports a full disk by its SQLSTATE, which a trigger raises here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_is_unavailable_for_writes_until_there_is_room() {
    let _turn = turn().await;
    let cluster = cluster().nodes(1).start().await.unwrap();
    let node = &cluster.nodes[0];
    assert_eq!(create(node, "before", 10).await, 201);
    let fill = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''could not extend file'' USING ERRCODE = ''53100''; END';
        CREATE TRIGGER full_disk BEFORE INSERT ON draftwire.events EXECUTE FUNCTION full_disk();";
    cluster.postgres.query("db0", fill).await.unwrap();
    refuses_while_full(node, "full").await;
    cluster.postgres.query("db0", "DROP TRIGGER full_disk ON draftwire.events").await.unwrap();
    heals(node, "after").await;
}
