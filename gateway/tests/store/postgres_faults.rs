//! The store in Postgres while the server stops, hangs and comes back. Each test has a server of its
//! own.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::Seq;
use fanout::log::Read;
use gateway::store::{
    Store, StoreError,
    postgres::{HistorySource, PostgresOptions, PostgresStore, SchemaName},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use testkit::{Postgres, Proxy, Service};

use crate::fixture::{LIMITS, create, log, one, stream, with_id};

/// What a node is configured with.
const TIMEOUT: Duration = Duration::from_millis(900);

/// How long a call may take before the test gives up on it: much more than it should.
const PATIENCE: Duration = Duration::from_secs(30);

async fn store(url: String) -> Arc<dyn Store> {
    let options = PostgresOptions {
        url,
        schema: SchemaName::default(),
        history: HistorySource::default(),
        connections_max: 4,
        state_cache_bytes_max: 1 << 20,
        timeout: TIMEOUT,
        limits: LIMITS,
    };
    let store = PostgresStore::new(&options).unwrap();
    store.migrate().await.unwrap();
    Arc::new(store)
}

/// Repeats a write under one id until it is answered.
async fn until_answered(store: &Arc<dyn Store>, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match store.commit(&[with_id(name, create("ann", name, json!({})))]).await {
            Ok(committed) => {
                committed.answers[0].as_ref().unwrap();
                return;
            }
            Err(StoreError::Unavailable(_)) if Instant::now() < deadline => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_server_is_unavailable_until_it_goes_on() {
    let server = Postgres::start_quick().await.unwrap();
    let store = store(server.create_database().await.unwrap()).await;
    one(&store, create("ann", "before", json!({}))).await.unwrap();
    server.pause();
    // More calls than connections, some on used ones and some on new.
    let calls: Vec<_> = (0..12)
        .map(|i| {
            let store = store.clone();
            let call = async move {
                let write = create("ann", &format!("during-{i}"), json!({}));
                match i % 3 {
                    0 => store.commit(&[write]).await.map(|_| ()),
                    1 => store.drafts(&"ann".parse().unwrap()).await.map(|_| ()),
                    _ => store
                        .heads(&[stream("ann")])
                        .await
                        .map(|_| ())
                        .map_err(|error| StoreError::Unavailable(error.to_string())),
                }
            };
            tokio::spawn(tokio::time::timeout(PATIENCE, call))
        })
        .collect();
    for call in calls {
        let answer = call.await.unwrap().expect("every call ends");
        assert!(matches!(answer, Err(StoreError::Unavailable(_))), "{answer:?}");
    }
    server.resume();
    until_answered(&store, "after").await;
    // What was given up may have happened, as a whole.
    let drafts = store.drafts(&"ann".parse().unwrap()).await.unwrap().drafts;
    assert_eq!(log(&store, "ann").await.len(), drafts.len());
}

/// The machine of the primary is gone without a word, and another one has its name.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_lead_nowhere_are_given_up_together() {
    let server = Postgres::start_quick().await.unwrap();
    let direct = server.create_database().await.unwrap();
    let proxy = Proxy::start(server.port()).await.unwrap();
    let url = direct.replace(&format!(":{}/", server.port()), &format!(":{}/", proxy.port()));
    assert_ne!(url, direct);
    let options = PostgresOptions {
        url,
        schema: SchemaName::default(),
        history: HistorySource::default(),
        connections_max: 4,
        state_cache_bytes_max: 1 << 20,
        timeout: 3 * TIMEOUT,
        limits: LIMITS,
    };
    let store = PostgresStore::new(&options).unwrap();
    store.migrate().await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    one(&store, create("ann", "first", json!({}))).await.unwrap();

    // As many calls at the same time as there are connections.
    let mut other = PgConnection::connect(&direct).await.unwrap();
    let mut locking = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM draftwire.streams FOR UPDATE").execute(&mut *locking).await.unwrap();
    let calls: Vec<_> = (0..4)
        .map(|i| {
            let store = store.clone();
            tokio::spawn(async move { store.commit(&[create("ann", &format!("d{i}"), json!({}))]).await })
        })
        .collect();
    testkit::wait::until("all connections are in use", PATIENCE, async || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        let waiting = server.query("db0", waiting).await?;
        anyhow::ensure!(waiting == "4", "{waiting}");
        Ok(())
    })
    .await;
    locking.rollback().await.unwrap();
    for call in calls {
        call.await.unwrap().unwrap();
    }

    proxy.forget();
    let mut failed = 0;
    while let Err(error) = store.commit(&[create("bob", &format!("d{failed}"), json!({}))]).await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
        failed += 1;
        assert!(failed < 3, "one connection after the other is tried");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_is_unavailable_until_it_is_back() {
    let mut server = Postgres::start_quick().await.unwrap();
    let store = store(server.create_database().await.unwrap()).await;
    until_answered(&store, "before").await;
    let epoch = store.heads(&[]).await.unwrap().epoch;
    server.stop().await.unwrap();
    for _ in 0..10 {
        let failed = store.commit(&[create("ann", "during", json!({}))]).await;
        assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    }
    server.start_again().await.unwrap();
    until_answered(&store, "after").await;
    assert_eq!(log(&store, "ann").await.len(), 2);
    assert_eq!(store.heads(&[]).await.unwrap().epoch, epoch, "a restart loses nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_repeated_over_restarts_are_carried_out_once() {
    const WRITES: usize = 60;
    let mut server = Postgres::start_quick().await.unwrap();
    let store = store(server.create_database().await.unwrap()).await;
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for i in 0..WRITES {
                until_answered(&store, &format!("w{i}")).await;
            }
        }
    });
    for _ in 0..3 {
        server.stop().await.unwrap();
        server.start_again().await.unwrap();
    }
    writer.await.unwrap();
    // The writer may have been through before the last restart, which ended the connections of the others.
    until_answered(&store, "last").await;
    assert_eq!(log(&store, "ann").await.len(), WRITES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_begins_a_new_epoch_and_a_standby_answers_nothing() {
    let mut server = Postgres::start_quick().await.unwrap();
    let url = server.create_database().await.unwrap();
    let store = store(url.clone()).await;
    until_answered(&store, "before").await;
    let epoch = store.heads(&[]).await.unwrap().epoch;
    server.stop().await.unwrap();
    server.demote().unwrap();
    server.start_again().await.unwrap();
    let (ann, draft) = ("ann".parse().unwrap(), "before".parse().unwrap());
    let read = Read { stream: stream("ann"), after: Seq(0), limit: 1 };
    assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.drafts(&ann).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.draft(&ann, &draft).await, Err(StoreError::Unavailable(_))));
    let failed = store.commit(&[create("ann", "during", json!({}))]).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    assert!(store.heads(&[stream("ann")]).await.is_err());
    assert!(store.read(&[read]).await.is_err());
    let mut operator = PgConnection::connect(&url).await.unwrap();
    sqlx::query("SELECT pg_promote()").execute(&mut operator).await.unwrap();
    until_answered(&store, "after").await;
    let promoted = store.heads(&[]).await.unwrap().epoch;
    assert_ne!(promoted, epoch);
    let committed = store.commit(&[create("ann", "later", json!({}))]).await.unwrap();
    assert_eq!(committed.epoch, promoted);
    assert_eq!(store.drafts(&ann).await.unwrap().epoch, promoted);
    assert_eq!(log(&store, "ann").await.len(), 3);
}
