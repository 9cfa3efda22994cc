//! The HTTP API for pages of other origins (Fetch standard, CORS protocol).

use serde_json::json;
use testkit::{http::Answer, token};

use crate::harness::{ALL_TOPICS, Server};

const PAGE: &str = "https://app.example.com";

/// Every route of the API, with the methods that pages use there.
const ROUTES: [(&str, &[&str]); 6] = [
    ("/v1/drafts", &["GET", "POST"]),
    ("/v1/drafts/d1", &["GET", "PATCH", "DELETE"]),
    ("/v1/topics/t/events", &["GET", "POST"]),
    ("/v1/users/alice/events", &["POST"]),
    ("/v1/broadcast", &["POST"]),
    ("/v1/stream", &["GET"]),
];

async fn preflight(server: &Server, path: &str, origin: &str, method: &str) -> Answer {
    let headers = [
        ("origin", origin),
        ("access-control-request-method", method),
        ("access-control-request-headers", "authorization,content-type,idempotency-key,if-match"),
    ];
    server.call("", "OPTIONS", path, &headers, "").await
}

fn words<'a>(answer: &'a Answer, header: &str) -> Vec<&'a str> {
    answer.header(header).unwrap_or_default().split(',').map(str::trim).collect()
}

#[track_caller]
fn is_readable_by_the_page(answer: &Answer) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE), "{answer:?}");
    assert!(words(answer, "vary").contains(&"origin"), "{answer:?}");
    let exposed = words(answer, "access-control-expose-headers");
    for header in ["etag", "location", "retry-after", "www-authenticate", "draftwire-node", "x-request-id"] {
        assert!(exposed.contains(&header), "{header} is not in {exposed:?}");
    }
}

#[tokio::test]
async fn a_preflight_is_answered_on_every_route() {
    let server = Server::with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    for (path, methods) in ROUTES {
        for method in methods {
            let answer = preflight(&server, path, PAGE, method).await;
            assert_eq!(answer.status / 100, 2, "{method} {path}: {answer:?}");
            assert_eq!(answer.header("access-control-allow-origin"), Some(PAGE));
            assert!(words(&answer, "access-control-allow-methods").contains(method), "{answer:?}");
            let allowed = words(&answer, "access-control-allow-headers");
            for header in ["authorization", "content-type", "idempotency-key", "if-match", "if-none-match"] {
                assert!(allowed.contains(&header), "{header} is not in {allowed:?}");
            }
            let max_age = answer.header("access-control-max-age").and_then(|text| text.parse::<u32>().ok());
            assert!(max_age.is_some_and(|seconds| seconds >= 600), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn pages_that_are_not_listed_are_allowed_nothing() {
    let listed = Server::with(&[("ALLOWED_ORIGINS", PAGE)]).await;
    let same = Server::start().await;
    let strangers = [
        (&listed, "https://evil.example.com"),
        (&listed, "https://app.example.com.evil.example"),
        (&listed, "http://app.example.com"),
        (&listed, "null"),
        (&same, PAGE),
    ];
    for (server, origin) in strangers {
        let headers = [("origin", origin)];
        let answers = [
            preflight(server, "/v1/drafts", origin, "POST").await,
            server.api("alice", "GET", "/v1/drafts", &headers, None).await,
            server.call("", "GET", "/v1/drafts", &headers, "").await,
        ];
        for answer in answers {
            assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn any_page_is_allowed_where_all_are() {
    let server = Server::with(&[("ALLOWED_ORIGINS", "*")]).await;
    let answer = preflight(&server, "/v1/drafts", PAGE, "POST").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    let answer = server.api("alice", "GET", "/v1/drafts", &[("origin", PAGE)], None).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
}

/// Without the header a page cannot even see the status.
#[tokio::test]
async fn refusals_are_readable_too() {
    let server = Server::with(&[
        ("ALLOWED_ORIGINS", PAGE),
        ("MAX_MESSAGE_BYTES", "1KiB"),
        ("CONNECTIONS_PER_USER", "1"),
    ])
    .await;
    let from = [("origin", PAGE)];
    let made = server
        .api("alice", "POST", "/v1/drafts", &from, Some(json!({ "draftId": "d", "content": {} })))
        .await;
    assert_eq!(made.status, 201);
    is_readable_by_the_page(&made);
    let (_only, _) = server.connect("alice", "").await;
    let again = json!({ "draftId": "d", "content": {} });
    let large = json!({ "content": { "a": "x".repeat(2000) } });
    let stale = [("origin", PAGE), ("if-match", "\"9\"")];
    let patch = Some(json!({ "a": 1 }));
    let drafts = "/v1/drafts";
    let refusals = [
        (401, server.call("", "GET", drafts, &from, "").await),
        (403, server.api("alice", "POST", "/v1/broadcast", &from, Some(json!({ "event": "E" }))).await),
        (404, server.api("alice", "GET", "/v1/drafts/none", &from, None).await),
        (404, server.api("alice", "GET", "/v1/nothing", &from, None).await),
        (405, server.api("alice", "PUT", drafts, &from, None).await),
        (409, server.api("alice", "POST", drafts, &from, Some(again)).await),
        (412, server.api("alice", "PATCH", "/v1/drafts/d", &stale, patch.clone()).await),
        (413, server.api("alice", "POST", drafts, &from, Some(large)).await),
        (428, server.api("alice", "PATCH", "/v1/drafts/d", &from, patch).await),
        (429, server.call(&token::scoped("alice", ALL_TOPICS), "GET", "/v1/stream", &from, "").await),
    ];
    for (status, answer) in refusals {
        assert_eq!(answer.status, status, "{answer:?}");
        is_readable_by_the_page(&answer);
    }
    let stopping = server.node.drain();
    tokio::pin!(stopping);
    // The first poll is what begins the stop.
    let _ = futures_util::poll!(&mut stopping);
    let answer = server.call(&token::good("bob"), "GET", "/v1/stream", &from, "").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    is_readable_by_the_page(&answer);
}
