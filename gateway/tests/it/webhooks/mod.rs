//! Webhooks over a real Postgres and a real receiver: what is delivered, when it is not, and what operators do.

mod admin;
mod clock;
mod damage;
mod delivery;
mod examples;
mod presence;
mod presence_breaks;
mod receivers;
mod sizes;

use std::sync::Arc;

use gateway::store::{
    Limits,
    postgres::{HistorySource, PostgresOptions, PostgresStore, SchemaName},
};
use serde_json::{Value, json};
use testkit::{Postgres, Receiver, http::Answer, token, wait};

use crate::{
    DEADLINE,
    harness::{Disk, Server},
};

/// Quick enough for tests; a receiver that hangs is given up after half a second.
const SETTINGS: [(&str, &str); 4] = [
    ("WEBHOOKS_ALLOW_PRIVATE", "true"),
    ("WEBHOOK_TIMEOUT", "500ms"),
    ("WEBHOOK_RETRY_MAX", "50ms"),
    ("WEBHOOK_POLL_INTERVAL", "20ms"),
];

/// A node over a database of its own.
pub(crate) struct Hooked {
    pub(crate) server: Server,
    url: String,
    postgres: Arc<Postgres>,
}

async fn open(url: &str) -> Arc<Disk> {
    let options = PostgresOptions {
        url: url.to_owned(),
        schema: SchemaName::default(),
        history: HistorySource::default(),
        connections_max: 4,
        timeout: DEADLINE,
        limits: Limits { drafts_per_user_max: 20, draft_bytes_max: 4096, event_bytes_max: 4096 },
        state_cache_bytes_max: 1 << 20,
    };
    let store = PostgresStore::new(&options).unwrap();
    store.migrate().await.unwrap();
    store.prepare().await.unwrap();
    Disk::over(Arc::new(store))
}

impl Hooked {
    /// A node with some settings besides those of all.
    pub(crate) async fn with(some: &[(&str, &str)]) -> Self {
        Self::over(Arc::clone, some).await
    }

    /// A node whose store a test has put its hands on.
    async fn over(wrap: impl FnOnce(&Arc<Disk>) -> Arc<Disk>, some: &[(&str, &str)]) -> Self {
        let postgres = Postgres::shared().await.unwrap();
        let url = postgres.create_database().await.unwrap();
        let server = Server::on(&wrap(&open(&url).await), &[&SETTINGS, some].concat()).await;
        Self { server, url, postgres }
    }

    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// Another node of the same cluster.
    async fn another(&self) -> Server {
        Server::on(&open(&self.url).await, &SETTINGS).await
    }

    /// Changes the database behind the node's back, in one transaction.
    async fn sql(&self, statements: &str) -> String {
        self.plain_sql(&format!("SET search_path = draftwire; {statements}")).await
    }

    /// The same with one statement, which may have transactions of its own.
    async fn plain_sql(&self, statement: &str) -> String {
        let database = self.url.rsplit('/').next().unwrap();
        self.postgres.query(database, statement).await.unwrap()
    }

    /// A request of an operator.
    pub(crate) async fn admin(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let any = if matches!(method, "PATCH") { &[("if-match", "*")][..] } else { &[] };
        self.server.call(&admin(), method, &format!("/v1/admin/webhooks{path}"), any, &body).await
    }

    /// Adds a webhook: what is answered.
    async fn webhook(&self, receiver: &Receiver, filter: Value) -> Value {
        let created = self.admin("POST", "", json!({ "url": receiver.url(), "filter": filter })).await;
        assert_eq!(created.status, 201, "{}", created.text);
        created.json
    }

    /// A webhook as it stands.
    async fn shown(&self, webhook: &Value) -> Value {
        let answer = self.admin("GET", &path(webhook), Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json
    }

    /// Waits until a webhook is as a test wants it.
    async fn until(&self, what: &str, webhook: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, DEADLINE, || async {
            let shown = self.shown(webhook).await;
            if wanted(&shown) { Ok(shown) } else { Err(shown) }
        })
        .await
    }
}

/// The token of an operator.
pub(crate) fn admin() -> String {
    token::scoped("operator", "admin")
}

fn path(webhook: &Value) -> String {
    format!("/{}", webhook["id"].as_str().unwrap())
}

/// Waits until a receiver has seen these events of a stream, and no others.
async fn seen(receiver: &Receiver, stream: &str, expected: impl IntoIterator<Item = u64>) {
    let expected: Vec<u64> = expected.into_iter().collect();
    wait::until("the events to be delivered", DEADLINE, || async {
        let seen = receiver.seen(stream);
        if seen == expected { Ok(()) } else { Err(format!("{seen:?}, {:?}", receiver.wrong())) }
    })
    .await;
    assert_eq!(receiver.wrong(), [] as [String; 0]);
}
