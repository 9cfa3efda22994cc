//! What an acknowledgement means, whatever the settings of the database.

use std::sync::Arc;

use gateway::store::{
    Store, Write,
    postgres::{HistorySource, PostgresOptions, PostgresStore, SchemaName},
};
use serde_json::json;
use testkit::{Postgres, Service};

use crate::fixture::{LIMITS, PATIENT, append, create, log_of, with_id};

fn store(url: String) -> PostgresStore {
    let (timeout, schema) = (PATIENT, SchemaName::default());
    let history = HistorySource::default();
    let options = PostgresOptions {
        url,
        schema,
        history,
        connections_max: 2,
        timeout,
        limits: LIMITS,
        state_cache_bytes_max: 1 << 20,
    };
    PostgresStore::new(&options).unwrap()
}

/// With `synchronous_commit = off` a commit is written by the WAL writer some time later, here long after the
/// crash.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_acknowledged_survives_a_crash() {
    let mut server =
        Postgres::start_with(&[("synchronous_commit", "off"), ("wal_writer_delay", "10s")]).await.unwrap();
    let url = server.create_database().await.unwrap();
    let first = store(url.clone());
    first.migrate().await.unwrap();
    first.close().await;
    let draft = create("ann", "d", json!({}));
    let one_of_each: [&[Write]; 3] = [
        &[append("topic:t", &["E"])],
        &[with_id("1", draft.clone())],
        // Both at once are decided under locks.
        &[append("topic:t", &["F"]), create("ann", "e", json!({}))],
    ];
    for writes in one_of_each {
        let store: Arc<dyn Store> = Arc::new(store(url.clone()));
        let committed = store.commit(writes).await.unwrap();
        assert!(committed.answers.iter().all(Result::is_ok));
        server.kill9();
        server.start_again().await.unwrap();
        let store: Arc<dyn Store> = Arc::new(self::store(url.clone()));
        for event in committed.events {
            let kept = log_of(&store, &event.stream).await.len() as u64;
            assert_eq!(kept, event.seq.0, "events of {}", event.stream);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_may_take_is_said_at_the_start() {
    let careful = Postgres::start().await.unwrap();
    let quick = Postgres::start_quick().await.unwrap();
    for (server, expected) in [(&careful, vec![]), (&quick, vec!["fsync", "full_page_writes"])] {
        let store = store(server.create_database().await.unwrap());
        store.migrate().await.unwrap();
        let warnings = store.durability_warnings().await.unwrap();
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, setting) in warnings.iter().zip(expected) {
            assert!(warning.contains(&format!("{setting} = off")), "{warning}");
        }
    }
    careful.query("db0", "ALTER TABLE draftwire.events SET UNLOGGED").await.unwrap();
    let warnings = store(careful.url("db0")).durability_warnings().await.unwrap();
    assert!(warnings.len() == 1 && warnings[0].contains("draftwire.events"), "{warnings:?}");
}
