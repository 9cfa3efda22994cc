//! Reading a topic's history over HTTP.

use serde_json::json;
use testkit::{http::Answer, token};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server, problem, subscribe},
};

/// What is kept of the topic `t`.
pub(crate) async fn history(server: &Server, query: &str) -> Answer {
    let token = token::scoped("reader", ALL_TOPICS);
    server.call(&token, "GET", &format!("/v1/topics/t/events{query}"), &[], "").await
}

#[tokio::test]
async fn history_is_read_forwards_page_by_page() {
    let server = Server::start().await;
    let empty = history(&server, "").await;
    let epoch = empty.json["epoch"].as_str().unwrap().to_owned();
    let expected =
        json!({ "epoch": epoch, "head": 0, "floor": 0, "events": [], "cursor": format!("{epoch}:0") });
    assert_eq!((empty.status, empty.json), (200, expected));
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    subscribe(&mut socket, json!({ "topic": "t" })).await;
    let mut sent = Vec::new();
    for n in 1..=7 {
        server.publish_with("t", json!({ "event": "E", "data": { "n": n }, "priority": "high" })).await;
        sent.push(socket.next(DEADLINE).await.unwrap());
    }
    let mut read = Vec::new();
    let mut cursor = String::new();
    for pages in 1.. {
        let page = history(&server, &format!("?limit=3{cursor}")).await.json;
        read.extend(page["events"].as_array().unwrap().clone());
        assert_eq!((&page["head"], &page["floor"]), (&json!(7), &json!(0)));
        let at = page["cursor"].as_str().unwrap();
        assert_eq!(at, format!("{epoch}:{}", read.len()));
        if read.len() == 7 {
            assert_eq!(pages, 3);
            break;
        }
        cursor = format!("&cursor={at}");
    }
    assert_eq!(read, sent, "events are as over the socket");
    let end = history(&server, &format!("?cursor={epoch}:7")).await.json;
    assert_eq!((&end["events"], &end["cursor"]), (&json!([]), &json!(format!("{epoch}:7"))));
    for cursor in [format!("{epoch}:8"), "another:3".to_owned()] {
        let answer = history(&server, &format!("?cursor={cursor}")).await;
        problem(&answer, 409, "conflict");
        assert_eq!(answer.json["payload"], json!({ "epoch": epoch, "head": 7, "floor": 0 }));
    }
    for query in
        ["limit=0", "limit=1001", "limit=x", "limit=-1", "cursor=7", "cursor=", "before=1", "device=d"]
    {
        problem(&history(&server, &format!("?{query}")).await, 400, "bad_request");
    }
}

#[tokio::test]
async fn history_behind_the_floor_begins_at_the_floor() {
    let server = Server::with(&[("RETENTION_TOPIC_EVENTS", "2"), ("RETENTION_INTERVAL", "10ms")]).await;
    for n in 1..=5 {
        server.publish("t", "E", json!(n)).await;
    }
    server.is_cut_at("topic:t", 3).await;
    let epoch = history(&server, "").await.json["epoch"].as_str().unwrap().to_owned();
    for query in [String::new(), format!("?cursor={epoch}:1"), format!("?cursor={epoch}:3")] {
        let page = history(&server, &query).await.json;
        assert_eq!((&page["head"], &page["floor"]), (&json!(5), &json!(3)), "{query}");
        let seqs: Vec<_> =
            page["events"].as_array().unwrap().iter().map(|event| event["seq"].clone()).collect();
        assert_eq!(seqs, [4, 5], "{query}");
        assert_eq!(page["cursor"], format!("{epoch}:5"));
    }
}
