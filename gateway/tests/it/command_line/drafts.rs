//! `draftwire drafts`.

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::token;

use super::{Line, draftwire};
use crate::harness::Server;

fn drafts(server: &Server, arguments: &str) -> Line {
    let line = draftwire(&format!("http://{}", server.addr), &format!("drafts {arguments}"));
    line.token(&token::good("alice"))
}

#[tokio::test]
async fn drafts_are_created_read_changed_and_deleted() {
    let server = Server::start().await;
    let created = drafts(&server, "create --id order-1 --kind order").run(r#"{ "quantity": 4.0 }"#).await;
    assert_eq!(created.done(), [json!({ "draftId": "order-1", "version": 1, "seq": 1 })]);
    let update = |version: u64, patch: &str| {
        let line = drafts(&server, &format!("update order-1 --base-version {version} --patch"));
        line.arg(patch).run("")
    };
    let updated = update(1, r#"{ "title": "Chairs" }"#).await.done();
    assert_eq!(updated, [json!({ "draftId": "order-1", "version": 2, "seq": 2 })]);
    // Another field, so both changes hold; then the same one.
    update(1, r#"{ "quantity": 6 }"#).await.done();
    update(1, r#"{ "quantity": 7 }"#)
        .await
        .failed(1, "conflict: /quantity changed since the base version; it is at version 3");
    let got = drafts(&server, "get order-1").run("").await.done();
    assert_eq!(got[0]["content"], json!({ "title": "Chairs", "quantity": 6 }));
    assert_eq!((&got[0]["version"], &got[0]["kind"]), (&json!(3), &json!("order")));
    drafts(&server, "create --id order-1 --content {}").run("").await.failed(1, "conflict: ");
    // Made again under its key, it is the same one.
    let keyed = async || drafts(&server, "create --content {} --key k1").run("").await.done();
    assert_eq!(keyed().await, keyed().await);
    assert_eq!(drafts(&server, "list").run("").await.done().len(), 2);
    drafts(&server, "delete order-1 --base-version 2").run("").await.failed(1, "conflict: ");
    let deleted = drafts(&server, "delete order-1").run("").await.done();
    assert_eq!(deleted[0]["version"], 4);
    drafts(&server, "get order-1").run("").await.failed(1, "not_found: ");
    for (input, what) in
        [("", "no JSON"), ("{", "no JSON"), ("[]", "must be an object"), ("{} {}", "no JSON")]
    {
        drafts(&server, "create").run(input).await.failed(2, what);
    }
    drafts(&server, "create").run(b"{\"a\":\"\xff\"}".to_vec()).await.failed(2, "not UTF-8");
    drafts(&server, "create").run("x".repeat((4 << 20) + 1)).await.failed(2, "longer than");
    let large = json!({ "text": "x".repeat(70_000) }).to_string();
    drafts(&server, "create").run(large).await.failed(1, "too_large: ");
    server.stop().await;
}

#[tokio::test]
async fn changes_are_watched() {
    let server = Server::start().await;
    drafts(&server, "create --id a --content {\"n\":1}").run("").await.done();
    let mut watching = drafts(&server, "watch").start();
    let first = watching.line().await;
    assert_eq!((&first["type"], &first["drafts"][0]["draftId"]), (&json!("SNAPSHOT"), &json!("a")));
    drafts(&server, "create --id b --content {} --device tool").run("").await.done();
    let created = watching.line().await;
    assert_eq!((&created["type"], &created["draft"]["draftId"]), (&json!("DRAFT_CREATED"), &json!("b")));
    drafts(&server, "update a --base-version 1 --patch {\"m\":2} --device tool").run("").await.done();
    let updated = watching.line().await;
    assert_eq!((&updated["type"], &updated["origin"]), (&json!("DRAFT_UPDATED"), &json!("tool")));
    assert_eq!(updated["patch"], json!({ "m": 2 }));
    assert_eq!(updated["draft"]["content"], json!({ "n": 1, "m": 2 }));
    drafts(&server, "delete b").run("").await.done();
    assert_eq!(watching.line().await["type"], "DRAFT_DELETED");
    watching.signal(Signal::INT);
    let ended = watching.ended().await;
    assert_eq!(ended.status.code(), Some(130), "{}", ended.errors);
    assert_eq!((ended.errors.as_str(), ended.lines), ("", Vec::<Value>::new()));
    server.stop().await;
}
