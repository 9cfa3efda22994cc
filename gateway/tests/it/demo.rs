//! The demo's tokens, which the page in `gateway/tests/pages` lives on.

use serde_json::json;
use testkit::http;

use crate::harness::Server;

#[tokio::test]
async fn a_demo_token_has_the_rights_that_were_asked_for_and_no_others() {
    let server = Server::with(&[("DEMO", "true")]).await;
    let post = async |scope: &str| {
        let url = format!("http://{}/demo/token?user=alice&scope={scope}", server.addr);
        let token = http::get(&url).await.unwrap().json["token"].as_str().unwrap().to_owned();
        let url = format!("http://{}/v1/topics/match:1/events", server.addr);
        let headers = [("authorization", &*format!("Bearer {token}"))];
        http::request("POST", &url, &headers, Some(&json!({ "event": "GOAL" }))).await.unwrap().status
    };
    assert_eq!(post("publish:match:1").await, 201);
    assert_eq!(post("subscribe:*%20service").await, 201);
    assert_eq!(post("subscribe:*").await, 403);
    assert_eq!(post("").await, 403);
}

#[tokio::test]
async fn a_demo_token_has_to_fit_into_a_header() {
    let server = Server::with(&[("DEMO", "true")]).await;
    let url = format!("http://{}/demo/token?user=alice&scope={}", server.addr, "s".repeat(513));
    assert_eq!(http::get(&url).await.unwrap().status, 400);
}

#[tokio::test]
async fn no_tokens_are_handed_out_where_the_demo_is_off() {
    let server = Server::start().await;
    let url = format!("http://{}/demo/token?user=alice&scope=service", server.addr);
    let answer = http::get(&url).await.unwrap();
    assert_eq!((answer.status, &answer.json["code"]), (404, &json!("not_found")));
}
