//! Nothing fails here but patience: a word for everybody reaches every connection of every node at once, ahead
//! of what waits in windows.

use serde_json::json;
use testkit::{
    Cluster, Publisher, RawRequest, RawSocket, Target, node::metric_sum, publisher::Form, token, wait,
};

use crate::{DEADLINE, bus_is_trusted, cluster, turn};

/// The windows that the backlog waits in: as long as they may be.
const WINDOW_MS: u32 = 10_000;

const BACKLOG: usize = 200;

/// Connections to each node, the one that looks on included.
const EACH: usize = 5;

/// Opens a connection that follows `match:1` with a window, or as events come.
async fn follow(cluster: &Cluster, node: usize, query: &str, token: Option<&str>, window: bool) -> RawSocket {
    let mut request = RawRequest::new(format!("{}{query}", cluster.nodes[node].ws_url()));
    if let Some(token) = token {
        request = request.token(token);
    }
    let mut socket = RawSocket::connect(&request).await.unwrap();
    let mut topic = json!({ "topic": "match:1" });
    if window {
        topic["batchMs"] = WINDOW_MS.into();
        topic["batchMax"] = 1000.into();
    }
    socket.send(&json!({ "type": "SUBSCRIBE", "id": "s", "payload": topic })).await.unwrap();
    assert_eq!(socket.answer("s", DEADLINE).await.unwrap()["type"], "ACK");
    socket
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_word_for_everybody_goes_ahead_of_what_waits_on_every_node() {
    let _turn = turn().await;
    let cluster = cluster()
        .nodes(3)
        .env("PUBLIC_TOPICS", "match:*")
        // Who only waits is not to be taken for dead.
        .env("WS_PONG_TIMEOUT", "10m")
        .start()
        .await
        .unwrap();
    bus_is_trusted(&cluster).await;
    let user = token::scoped("ann", "subscribe:match:*");
    let (mut waiting, mut looking_on) = (Vec::new(), Vec::new());
    for node in 0..cluster.nodes.len() {
        for (query, token) in [("", None), ("?batch=1", None), ("", Some(&*user)), ("?batch=1", Some(&*user))]
        {
            waiting.push(follow(&cluster, node, query, token, true).await);
        }
        looking_on.push(follow(&cluster, node, "", None, false).await);
    }
    let publisher = Publisher::new(cluster.http_urls(0), "desk").unwrap();
    let events = vec![json!({ "event": "COMMENT", "data": 1 }); BACKLOG];
    publisher.publish_all(&Target::topic("match:1"), &events, Form::Array).await.unwrap();
    // What reached one connection of a node is due to the others as well.
    for socket in &mut looking_on {
        while socket.next(DEADLINE).await.unwrap()["seq"] != BACKLOG as u64 {}
    }

    let word = json!({ "event": "CACHE_INVALIDATED", "priority": "critical", "data": {} });
    publisher.publish_all(&Target::All, &[word], Form::One).await.unwrap();
    for socket in waiting.iter_mut().chain(&mut looking_on) {
        let first = socket.next(DEADLINE).await.unwrap();
        assert_eq!(
            (&first["type"], &first["stream"]),
            (&json!("CACHE_INVALIDATED"), &json!("all")),
            "{first}"
        );
    }
    let urgent = json!({ "event": "COMMENT", "priority": "high" });
    publisher.publish_all(&Target::topic("match:1"), &[urgent], Form::One).await.unwrap();
    wait::until("all have all of it", DEADLINE, async || {
        let mut delivered = 0.0;
        for node in &cluster.nodes {
            delivered += metric_sum(&node.metrics().await?, "draftwire_events_delivered_total", &[]);
        }
        let due = (cluster.nodes.len() * EACH * (BACKLOG + 2)) as f64;
        anyhow::ensure!(delivered == due, "{delivered} of {due}");
        Ok(())
    })
    .await;
}
