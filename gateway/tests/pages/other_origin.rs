//! The HTTP API as a page of another origin uses it: preflights, and answers that the page may read.

use anyhow::Result;
use serde_json::{Value, json};
use testkit::{Node, NodeOptions, token};

use crate::browser::Browser;

/// What the page does. It is given the server's address and tokens, and returns what it could see.
const PAGE_SCRIPT: &str = r#"
const [server, token, expired] = arguments;
const call = async (method, path, body, headers = {}, bearer = token) => {
    const answer = await fetch(server + path, {
        method,
        headers: { authorization: `Bearer ${bearer}`, "content-type": "application/json", ...headers },
        body: body === undefined ? undefined : JSON.stringify(body),
    });
    const seen = { status: answer.status, body: await answer.json() };
    for (const name of ["etag", "location", "retry-after", "www-authenticate", "draftwire-node"]) {
        const value = answer.headers.get(name);
        if (value !== null) seen[name] = value;
    }
    return seen;
};
const firstEvent = (type) => new Promise((resolve, reject) => {
    const events = new EventSource(`${server}/v1/stream?topics=t&token=${token}`);
    events.addEventListener(type, (event) => { events.close(); resolve(JSON.parse(event.data)); });
    events.addEventListener("WELCOME", () => {
        call("POST", "/v1/topics/t/events", { event: "GOAL", data: 1 }).catch(reject);
    });
    events.addEventListener("error", () => reject(new Error("the event stream failed")));
});
return (async () => ({
    created: await call("POST", "/v1/drafts", { draftId: "d1", content: { a: 1 } },
                        { "idempotency-key": "k1" }),
    read: await call("GET", "/v1/drafts/d1"),
    patched: await call("PATCH", "/v1/drafts/d1", { a: 2 }, { "if-match": '"1"' }),
    stale: await call("PATCH", "/v1/drafts/d1", { a: 3 }, { "if-match": '"1"' }),
    conflict: await call("PATCH", "/v1/drafts/d1?baseVersion=1", { a: 3 }),
    expired: await call("GET", "/v1/drafts", undefined, {}, expired),
    none: await call("GET", "/v1/drafts/none"),
    deleted: await call("DELETE", "/v1/drafts/d1"),
    event: await firstEvent("GOAL"),
    history: await call("GET", "/v1/topics/t/events?limit=10"),
}))();
"#;

/// Whether a page gets any answer at all.
const REACHES_SCRIPT: &str = r#"
const [server, token] = arguments;
const headers = { authorization: `Bearer ${token}` };
return fetch(server + "/v1/drafts", { headers }).then(() => true, () => false);
"#;

#[tokio::test]
async fn a_page_of_another_origin_uses_the_api() -> Result<()> {
    let binary = env!("CARGO_BIN_EXE_draftwire");
    // Any page of its own origin will do; this one comes without a policy of what it may load.
    let pages = Node::start(NodeOptions::embedded(binary)).await?;
    let origin = pages.http_url("");
    let server = Node::start(NodeOptions::embedded(binary).env("ALLOWED_ORIGINS", &origin)).await?;
    let browser = Browser::start().await?;
    browser.open(&pages.http_url("/livez")).await?;
    let token = token::scoped("alice", "subscribe:* publish:*");
    let expired = token::sign(&json!({ "sub": "alice", "exp": 1 }), token::SECRET);
    let seen = browser.run(PAGE_SCRIPT, json!([server.http_url(""), token, expired])).await?;
    let of = |step: &str, field: &str| seen[step][field].clone();
    let statuses: Vec<Value> =
        ["created", "read", "patched", "stale", "conflict", "expired", "none", "deleted", "history"]
            .iter()
            .map(|step| of(step, "status"))
            .collect();
    assert_eq!(statuses, [201, 200, 200, 412, 409, 401, 404, 200, 200], "{seen}");
    assert_eq!((of("created", "location"), of("created", "etag")), (json!("/v1/drafts/d1"), json!("\"1\"")));
    assert_eq!((of("read", "etag"), of("patched", "etag")), (json!("\"1\""), json!("\"2\"")));
    assert_eq!(seen["conflict"]["body"]["payload"]["fields"], json!(["/a"]));
    assert_eq!(of("expired", "www-authenticate"), "Bearer");
    assert_eq!(seen["expired"]["body"]["code"], "unauthorized");
    assert_eq!(of("history", "draftwire-node"), "node");
    assert_eq!((&seen["event"]["type"], &seen["event"]["payload"]), (&json!("GOAL"), &json!(1)));
    assert_eq!(seen["history"]["body"]["events"][0]["type"], "GOAL");

    // The same page by another name is a page of an origin that is not listed.
    let unlisted = pages.http_url("/livez").replace("127.0.0.1", "localhost");
    browser.open(&unlisted).await?;
    let reached = browser.run(REACHES_SCRIPT, json!([server.http_url(""), token])).await?;
    assert_eq!(reached, json!(false), "a page that is not listed read an answer");
    Ok(())
}
