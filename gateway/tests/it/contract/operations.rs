//! Every status of every operation in docs/openapi.yaml is met.

use std::collections::BTreeSet;

use testkit::{
    contract::documents,
    handshake::{self, HEADERS},
    token,
};

use crate::{
    failing_store::FailingStore,
    harness::{ALL_TOPICS, Disk, Server, service},
    webhooks::{Hooked, admin as operator},
};

/// A request and the status of its answer: the request line, header fields, the body.
type Step<'a> = (u16, &'a str, &'a [(&'a str, &'a str)], &'a str);

/// The operations and statuses that were met.
#[derive(Default)]
struct Met(BTreeSet<(String, u16)>);

impl Met {
    fn note(&mut self, line: &str, status: u16) {
        let (method, path) = line.split_once(' ').unwrap();
        let path = path.split('?').next().unwrap();
        let operation = documents().operation(method, path).expect("an operation");
        self.0.insert((operation.id.clone(), status));
    }

    async fn walk(&mut self, server: &Server, token: &str, steps: &[Step<'_>]) {
        for (status, line, headers, body) in steps {
            let (method, path) = line.split_once(' ').unwrap();
            let answer = server.call(token, method, path, headers, body).await;
            assert_eq!(answer.status, *status, "{line}: {}", answer.text);
            self.note(line, *status);
        }
    }

    /// Asks until it is too much, for each of these. What is sent is wrong, so that nothing is changed.
    async fn flood(&mut self, server: &Server, token: &str, lines: &[&str]) {
        for line in lines {
            let (method, path) = line.split_once(' ').unwrap();
            let mut status = 0;
            for _ in 0..1000 {
                let answer = server.call(token, method, &format!("{path}?flood=1"), &[], "[]").await;
                status = answer.status;
                if status == 429 {
                    assert_eq!(answer.header("retry-after"), Some("1"));
                    break;
                }
                assert_eq!(status, 400, "{line}: {}", answer.text);
            }
            assert_eq!(status, 429, "{line}");
            self.note(line, status);
        }
    }

    /// A GET whose answer is looked at no further than its header fields: what follows does not end.
    async fn open(
        &mut self,
        server: &Server,
        token: &str,
        status: u16,
        path: &str,
        headers: &[(&str, &str)],
    ) {
        let bearer = format!("Bearer {token}");
        let headers = [headers, &[("authorization", bearer.as_str())]].concat();
        let answered = handshake::get(&server.addr.to_string(), path, &headers).await.unwrap();
        assert_eq!(answered.status, status, "{path}");
        self.note(&format!("GET {path}"), status);
    }
}

const GZIP: &[(&str, &str)] = &[("content-encoding", "gzip")];
const IF_NEW: &[(&str, &str)] = &[("if-none-match", "*")];
const IF_FIRST: &[(&str, &str)] = &[("if-match", "\"1\"")];

/// What operators ask for; webhooks are looked at by themselves.
const ADMIN: [&str; 11] = [
    "POST /v1/admin/users/alice/disconnect",
    "GET /v1/admin/operations",
    "GET /v1/admin/cluster",
    "GET /v1/admin/cluster/history",
    "GET /v1/admin/connections",
    "GET /v1/admin/streams/topic:t",
    "GET /v1/admin/settings",
    "GET /v1/admin/settings/history",
    "GET /v1/admin/settings/LINGER",
    "PUT /v1/admin/settings/LINGER",
    "DELETE /v1/admin/settings/LINGER",
];

/// The paths at which backends publish.
const PUBLISHING: [&str; 3] = ["/v1/topics/t/events", "/v1/users/alice/events", "/v1/broadcast"];

async fn drafts(met: &mut Met, server: &Server) {
    let large = format!(r#"{{"content":{{"a":"{}"}}}}"#, "x".repeat(5000));
    let patch = format!(r#"{{"a":"{}"}}"#, "x".repeat(5000));
    met.walk(
        server,
        &token::good("alice"),
        &[
            (201, "POST /v1/drafts", &[], r#"{"draftId":"d","kind":null,"content":{"a":1}}"#),
            (400, "POST /v1/drafts", &[], "{}"),
            (409, "POST /v1/drafts", &[], r#"{"draftId":"d","content":{}}"#),
            (412, "POST /v1/drafts", IF_NEW, r#"{"draftId":"d","content":{}}"#),
            (413, "POST /v1/drafts", &[], &large),
            (415, "POST /v1/drafts", GZIP, r#"{"content":{}}"#),
            (200, "GET /v1/drafts", &[], ""),
            (400, "GET /v1/drafts?limit=3", &[], ""),
            (200, "PATCH /v1/drafts/d?baseVersion=1", &[], r#"{"a":2}"#),
            (400, "PATCH /v1/drafts/d?baseVersion=1", &[], "[]"),
            (404, "PATCH /v1/drafts/none?baseVersion=1", &[], "{}"),
            (409, "PATCH /v1/drafts/d?baseVersion=1", &[], r#"{"a":3}"#),
            (412, "PATCH /v1/drafts/d", IF_FIRST, r#"{"a":3}"#),
            (413, "PATCH /v1/drafts/d?baseVersion=2", &[], &patch),
            (415, "PATCH /v1/drafts/d?baseVersion=2", GZIP, r#"{"a":3}"#),
            (428, "PATCH /v1/drafts/d", &[], r#"{"a":3}"#),
            (200, "GET /v1/drafts/d", &[], ""),
            (304, "GET /v1/drafts/d", &[("if-none-match", "\"2\"")], ""),
            (400, "GET /v1/drafts/d?limit=3", &[], ""),
            (404, "GET /v1/drafts/none", &[], ""),
            (412, "GET /v1/drafts/d", IF_FIRST, ""),
            (400, "DELETE /v1/drafts/d?baseVersion=x", &[], ""),
            (404, "DELETE /v1/drafts/none", &[], ""),
            (409, "DELETE /v1/drafts/d?baseVersion=1", &[], ""),
            (412, "DELETE /v1/drafts/d", IF_FIRST, ""),
            (200, "DELETE /v1/drafts/d?baseVersion=2", &[], ""),
        ],
    )
    .await;
    let unauthorized = ["GET /v1/drafts", "POST /v1/drafts", "GET /v1/drafts/d", "PATCH /v1/drafts/d"];
    for line in unauthorized.into_iter().chain(["DELETE /v1/drafts/d"]) {
        met.walk(server, "", &[(401, line, &[], "")]).await;
    }
}

async fn publishing(met: &mut Met, server: &Server) {
    let large = format!(r#"{{"event":"E","data":"{}"}}"#, "x".repeat(5000));
    for path in PUBLISHING {
        let line = format!("POST {path}");
        met.walk(
            server,
            &service(),
            &[
                (201, &line, &[], r#"{"event":"E","data":[1],"priority":"high"}"#),
                (201, &line, &[], r#"[{"event":"E"},{"event":"E","priority":null,"signal":false}]"#),
                (
                    201,
                    &line,
                    &[("content-type", "application/x-ndjson")],
                    "{\"event\":\"E\"}\n{\"event\":\"E\"}\n",
                ),
                (202, &line, &[], r#"{"event":"E","signal":true}"#),
                (400, &line, &[], r#"{"event":"WELCOME"}"#),
                (413, &line, &[], &large),
                (415, &line, GZIP, r#"{"event":"E"}"#),
            ],
        )
        .await;
        met.walk(server, "", &[(401, &line, &[], "")]).await;
        met.walk(server, &token::good("alice"), &[(403, &line, &[], "")]).await;
    }
}

async fn admin(met: &mut Met, server: &Server) {
    let disconnect = "POST /v1/admin/users/alice/disconnect";
    let large = "x".repeat((1 << 20) + 1);
    met.walk(
        server,
        &token::scoped("operator", "admin"),
        &[
            (202, disconnect, &[], ""),
            (202, disconnect, &[], r#"{"code":4403,"reason":"gone"}"#),
            (202, disconnect, &[], r#"{"code":null,"reason":null}"#),
            (400, disconnect, &[], r#"{"code":1}"#),
            (413, disconnect, &[], &large),
            (415, disconnect, GZIP, "{}"),
        ],
    )
    .await;
    met.walk(server, "", &[(401, disconnect, &[], "")]).await;
    met.walk(server, &service(), &[(403, disconnect, &[], "")]).await;
    let admin = token::scoped("operator", "admin");
    let (connections, stream) = ("GET /v1/admin/connections", "GET /v1/admin/streams/topic:t");
    let history = "GET /v1/admin/cluster/history";
    for line in ["GET /v1/admin/operations", "GET /v1/admin/cluster", history, connections, stream] {
        let misspelt = format!("{line}?nod=n1");
        met.walk(server, &admin, &[(200, line, &[], ""), (400, &misspelt, &[], "")]).await;
        met.walk(server, "", &[(401, line, &[], "")]).await;
        met.walk(server, &service(), &[(403, line, &[], "")]).await;
    }
    let live = "GET /v1/admin/live";
    met.open(server, &admin, 200, "/v1/admin/live", &[]).await;
    met.walk(server, &admin, &[(400, "GET /v1/admin/live?nod=n1", &[], "")]).await;
    met.walk(server, "", &[(401, live, &[], "")]).await;
    met.walk(server, &service(), &[(403, live, &[], "")]).await;
    let _watchers = watchers(server, &admin).await;
    met.walk(server, &admin, &[(429, live, &[], "")]).await;
    met.walk(server, &admin, &[(200, "GET /v1/admin/operations?cluster=true", &[], "")]).await;
}

/// As many who follow the cluster as there may be.
async fn watchers(server: &Server, token: &str) -> Vec<handshake::Answered> {
    let bearer = format!("Bearer {token}");
    let mut watchers = Vec::new();
    loop {
        let headers = [("authorization", bearer.as_str())];
        let answered = handshake::get(&server.addr.to_string(), "/v1/admin/live", &headers).await.unwrap();
        if answered.status == 429 {
            return watchers;
        }
        watchers.push(answered);
        assert!(watchers.len() <= 32, "there is a bound");
    }
}

async fn settings(met: &mut Met, server: &Server) {
    let (list, history) = ("GET /v1/admin/settings", "GET /v1/admin/settings/history");
    let [get, set, unset] =
        ["GET", "PUT", "DELETE"].map(|method| format!("{method} /v1/admin/settings/LINGER"));
    let missing = |line: &str| line.replace("LINGER", "NONE");
    let value = r#"{"value":"9s"}"#;
    let large = format!(r#"{{"value":"{}"}}"#, "x".repeat(1 << 20));
    for line in [list, history, &get, &set, &unset] {
        met.walk(server, "", &[(401, line, &[], value)]).await;
        met.walk(server, &service(), &[(403, line, &[], value)]).await;
        met.walk(server, &operator(), &[(400, &format!("{line}?none=1"), &[], value)]).await;
    }
    met.walk(
        server,
        &operator(),
        &[
            (200, list, &[], ""),
            (200, &set, &[], r#"{"value":"9s","percent":null,"by":null,"guard":null,"reason":null}"#),
            (400, &set, &[], r#"{"value":"9"}"#),
            (404, &missing(&set), &[], value),
            (412, &set, &[("if-match", "\"0\"")], value),
            (413, &set, &[], &large),
            (415, &set, GZIP, value),
            (200, history, &[], ""),
            (200, &get, &[], ""),
            (404, &missing(&get), &[], ""),
            (404, &missing(&unset), &[], ""),
            (412, &unset, &[("if-match", "\"0\"")], ""),
            (200, &unset, IF_FIRST, ""),
        ],
    )
    .await;
    let store = FailingStore::over(&*Disk::new().await);
    let failing = Server::on(&Disk::over(store.clone()), &[]).await;
    store.set_down(true);
    for line in [list, history, &get, &set, &unset] {
        met.walk(&failing, &operator(), &[(503, line, &[], value)]).await;
    }
}

async fn following(met: &mut Met, server: &Server) {
    let reader = token::scoped("alice", ALL_TOPICS);
    let history = "GET /v1/topics/t/events";
    met.walk(
        server,
        &reader,
        &[
            (200, history, &[], ""),
            (400, "GET /v1/topics/t/events?limit=0", &[], ""),
            (409, "GET /v1/topics/t/events?cursor=other:1", &[], ""),
            (400, "GET /v1/stream?cursor=none", &[], ""),
            (413, "GET /v1/stream?topics=a,b", &[], ""),
            (426, "GET /ws/realtime", &[], ""),
            (403, "GET /ws/realtime", &[("origin", "https://elsewhere.example")], ""),
        ],
    )
    .await;
    let presence = "GET /v1/topics/t/presence";
    let unknown = "GET /v1/topics/t/presence?limit=1";
    met.walk(server, &reader, &[(200, presence, &[], ""), (400, unknown, &[], "")]).await;
    for line in [history, presence, "GET /v1/stream?topics=t"] {
        met.walk(server, "", &[(401, line, &[], "")]).await;
        met.walk(server, &token::good("alice"), &[(403, line, &[], "")]).await;
    }
    met.open(server, &reader, 200, "/v1/stream?topics=t", &[]).await;
    met.open(server, &reader, 101, "/ws/realtime?device=phone", &HEADERS).await;
}

async fn node(met: &mut Met, server: &Server) {
    let open = ["GET /healthz", "GET /readyz", "GET /livez", "GET /openapi.json"];
    for line in open {
        met.walk(server, "", &[(200, line, &[], "")]).await;
    }
    let document = server.call("", "GET", "/openapi.json", &[], "").await;
    assert!(document.text == documents().openapi_json(), "it is the document of docs");
    assert_eq!(document.header("cache-control"), Some("no-cache"));
    let tag = document.header("etag").unwrap().to_owned();
    let compressed = format!("{}-gzip\"", tag.trim_end_matches('"'));
    for known in [tag.as_str(), &compressed, "*"] {
        met.walk(server, "", &[(304, "GET /openapi.json", &[("if-none-match", known)], "")]).await;
    }
    met.walk(server, "", &[(200, "GET /openapi.json", &[("if-none-match", "\"other\"")], "")]).await;
}

async fn webhooks(met: &mut Met, embedded: &Server) {
    let new =
        r#"{"url":"https://app.example.com/hook","filter":{"topics":["t"],"drafts":null},"from":"floor"}"#;
    let large = format!(r#"{{"url":"{}"}}"#, "x".repeat(100_000));
    let hooked = Hooked::with(&[("MAX_MESSAGE_BYTES", "64KiB")]).await;
    let made = hooked.admin("POST", "", serde_json::from_str(new).unwrap()).await;
    let id = made.json["id"].as_str().unwrap();
    let one = |method: &str| format!("{method} /v1/admin/webhooks/{id}");
    let (get, patch, delete) = (one("GET"), one("PATCH"), one("DELETE"));
    let (replay, secret) = (one("POST") + "/replay", one("POST") + "/secret");
    let (list, create) = ("GET /v1/admin/webhooks", "POST /v1/admin/webhooks");
    let any: &[(&str, &str)] = &[("if-match", "*")];
    let missing = |line: &str| line.replace(id, "none");
    let all = [list, create, &get, &patch, &delete, &replay, &secret];
    for line in all {
        met.walk(&hooked.server, "", &[(401, line, &[], "")]).await;
        met.walk(&hooked.server, &service(), &[(403, line, &[], "")]).await;
        met.walk(&hooked.server, &operator(), &[(400, &format!("{line}?limit=1"), any, "{}")]).await;
    }
    met.walk(
        &hooked.server,
        &operator(),
        &[
            (200, list, &[], ""),
            (201, create, &[], new),
            (400, create, &[], "{}"),
            (413, create, &[], &large),
            (415, create, GZIP, new),
            (200, &get, &[], ""),
            (404, &missing(&get), &[], ""),
            (200, &patch, IF_FIRST, r#"{"paused":true,"url":null}"#),
            (404, &missing(&patch), any, "{}"),
            (412, &patch, IF_FIRST, "{}"),
            (413, &patch, any, &large),
            (415, &patch, &[GZIP[0], any[0]], "{}"),
            (428, &patch, &[], "{}"),
            (202, &replay, &[], r#"{"from":"floor"}"#),
            (404, &missing(&replay), &[], r#"{"from":"floor"}"#),
            (409, &replay, &[], r#"{"stream":"topic:t","cursor":"other:1"}"#),
            (413, &replay, &[], &large),
            (415, &replay, GZIP, "{}"),
            (200, &secret, &[], r#"{"overlapSeconds":60}"#),
            (404, &missing(&secret), &[], "{}"),
            (413, &secret, &[], &large),
            (415, &secret, GZIP, "{}"),
            (404, &missing(&delete), &[], ""),
            (412, &delete, IF_FIRST, ""),
            (204, &delete, any, ""),
        ],
    )
    .await;
    // Without a store, and with one that keeps no webhooks.
    hooked.server.node.close().await;
    for server in [(503, &hooked.server), (501, embedded)] {
        let (status, server) = server;
        for line in all {
            let body = if line == create { new } else { "{}" };
            let body = if line == replay { r#"{"from":"floor"}"# } else { body };
            met.walk(server, &operator(), &[(status, line, any, body)]).await;
        }
    }
    met.flood(&hooked.server, &operator(), &all).await;
}

async fn trouble(met: &mut Met) {
    let store = FailingStore::over(&*Disk::new().await);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    store.set_down(true);
    met.walk(
        &server,
        &token::scoped("alice", ALL_TOPICS),
        &[
            (503, "GET /v1/drafts", &[], ""),
            (503, "POST /v1/drafts", &[], r#"{"content":{}}"#),
            (503, "GET /v1/drafts/d", &[], ""),
            (503, "PATCH /v1/drafts/d?baseVersion=1", &[], "{}"),
            (503, "DELETE /v1/drafts/d", &[], ""),
            (503, "GET /v1/topics/t/events", &[], ""),
            (503, "GET /v1/topics/t/presence", &[], ""),
            (503, "GET /v1/stream", &[], ""),
            (503, "GET /healthz", &[], ""),
        ],
    )
    .await;
    for path in PUBLISHING {
        met.walk(&server, &service(), &[(503, &format!("POST {path}"), &[], r#"{"event":"E"}"#)]).await;
    }
    let (disconnect, stream) = ("POST /v1/admin/users/alice/disconnect", "GET /v1/admin/streams/topic:t");
    let admin = token::scoped("operator", "admin");
    met.walk(&server, &admin, &[(503, disconnect, &[], ""), (503, stream, &[], "")]).await;
    let crowded = Server::with(&[("CONNECTIONS_PER_USER", "1")]).await;
    let (_device, _) = crowded.connect("alice", "").await;
    met.walk(&crowded, &token::good("alice"), &[(429, "GET /v1/stream", &[], "")]).await;
    let stopping = Server::with(&[("DRAIN_WINDOW", "10ms")]).await;
    assert_eq!(stopping.node.drain().await, 0);
    met.walk(&stopping, "", &[(503, "GET /readyz", &[], ""), (503, "GET /ws/realtime", &[], "")]).await;
}

#[tokio::test]
async fn every_status_that_is_described_is_met() {
    let mut met = Met::default();
    let server = Server::with(&[("TOPICS_PER_CONNECTION", "1")]).await;
    drafts(&mut met, &server).await;
    publishing(&mut met, &server).await;
    admin(&mut met, &server).await;
    settings(&mut met, &server).await;
    following(&mut met, &server).await;
    node(&mut met, &server).await;
    webhooks(&mut met, &server).await;
    trouble(&mut met).await;
    met.flood(&server, &operator(), &ADMIN).await;
    let operations = documents().operations().iter();
    let described: BTreeSet<_> = operations
        .flat_map(|operation| operation.statuses.iter().map(|status| (operation.id.clone(), *status)))
        .collect();
    assert_eq!(met.0, described);
}
