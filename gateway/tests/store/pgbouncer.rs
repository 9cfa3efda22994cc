//! The store in Postgres behind PgBouncer.

use std::{sync::Arc, time::Duration};

use gateway::store::{
    Store, StoreError,
    postgres::{HistorySource, PostgresOptions, PostgresStore, SchemaName},
};
use serde_json::json;
use testkit::{PgBouncer, Postgres};

use crate::fixture::{LIMITS, create, log, one, with_id};

const TIMEOUT: Duration = Duration::from_secs(10);

fn store(url: String) -> PostgresStore {
    let schema = SchemaName::default();
    let history = HistorySource::default();
    let options = PostgresOptions {
        url,
        schema,
        history,
        connections_max: 3,
        timeout: TIMEOUT,
        limits: LIMITS,
        state_cache_bytes_max: 1 << 20,
    };
    PostgresStore::new(&options).unwrap()
}

/// With the settings that PgBouncer has by default.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_as_good_as_without_a_pooler() {
    let server = Postgres::start_quick().await.unwrap();
    server.create_database().await.unwrap();
    let bouncer = PgBouncer::start(&server, &[("pool_mode", "session")]).await.unwrap();
    // The second one is given server connections that the first has used.
    for node in ["first", "second"] {
        let store = store(bouncer.url("db0"));
        store.migrate().await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let commits: Vec<_> = (0..6)
            .map(|i| {
                let (store, name) = (store.clone(), format!("{node}-{i}"));
                tokio::spawn(async move {
                    one(&store, with_id(&name, create("ann", &name, json!({})))).await.unwrap();
                })
            })
            .collect();
        for commit in commits {
            commit.await.unwrap();
        }
        let leader = store.claim_retention().await.unwrap();
        assert!(leader.is_some() && store.claim_retention().await.unwrap().is_none());
        drop(leader);
        store.close().await;
    }
    let store: Arc<dyn Store> = Arc::new(store(bouncer.url("db0")));
    assert_eq!(log(&store, "ann").await.len(), 12);
}

/// Also where the pooler is told to let pass what it would refuse, as its manuals advise; and whatever way
/// it chooses among the server's connections.
#[tokio::test(flavor = "multi_thread")]
async fn pooling_by_transaction_is_recognised_at_the_start() {
    let server = Postgres::start_quick().await.unwrap();
    server.create_database().await.unwrap();
    let lenient = ("ignore_startup_parameters", "extra_float_digits,options");
    for settings in [
        vec![("pool_mode", "transaction")],
        vec![("pool_mode", "transaction"), lenient],
        vec![("pool_mode", "transaction"), lenient, ("server_round_robin", "1"), ("min_pool_size", "3")],
        vec![("pool_mode", "statement"), lenient],
    ] {
        let bouncer = PgBouncer::start(&server, &settings).await.unwrap();
        for _ in 0..3 {
            let refused = store(bouncer.url("db0")).migrate().await;
            let Err(StoreError::Failed(told)) = refused else { panic!("{settings:?}: {refused:?}") };
            assert!(told.contains("pool_mode = session"), "{told}");
        }
    }
}
