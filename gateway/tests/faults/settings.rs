//! Settings change on every node of a cluster: at once over Redis, without it by the sweep, and before a node that
//! starts serves anybody.

use serde_json::{Value, json};
use testkit::{Cluster, Node, Service, handshake, http, token, wait};

use crate::{DEADLINE, bus_is_trusted, patient_cluster, turn};

async fn put(cluster: &Cluster, node: usize, name: &str, body: Value) -> Value {
    let url = cluster.nodes[node].http_url(&format!("/v1/admin/settings/{name}"));
    let bearer = format!("Bearer {}", token::scoped("operator", "admin"));
    let answer = http::request("PUT", &url, &[("authorization", &bearer)], Some(&body)).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

async fn deflates(node: &Node) -> bool {
    let path = format!("/ws/realtime?token={}", token::good("alice"));
    let headers = [&handshake::HEADERS[..], &[("sec-websocket-extensions", "permessage-deflate")]].concat();
    let answered = handshake::get(&format!("127.0.0.1:{}", node.port()), &path, &headers).await.unwrap();
    assert_eq!(answered.status, 101);
    answered.header("sec-websocket-extensions").is_some()
}

async fn all_have(cluster: &Cluster, version: u32, deflate: bool) {
    for node in &cluster.nodes {
        wait::until("the change to arrive", DEADLINE, || async {
            match node.metric("draftwire_settings_version", &[]).await {
                Ok(found) if found >= f64::from(version) => Ok(()),
                other => Err(format!("{}: {other:?}", node.name())),
            }
        })
        .await;
        assert_eq!(deflates(node).await, deflate, "{}", node.name());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_changes_on_all_nodes_with_and_without_redis() {
    let _turn = turn().await;
    let mut cluster = patient_cluster().nodes(3).start().await.unwrap();
    bus_is_trusted(&cluster).await;
    all_have(&cluster, 0, true).await;

    put(&cluster, 0, "DEFLATE", json!({ "value": "false", "reason": "over Redis" })).await;
    all_have(&cluster, 1, false).await;

    cluster.redis.stop().await.unwrap();
    put(&cluster, 1, "DEFLATE", json!({ "value": "true", "reason": "by the sweep" })).await;
    all_have(&cluster, 2, true).await;

    // A node that starts has it with its first connection, with Redis or without.
    put(&cluster, 2, "DEFLATE", json!({ "value": "false", "reason": "kept" })).await;
    cluster.redis.start_again().await.unwrap();
    cluster.add_node(&[]).await.unwrap();
    assert!(!deflates(&cluster.nodes[3]).await);
    all_have(&cluster, 3, false).await;

    // What only the process knows changes too, and each change is a line of the log.
    put(&cluster, 0, "LOG_LEVEL", json!({ "value": "info,gateway::control=debug,tower=trace" })).await;
    put(&cluster, 3, "SLOW_OPERATION", json!({ "value": "1s" })).await;
    for node in &cluster.nodes {
        wait::until("the lines of the log", DEADLINE, || async {
            let log = node.log().unwrap();
            let has = |text: &str| log.contains(text);
            if has("kept") && has("SLOW_OPERATION") && has("operator") { Ok(()) } else { Err(log) }
        })
        .await;
    }
    put(&cluster, 1, "LOG_LEVEL", json!({ "value": "off" })).await;
    put(&cluster, 1, "SLOW_OPERATION", json!({ "value": "2s" })).await;
    all_have(&cluster, 6, false).await;
    for node in &cluster.nodes {
        wait::until("the level to be read", DEADLINE, || async {
            // What was logged before the level changed may still be on its way to the file.
            let before = node.log().unwrap().len();
            let url = node.http_url("/v1/admin/settings/SLOW_OPERATION");
            let bearer = format!("Bearer {}", token::scoped("operator", "admin"));
            http::request_text("PUT", &url, &[("authorization", &bearer)], r#"{"value":"3s"}"#)
                .await
                .unwrap();
            let after = node.log().unwrap().len();
            if before == after { Ok(()) } else { Err("it still logs".to_owned()) }
        })
        .await;
    }
}
