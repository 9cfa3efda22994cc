//! Notices of SQL transactions: each is read by every node, once, when its transaction has committed.

use std::{collections::BTreeMap, sync::Arc};

use gateway::store::{NoticeReader, Noticed, Store};
use sqlx::{Connection, PgConnection};

use crate::{
    fixture::{Database, LIMITS, PATIENT, append, log_of, one},
    postgres::{Server, server},
};

struct Scene {
    database: Server,
    store: Arc<dyn Store>,
}

impl Scene {
    async fn new() -> Self {
        let database = server().await;
        let store = database.open(LIMITS).await;
        Self { database, store }
    }

    /// A node's reader that has its position.
    async fn reader(&self) -> Box<dyn NoticeReader> {
        let mut reader = self.store.notices().await.unwrap().unwrap();
        let first = reader.next().await.unwrap();
        assert!(!first.complete && first.streams.is_empty(), "nobody can say what came before: {first:?}");
        reader
    }

    async fn application(&self) -> PgConnection {
        PgConnection::connect(&self.database.url).await.unwrap()
    }
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

async fn publish(connection: &mut PgConnection, topic: &str) {
    run(connection, &format!("SELECT draftwire.publish('{topic}', 'E', '{{\"n\": 1}}')")).await;
}

/// The names and numbers; it is complete.
fn told(noticed: &Noticed) -> BTreeMap<String, u64> {
    assert!(noticed.complete);
    assert_eq!(noticed.epoch.is_some(), !noticed.streams.is_empty());
    noticed.streams.iter().map(|(stream, seq)| (stream.key(), seq.0)).collect()
}

fn streams<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected.into_iter().map(|(name, seq)| (name.to_owned(), seq)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_transaction_is_read_once_in_whatever_order_they_commit() {
    let scene = Scene::new().await;
    let (mut first_node, mut second_node) = (scene.reader().await, scene.reader().await);
    let mut applications = Vec::new();
    for topic in ["a", "b", "c", "d"] {
        let mut application = scene.application().await;
        run(&mut application, "BEGIN").await;
        publish(&mut application, topic).await;
        publish(&mut application, topic).await;
        applications.push(application);
        assert_eq!(told(&first_node.next().await.unwrap()), streams([]));
    }
    run(&mut applications[3], "COMMIT").await;
    assert_eq!(told(&first_node.next().await.unwrap()), streams([("topic:d", 2)]));
    assert_eq!(told(&first_node.next().await.unwrap()), streams([]));
    run(&mut applications[1], "ROLLBACK").await;
    run(&mut applications[0], "COMMIT").await;
    // Younger than the one that is still open.
    publish(&mut applications[3], "d").await;
    assert_eq!(told(&first_node.next().await.unwrap()), streams([("topic:a", 2), ("topic:d", 3)]));
    run(&mut applications[2], "COMMIT").await;
    assert_eq!(told(&first_node.next().await.unwrap()), streams([("topic:c", 2)]));
    assert_eq!(told(&first_node.next().await.unwrap()), streams([]));
    let all = streams([("topic:a", 2), ("topic:c", 2), ("topic:d", 3)]);
    assert_eq!(told(&second_node.next().await.unwrap()), all, "every node reads for itself");
    assert_eq!(log_of(&scene.store, &"topic:b".parse().unwrap()).await.len(), 0, "nothing of it is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_take_their_notices_back() {
    let scene = Scene::new().await;
    let mut node = scene.reader().await;
    let mut application = scene.application().await;
    run(&mut application, "BEGIN; SAVEPOINT one").await;
    publish(&mut application, "a").await;
    publish(&mut application, "b").await;
    run(&mut application, "ROLLBACK TO one; SAVEPOINT two").await;
    publish(&mut application, "a").await;
    run(&mut application, "RELEASE two").await;
    assert_eq!(told(&node.next().await.unwrap()), streams([]));
    run(&mut application, "COMMIT").await;
    assert_eq!(told(&node.next().await.unwrap()), streams([("topic:a", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_transaction_is_read_when_it_commits() {
    // A server of its own: it takes a setting.
    let postgres =
        testkit::Postgres::start_with(&[("max_prepared_transactions", "2"), ("fsync", "off")]).await.unwrap();
    let url = postgres.create_database().await.unwrap();
    let options = gateway::store::postgres::PostgresOptions {
        url: url.clone(),
        schema: Default::default(),
        history: Default::default(),
        connections_max: 2,
        state_cache_bytes_max: 0,
        timeout: PATIENT,
        limits: LIMITS,
    };
    let store = gateway::store::postgres::PostgresStore::new(&options).unwrap();
    store.migrate().await.unwrap();
    let mut node = store.notices().await.unwrap().unwrap();
    node.next().await.unwrap();
    let mut application = PgConnection::connect(&url).await.unwrap();
    run(&mut application, "BEGIN").await;
    publish(&mut application, "a").await;
    // Unlogged tables are no obstacle.
    run(&mut application, "PREPARE TRANSACTION 'one'").await;
    publish(&mut application, "b").await;
    assert_eq!(told(&node.next().await.unwrap()), streams([("topic:b", 1)]));
    run(&mut application, "COMMIT PREPARED 'one'").await;
    assert_eq!(told(&node.next().await.unwrap()), streams([("topic:a", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_commit_needs_no_notice() {
    let scene = Scene::new().await;
    let mut node = scene.reader().await;
    one(&scene.store, append("topic:a", &["E"])).await.unwrap();
    assert_eq!(told(&node.next().await.unwrap()), streams([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_can_be_read_at_once_is_said() {
    let scene = Scene::new().await;
    let mut node = scene.reader().await;
    let mut application = scene.application().await;
    let many = "INSERT INTO draftwire.notices SELECT txid_current(), 'topic:t' || n, 1 FROM generate_series(1, 10001) n";
    run(&mut application, many).await;
    let noticed = node.next().await.unwrap();
    assert!(!noticed.complete && noticed.streams.len() == 10_000, "{}", noticed.streams.len());
    assert_eq!(told(&node.next().await.unwrap()), streams([]), "and then it goes on");
}
