//! Users are disconnected on every node of a cluster: at once over Redis, and without it by the sweep.

use serde_json::Value;
use testkit::{Cluster, RawRequest, RawSocket, Service, http, token};

use crate::{DEADLINE, bus_is_trusted, patient_cluster, turn};

/// A socket of a user on each node.
async fn sockets(cluster: &Cluster, user: &str) -> Vec<RawSocket> {
    let mut sockets = Vec::new();
    for node in &cluster.nodes {
        let request = RawRequest::new(node.ws_url()).token(&token::good(user));
        let mut socket = RawSocket::connect(&request).await.unwrap();
        assert_eq!(socket.next(DEADLINE).await.unwrap()["type"], "WELCOME");
        sockets.push(socket);
    }
    sockets
}

/// Asks one of the nodes to disconnect alice: the number of the control event.
async fn disconnect(cluster: &Cluster, node: usize, body: &str) -> u64 {
    let url = cluster.nodes[node].http_url("/v1/admin/users/alice/disconnect");
    let bearer = format!("Bearer {}", token::scoped("operator", "admin"));
    let answer = http::request_text("POST", &url, &[("authorization", &bearer)], body).await.unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json["seq"].as_u64().unwrap()
}

async fn all_closed(sockets: Vec<RawSocket>, code: u16, reason: &str) {
    for mut socket in sockets {
        let closed = socket.closed(DEADLINE).await.unwrap().expect("a close frame");
        assert_eq!(closed, (code, reason.to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_is_disconnected_on_all_nodes_with_and_without_redis() {
    let _turn = turn().await;
    let mut cluster = patient_cluster().nodes(3).start().await.unwrap();
    bus_is_trusted(&cluster).await;
    let mut others = sockets(&cluster, "bob").await;

    let of_alice = sockets(&cluster, "alice").await;
    assert_eq!(disconnect(&cluster, 0, r#"{"reason":"over Redis"}"#).await, 1);
    all_closed(of_alice, 4410, "over Redis").await;

    let of_alice = sockets(&cluster, "alice").await;
    cluster.redis.stop().await.unwrap();
    assert_eq!(disconnect(&cluster, 1, r#"{"code":4403,"reason":"by the sweep"}"#).await, 2);
    all_closed(of_alice, 4403, "by the sweep").await;

    // A node that starts has nothing to do with what was before.
    cluster.redis.start_again().await.unwrap();
    cluster.add_node(&[]).await.unwrap();
    bus_is_trusted(&cluster).await;
    let of_alice = sockets(&cluster, "alice").await;
    assert_eq!(disconnect(&cluster, 3, r#"{"reason":"over Redis again"}"#).await, 3);
    all_closed(of_alice, 4410, "over Redis again").await;

    for socket in &mut others {
        let ping = serde_json::json!({ "type": "PING", "id": "still-here", "payload": Value::Null });
        socket.send(&ping).await.unwrap();
        assert_eq!(socket.answer("still-here", DEADLINE).await.unwrap()["type"], "PONG");
    }
}
