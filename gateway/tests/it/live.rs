//! `GET /v1/admin/cluster` and `GET /v1/admin/live` of one node. What several tell each other is in the tests of faults.

use std::time::Duration;

use common::time::unix_ms;
use reqwest::Response;
use serde_json::{Value, json};
use testkit::{token, wait};
use tokio::time::timeout;

use crate::{
    DEADLINE,
    harness::{Server, ask, create, problem},
};

fn admin(lifetime: Duration) -> String {
    let claims = json!({ "sub": "operator", "scope": "admin", "exp": unix_ms() / 1000 + lifetime.as_secs() });
    token::sign(&claims, token::SECRET)
}

/// Follows the cluster.
struct Live {
    response: Response,
    text: String,
}

impl Live {
    async fn open(server: &Server, token: &str) -> Self {
        let url = format!("http://{}/v1/admin/live", server.addr);
        let client = testkit::http::builder().build().unwrap();
        let response = client.get(url).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, text: String::new() }
    }

    /// The next picture; `None` once the answer has ended.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let data = block.strip_prefix("event: CLUSTER\ndata: ").map(str::to_owned);
                self.text = rest.to_owned();
                match data {
                    Some(data) => return Some(serde_json::from_str(&data).unwrap()),
                    None => continue,
                }
            }
            let chunk =
                timeout(DEADLINE, self.response.chunk()).await.expect("a picture every second").unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

#[tokio::test]
async fn one_node_shows_what_it_does() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "device=phone").await;
    create(&mut socket, "d1", json!({ "title": "Chairs" })).await;
    let (_resumed, _) = server.connect("bob", "device=tv&all=other:1").await;
    let picture = wait::until("the node's own figures", DEADLINE, || async {
        let answer = server.call(&admin(DEADLINE), "GET", "/v1/admin/cluster", &[], "").await;
        let own = &answer.json["nodes"][0];
        let settled = answer.json["complete"] == true && own["connections"]["total"] == 2;
        if settled && own["latency"]["count"].as_u64() > Some(0) { Ok(answer.json) } else { Err(answer.text) }
    })
    .await;
    let own = &picture["nodes"][0];
    assert_eq!((&picture["node"], &own["node"], &own["stale"]), (&json!("n1"), &json!("n1"), &json!(false)));
    assert_eq!((&own["connections"]["webSockets"], &own["connections"]["active"]), (&json!(2), &json!(2)));
    assert_eq!((&own["users"], &picture["sums"]["users"]), (&json!(2), &json!(2)));
    assert_eq!((&own["bus"]["kind"], &own["store"]["ok"]), (&json!("in-process"), &json!(true)), "{own}");
    assert!(own["totals"]["reconnections"].as_u64() >= Some(1), "{own}");
    assert!(
        own["totals"]["messagesIn"].as_u64() >= Some(1) && own["totals"]["messagesOut"].as_u64() >= Some(2)
    );
    assert!(own["memoryBytes"].as_u64() > Some(1_000_000), "{own}");
    assert!(own["queues"]["writesMax"].as_u64() > Some(0) && own["queues"].get("pool").is_none(), "{own}");
    assert!(picture["path"]["changes"].as_u64() >= Some(1), "{picture}");
    assert_eq!((&picture["warnings"], &picture["regressions"]), (&json!([]), &json!([])));
    assert_eq!(picture["settings"], json!({ "version": 0, "agreed": true }));
    let health = server.call("", "GET", "/healthz", &[], "").await;
    assert_eq!(health.json["connections"], 2, "both count the same");
    let history = server.call(&admin(DEADLINE), "GET", "/v1/admin/cluster/history", &[], "").await.json;
    assert_eq!((&history["stepMs"], &history["samples"][0]["connections"]), (&json!(10_000), &json!(0)));
}

#[tokio::test]
async fn whoever_looks_on_is_sent_each_change_and_shares_it() {
    let server = Server::start().await;
    let token = admin(DEADLINE * 10);
    let (mut one, mut other) = (Live::open(&server, &token).await, Live::open(&server, &token).await);
    assert_eq!(one.next().await.unwrap()["nodes"][0]["connections"]["total"], 0, "at once");
    let (mut socket, _) = server.connect("alice", "device=phone").await;
    ask(&mut socket, "PING", "p1", Value::Null).await;
    let picture = loop {
        let picture = one.next().await.unwrap();
        if picture["nodes"][0]["connections"]["total"] == 1 {
            break picture;
        }
    };
    // Computed once for both.
    while other.next().await.unwrap() != picture {}
}

#[tokio::test]
async fn it_ends_with_the_token_and_with_the_node() {
    let server = Server::start().await;
    let (mut ends, mut stays) = (
        Live::open(&server, &admin(Duration::from_secs(2))).await,
        Live::open(&server, &admin(DEADLINE * 10)).await,
    );
    assert!(ends.next().await.is_some());
    while ends.next().await.is_some() {}
    assert!(stays.next().await.is_some());
    server.node.drain().await;
    while stays.next().await.is_some() {}
}

#[tokio::test]
async fn only_operators_see_it() {
    let server = Server::start().await;
    for path in ["/v1/admin/cluster", "/v1/admin/cluster/history", "/v1/admin/live"] {
        problem(&server.call("", "GET", path, &[], "").await, 401, "unauthorized");
        problem(
            &server.call(&token::scoped("backend", "service"), "GET", path, &[], "").await,
            403,
            "forbidden",
        );
        let misspelt = format!("{path}?nodes=2");
        problem(&server.call(&admin(DEADLINE), "GET", &misspelt, &[], "").await, 400, "bad_request");
    }
}
