//! What names the history, and the rights that a node needs, on servers that grant less than a Postgres of one's
//! own.

use std::sync::Arc;

use common::{Epoch, Seq};
use gateway::store::{
    Store, StoreError,
    postgres::{HistorySource, PostgresOptions, PostgresStore, SchemaName},
};
use serde_json::json;
use testkit::{Postgres, Service};

use crate::fixture::{LIMITS, PATIENT, create, log, one, stream, update};

/// A database that belongs to a role which is no superuser.
struct Tenant {
    server: Postgres,
    url: String,
}

impl Tenant {
    async fn new() -> Self {
        let server = Postgres::start_quick().await.unwrap();
        let url = server.create_database().await.unwrap();
        let tenant = Self { server, url };
        tenant.operator("CREATE ROLE app LOGIN; GRANT CREATE ON DATABASE db0 TO app").await;
        tenant
    }

    /// As on services whose servers do not say where they are in the WAL.
    async fn managed() -> Self {
        let tenant = Self::new().await;
        tenant
            .operator("REVOKE EXECUTE ON FUNCTION pg_current_wal_lsn(), pg_walfile_name(pg_lsn) FROM PUBLIC")
            .await;
        tenant
    }

    async fn operator(&self, sql: &str) -> String {
        self.server.query("db0", sql).await.unwrap()
    }

    fn store(&self, history: HistorySource) -> PostgresStore {
        let (scheme, rest) = self.url.split_once("://").unwrap();
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        let options = PostgresOptions {
            url: format!("{scheme}://app@{host}"),
            schema: SchemaName::default(),
            history,
            connections_max: 3,
            state_cache_bytes_max: 1 << 20,
            timeout: PATIENT,
            limits: LIMITS,
        };
        PostgresStore::new(&options).unwrap()
    }

    /// A node that has started.
    async fn node(&self, history: HistorySource) -> Arc<dyn Store> {
        let store = self.store(history);
        store.migrate().await.unwrap();
        store.prepare().await.unwrap();
        Arc::new(store)
    }

    /// Why a node does not start.
    async fn refusal(&self, history: HistorySource) -> String {
        let store = self.store(history);
        store.migrate().await.unwrap();
        match store.prepare().await {
            Err(StoreError::Failed(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }
}

async fn epoch(store: &Arc<dyn Store>) -> Epoch {
    store.heads(&[]).await.unwrap().epoch
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_functions_of_the_wal_everything_works() {
    let tenant = Tenant::managed().await;
    let (store, other) = (tenant.node(HistorySource::Auto).await, tenant.node(HistorySource::Auto).await);
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    one(&other, update("ann", "d", 1, json!({"a": 1}))).await.unwrap();
    let committed = other.commit(&[crate::fixture::append("topic:t", &["E"])]).await.unwrap();
    assert_eq!(committed.answers.len(), 1);
    assert_eq!(log(&store, "ann").await.len(), 2);
    assert_eq!(store.drafts(&"ann".parse().unwrap()).await.unwrap().epoch, committed.epoch);
    assert!(store.draft(&"ann".parse().unwrap(), &"d".parse().unwrap()).await.unwrap().is_some());
    assert_eq!((epoch(&store).await, epoch(&other).await), (committed.epoch.clone(), committed.epoch));
    store.ping().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_of_which_one_cannot_read_the_timeline_agree() {
    let tenant = Tenant::managed().await;
    tenant.operator("GRANT EXECUTE ON FUNCTION pg_current_wal_lsn(), pg_walfile_name(pg_lsn) TO app").await;
    let able = tenant.node(HistorySource::Auto).await;
    let timeline = epoch(&able).await;
    tenant.operator("CREATE ROLE other LOGIN; GRANT app TO other").await;
    let row = tenant.node(HistorySource::Row).await;
    assert_ne!(epoch(&row).await, timeline);
    assert_eq!(epoch(&able).await, epoch(&row).await);
    let later = tenant.node(HistorySource::Auto).await;
    assert_eq!(epoch(&later).await, epoch(&row).await, "what was decided stays");
}

/// Whether anything was lost, nothing tells: a new server is a new history, once for all nodes, also when none
/// of them has seen the old one.
#[tokio::test(flavor = "multi_thread")]
async fn another_server_is_another_history_for_all_nodes() {
    let mut tenant = Tenant::managed().await;
    let nodes = [tenant.node(HistorySource::Auto).await, tenant.node(HistorySource::Auto).await];
    one(&nodes[0], create("ann", "d", json!({}))).await.unwrap();
    let before = epoch(&nodes[0]).await;
    tenant.server.stop().await.unwrap();
    tenant.server.start_again().await.unwrap();
    let later = tenant.node(HistorySource::Auto).await;
    let after = epoch(&later).await;
    assert_ne!(after, before);
    for node in &nodes {
        // Their connections are gone.
        let deadline = std::time::Instant::now() + PATIENT;
        let seen = loop {
            match node.heads(&[stream("ann")]).await {
                Ok(heads) => break heads,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
        };
        assert_eq!((&seen.epoch, seen.heads[0].head), (&after, Seq(1)));
        assert_eq!(node.commit(&[update("ann", "d", 9, json!({}))]).await.unwrap().epoch, after);
    }
}

/// As behind a pooler, whose connections stay while their server changes.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_read_or_written_in_a_history_without_a_name() {
    let tenant = Tenant::managed().await;
    let node = tenant.node(HistorySource::Auto).await;
    one(&node, create("ann", "d", json!({}))).await.unwrap();
    let before = epoch(&node).await;
    let statements: [&dyn Fn() -> tokio::task::JoinHandle<bool>; 4] = [
        &|| {
            let node = node.clone();
            tokio::spawn(
                async move { node.commit(&[crate::fixture::append("user:ann", &["E"])]).await.is_ok() },
            )
        },
        &|| {
            let node = node.clone();
            tokio::spawn(async move { node.commit(&[update("ann", "d", 1, json!({"a": 1}))]).await.is_ok() })
        },
        &|| {
            let node = node.clone();
            tokio::spawn(async move { node.heads(&[]).await.is_ok() })
        },
        &|| {
            let node = node.clone();
            tokio::spawn(async move { node.drafts(&"ann".parse().unwrap()).await.is_ok() })
        },
    ];
    for statement in statements {
        // The connection that is used next is an old one.
        node.ping().await.unwrap();
        tenant.operator("UPDATE draftwire.history SET started = started - interval '1 day'").await;
        assert!(!statement().await.unwrap());
        assert_eq!(tenant.operator("SELECT max(seq) FROM draftwire.events").await.trim(), "1");
    }
    // The next connection has named it.
    assert_ne!(epoch(&node).await, before);
    one(&node, update("ann", "d", 1, json!({"a": 1}))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_renamed_once_by_all_who_ask() {
    let tenant = Tenant::managed().await;
    let nodes = [tenant.node(HistorySource::Auto).await, tenant.node(HistorySource::Auto).await];
    let before = epoch(&nodes[0]).await;
    nodes[0].rename_history(&before).await.unwrap();
    let after = epoch(&nodes[1]).await;
    assert_ne!(after, before);
    nodes[1].rename_history(&before).await.unwrap();
    assert_eq!(epoch(&nodes[0]).await, after);
    // Where the timeline names it, nobody else does.
    let own = Tenant::new().await;
    let node = own.node(HistorySource::Auto).await;
    let timeline = epoch(&node).await;
    node.rename_history(&timeline).await.unwrap();
    assert_eq!(epoch(&node).await, timeline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_restored_is_another_history() {
    for (tenant, history) in
        [(Tenant::new().await, HistorySource::Timeline), (Tenant::managed().await, HistorySource::Row)]
    {
        let node = tenant.node(history).await;
        let before = epoch(&node).await;
        // As `pg_restore --clean` does it.
        tenant
            .operator(
                "CREATE TABLE draftwire.restored (LIKE draftwire.streams INCLUDING ALL);
                 DROP TABLE draftwire.streams; ALTER TABLE draftwire.restored RENAME TO streams;
                 ALTER TABLE draftwire.streams OWNER TO app",
            )
            .await;
        let deadline = std::time::Instant::now() + PATIENT;
        let after = loop {
            match node.heads(&[]).await {
                Ok(heads) => break heads.epoch,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
        };
        assert_ne!(after, before, "{history:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_names_every_right_that_is_missing() {
    let tenant = Tenant::managed().await;
    let reason = tenant.refusal(HistorySource::Timeline).await;
    assert!(reason.contains("pg_current_wal_lsn()") && reason.contains("HISTORY_SOURCE=row"), "{reason}");
    tenant
        .operator(
            "REVOKE INSERT, UPDATE ON draftwire.trims FROM app; REVOKE DELETE ON draftwire.events FROM app;
             REVOKE EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) FROM PUBLIC",
        )
        .await;
    let reason = tenant.refusal(HistorySource::Auto).await;
    for missing in [
        "GRANT INSERT, UPDATE ON \"draftwire\".trims TO app;",
        "GRANT DELETE ON \"draftwire\".events TO app;",
        "GRANT EXECUTE ON FUNCTION pg_try_advisory_lock(bigint) TO app;",
    ] {
        assert!(reason.contains(missing), "{reason}");
    }
    let (_, statements) = reason.split_once("run: ").unwrap();
    tenant.operator(statements).await;
    tenant.node(HistorySource::Auto).await;
}
