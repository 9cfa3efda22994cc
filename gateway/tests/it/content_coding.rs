//! Content codings (RFC 9110 section 8.4): none in requests, gzip in answers to those who ask for it.

use std::io::Read as _;

use flate2::read::GzDecoder;
use reqwest::{Response, header::HeaderMap};
use serde_json::json;
use testkit::token;

use crate::harness::{ALL_TOPICS, Server, problem};

/// Asks with an `Accept-Encoding`, and leaves the answer as it came.
async fn get(server: &Server, path: &str, accept: &str) -> Response {
    let client = testkit::http::builder().build().unwrap();
    let request = client.get(format!("http://{}{path}", server.addr));
    let request = request.bearer_auth(token::scoped("alice", ALL_TOPICS)).header("accept-encoding", accept);
    request.send().await.unwrap()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

async fn with_drafts() -> Server {
    let server = Server::start().await;
    for (id, bytes) in [("large", 3000), ("small", 10)] {
        let body = json!({ "draftId": id, "content": { "a": "x".repeat(bytes) } });
        assert_eq!(server.api("alice", "POST", "/v1/drafts", &[], Some(body)).await.status, 201);
    }
    server
}

#[tokio::test]
async fn a_request_with_a_coding_is_refused_and_the_answer_says_which_would_do() {
    let server = Server::start().await;
    let body = r#"{"content":{}}"#;
    for coding in ["gzip", "br", "identity, gzip", "x"] {
        for path in ["/v1/drafts", "/v1/topics/t/events"] {
            let headers = [("content-encoding", coding)];
            let answer = server.call(&token::scoped("alice", ALL_TOPICS), "POST", path, &headers, body).await;
            problem(&answer, 415, "bad_request");
            assert_eq!(answer.header("accept-encoding"), Some("identity"), "{coding}");
            assert!(answer.json["detail"].as_str().unwrap().contains("Content-Encoding"), "{answer:?}");
        }
    }
    for coding in ["identity", "Identity", ""] {
        let headers = [("content-encoding", coding)];
        let answer = server.call(&token::good("alice"), "POST", "/v1/drafts", &headers, body).await;
        assert_eq!(answer.status, 201, "{coding:?}: {answer:?}");
    }
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let server = with_drafts().await;
    for path in ["/v1/drafts/large", "/v1/drafts", "/demo/app.js"] {
        let plain = get(&server, path, "identity").await;
        assert_eq!(text(plain.headers(), "content-encoding"), None);
        let vary = text(plain.headers(), "vary").unwrap_or_default().to_ascii_lowercase();
        assert!(vary.contains("accept-encoding"), "{path}: {vary}");
        let plain = plain.bytes().await.unwrap();
        for accept in ["gzip", "gzip, deflate, br, zstd", "*"] {
            let answer = get(&server, path, accept).await;
            assert_eq!(text(answer.headers(), "content-encoding"), Some("gzip"), "{path}");
            let body = answer.bytes().await.unwrap();
            assert!(body.len() < plain.len(), "{path}");
            let mut decoded = Vec::new();
            GzDecoder::new(&body[..]).read_to_end(&mut decoded).unwrap();
            assert_eq!(decoded, plain, "{path}");
        }
    }
    let refused = get(&server, "/v1/drafts/large", "gzip;q=0").await;
    assert_eq!(text(refused.headers(), "content-encoding"), None);
    let small = get(&server, "/v1/drafts/small", "gzip").await;
    assert_eq!(text(small.headers(), "content-encoding"), None);
}

/// A strong tag names the bytes, coding included (RFC 9110 section 8.8.3.3), and is good for conditions
/// whichever answer it came with.
#[tokio::test]
async fn the_tag_of_a_compressed_draft_is_its_own_and_matches() {
    let server = with_drafts().await;
    let answer = get(&server, "/v1/drafts/large", "gzip").await;
    let tag = text(answer.headers(), "etag").unwrap().to_owned();
    assert!(tag.starts_with('"') && tag != "\"1\"", "{tag}");
    for tag in [tag.as_str(), "\"1\""] {
        let known = server.api("alice", "GET", "/v1/drafts/large", &[("if-none-match", tag)], None).await;
        assert_eq!((known.status, known.header("etag")), (304, Some(tag)));
    }
    let patch = Some(json!({ "a": 1 }));
    let patched = server.api("alice", "PATCH", "/v1/drafts/large", &[("if-match", &tag)], patch).await;
    assert_eq!((patched.status, patched.header("etag")), (200, Some("\"2\"")), "{patched:?}");
}

/// Compressed, an event would wait in the compressor for those behind it.
#[tokio::test]
async fn event_streams_are_not_compressed() {
    let server = Server::start().await;
    let mut answer = get(&server, "/v1/stream?topics=t", "gzip").await;
    assert_eq!(text(answer.headers(), "content-encoding"), None);
    assert_eq!(text(answer.headers(), "cache-control"), Some("no-store, no-transform"));
    assert_eq!(text(answer.headers(), "x-accel-buffering"), Some("no"));
    server.publish("t", "E", json!("x".repeat(3000))).await;
    let mut read = String::new();
    while !read.contains("event: E\n") {
        read += std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap();
    }
}
