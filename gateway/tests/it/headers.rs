//! What the header fields of answers tell caches and clients on the way.

use serde_json::json;
use testkit::token;

use crate::harness::{ALL_TOPICS, Server, service};

/// A shared cache, and the cache of a browser that another user uses later, must keep none of it.
#[tokio::test]
async fn nothing_behind_a_token_is_kept_by_caches() {
    let server = Server::start().await;
    let created =
        server.api("alice", "POST", "/v1/drafts", &[], Some(json!({ "draftId": "d", "content": {} }))).await;
    assert_eq!(created.header("cache-control"), Some("no-store"));
    let alice = token::scoped("alice", ALL_TOPICS);
    let known = [("if-none-match", "\"1\"")];
    let by_query = format!("/v1/drafts/d?token={}", token::good("alice"));
    let answers = [
        (200, server.call(&alice, "GET", "/v1/drafts", &[], "").await),
        (200, server.call(&alice, "GET", "/v1/drafts/d", &[], "").await),
        (200, server.call(&alice, "HEAD", "/v1/drafts/d", &[], "").await),
        (304, server.call(&alice, "GET", "/v1/drafts/d", &known, "").await),
        (200, server.call("", "GET", &by_query, &[], "").await),
        (200, server.call(&alice, "PATCH", "/v1/drafts/d?baseVersion=1", &[], "{\"a\":1}").await),
        (201, server.call(&alice, "POST", "/v1/topics/t/events", &[], "{\"event\":\"E\"}").await),
        (200, server.call(&alice, "GET", "/v1/topics/t/events", &[], "").await),
        (201, server.call(&service(), "POST", "/v1/broadcast", &[], "{\"event\":\"E\"}").await),
        (401, server.call("", "GET", "/v1/drafts/d?token=x", &[], "").await),
        (403, server.call(&token::good("bob"), "GET", "/v1/topics/t/events", &[], "").await),
        (404, server.call(&alice, "GET", "/v1/drafts/none", &[], "").await),
        (404, server.call(&alice, "GET", "/v1/nothing", &[], "").await),
        (405, server.call(&alice, "PUT", "/v1/drafts", &[], "").await),
        (200, server.call("", "GET", "/livez", &[], "").await),
        (426, server.call(&alice, "GET", "/ws/realtime", &[], "").await),
    ];
    for (status, answer) in answers {
        assert_eq!((answer.status, answer.header("cache-control")), (status, Some("no-store")), "{answer:?}");
    }
}

/// The demo's files are the same for everybody, and are only to be asked for again.
#[tokio::test]
async fn public_files_say_for_themselves_how_they_are_kept() {
    let server = Server::start().await;
    let answer = server.call("", "GET", "/demo/app.js", &[], "").await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-cache")));
}

/// HEAD is GET without the content (RFC 9110 section 9.3.2), on every route that has a GET.
#[tokio::test]
async fn head_is_answered_like_get_without_content() {
    let server = Server::start().await;
    let alice = token::scoped("alice", ALL_TOPICS);
    server.api("alice", "POST", "/v1/drafts", &[], Some(json!({ "draftId": "d", "content": {} }))).await;
    let paths = [
        "/",
        "/demo/app.js",
        "/healthz",
        "/readyz",
        "/livez",
        "/v1/drafts",
        "/v1/drafts/d",
        "/v1/drafts/none",
        "/v1/topics/t/events",
        "/v1/stream?topics=t",
        "/v1/nothing",
        "/nothing",
        "/ws/realtime",
    ];
    for path in paths {
        let head = server.call(&alice, "HEAD", path, &[], "").await;
        let url = format!("http://{}{path}", server.addr);
        let get =
            testkit::http::builder().build().unwrap().get(url).bearer_auth(&alice).send().await.unwrap();
        assert_eq!((head.status, head.text.as_str()), (get.status().as_u16(), ""), "{path}");
        for name in ["content-type", "content-length", "etag", "cache-control"] {
            let of_get = get.headers().get(name).map(|value| value.to_str().unwrap());
            // How long the answer to another moment's question is may differ.
            if path != "/healthz" || name != "content-length" {
                assert_eq!(head.header(name), of_get, "{path}: {name}");
            }
        }
    }
    testkit::wait::until("no stream to be left", crate::DEADLINE, || async {
        let left = server.node.connections.total();
        if left == 0 { Ok(()) } else { Err(format!("{left} streams")) }
    })
    .await;
}
