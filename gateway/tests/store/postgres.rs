//! The contract over Postgres, and what only Postgres does.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::Seq;
use fanout::log::Read;
use gateway::store::{
    Chunk, Limits, Refusal, Rule, Store, StoreError, StreamKind,
    postgres::{HistorySource, PostgresOptions, PostgresStore, SchemaName},
};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::json;
use sqlx::{Connection, PgConnection, Row};
use testkit::Postgres;

use crate::{
    contract::contract,
    fixture::{Database, LIMITS, PATIENT, append, create, log, log_of, one, retention, update, with_id},
};

pub(crate) struct Server {
    pub(crate) url: String,
    _server: Arc<Postgres>,
}

pub(crate) async fn server() -> Server {
    let server = Postgres::shared().await.unwrap();
    let url = server.create_database().await.unwrap();
    Server { url, _server: server }
}

impl Server {
    pub(crate) fn store(&self, timeout: Duration, limits: Limits) -> Arc<PostgresStore> {
        let (url, schema) = (self.url.clone(), SchemaName::default());
        let history = HistorySource::default();
        let options = PostgresOptions {
            url,
            schema,
            history,
            connections_max: 3,
            timeout,
            limits,
            state_cache_bytes_max: 1 << 20,
        };
        Arc::new(PostgresStore::new(&options).unwrap())
    }

    /// The address for sessions that look at the tables, and name no schema.
    pub(crate) fn tables(&self) -> String {
        format!("{}?options=-csearch_path%3D{}", self.url, SchemaName::default())
    }

    /// Waits until somebody waits for a lock of another.
    pub(crate) async fn until_blocked(&self) {
        let mut observer = PgConnection::connect(&self.tables()).await.unwrap();
        let blocked = "SELECT count(*) FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let deadline = Instant::now() + PATIENT;
        while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut observer).await.unwrap() == 0 {
            assert!(Instant::now() < deadline, "nobody waits for a lock");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[async_trait::async_trait]
impl Database for Server {
    async fn open(&self, limits: Limits) -> Arc<dyn Store> {
        let store = self.store(PATIENT, limits);
        store.migrate().await.unwrap();
        store
    }

    async fn node(&self) -> Arc<dyn Store> {
        self.open(LIMITS).await
    }

    async fn execute(&self, sql: &'static str) {
        let mut connection = PgConnection::connect(&self.tables()).await.unwrap();
        sqlx::query(sql).execute(&mut connection).await.unwrap();
    }
}

contract!(server);

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_start_together_migrate_once() {
    let database = server().await;
    let nodes: Vec<_> = (0..8)
        .map(|_| {
            let store = database.store(PATIENT, LIMITS);
            tokio::spawn(async move { store.migrate().await })
        })
        .collect();
    for node in nodes {
        node.await.unwrap().unwrap();
    }
    // A newer node has brought the schema further.
    database
        .execute(
            "INSERT INTO migrations (version, description, success, checksum, execution_time)
             VALUES (999999, 'newer', true, '', 0)",
        )
        .await;
    database.open(LIMITS).await.ping().await.unwrap();
}

/// A backup, or a report, reads the events while a new version is rolled out.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_for_a_table_stops_nobody() {
    let database = server().await;
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    // As the version before has left it.
    database.execute("ALTER TABLE events DROP COLUMN priority").await;
    database.execute("DROP TABLE trims").await;
    database.execute("DELETE FROM migrations WHERE version = 2").await;
    let mut backup = PgConnection::connect(&database.tables()).await.unwrap();
    let mut reading = backup.begin().await.unwrap();
    sqlx::query("SELECT count(*) FROM events").execute(&mut *reading).await.unwrap();
    let newer = database.store(PATIENT, LIMITS);
    let migrating = tokio::spawn(async move { newer.migrate().await });
    database.until_blocked().await;
    // A node of the version before reads an event, as it does for every replay.
    let mut older = PgConnection::connect(&database.tables()).await.unwrap();
    let read = sqlx::query("SELECT seq FROM events WHERE stream = 'user:ann'").execute(&mut older);
    let read = tokio::time::timeout(PATIENT, read).await;
    assert!(!migrating.is_finished());
    reading.rollback().await.unwrap();
    migrating.await.unwrap().unwrap();
    assert!(read.is_ok(), "it waits behind the migration, which waits for the backup");
}

/// Deleted by the version before, before the migration and after it.
#[tokio::test(flavor = "multi_thread")]
async fn drafts_that_an_older_node_deletes_are_deleted() {
    let database = server().await;
    let limits = Limits { drafts_per_user_max: 2, ..LIMITS };
    let store = database.open(limits).await;
    for draft in ["before", "kept"] {
        one(&store, create("ann", draft, json!({}))).await.unwrap();
    }
    store.close().await;
    for statement in [
        "DROP INDEX drafts_by_user",
        "ALTER TABLE drafts DROP COLUMN live",
        "CREATE INDEX drafts_live ON drafts (user_id, draft_id) WHERE content IS NOT NULL",
        "DELETE FROM migrations WHERE version BETWEEN 3 AND 5",
        "UPDATE drafts SET content = NULL, version = 2 WHERE draft_id = 'before'",
    ] {
        database.execute(statement).await;
    }
    let store = database.open(limits).await;
    one(&store, create("ann", "after", json!({}))).await.unwrap();
    database.execute("UPDATE drafts SET content = NULL, version = 2 WHERE draft_id = 'after'").await;
    let drafts = store.drafts(&"ann".parse().unwrap()).await.unwrap().drafts;
    assert_eq!(drafts.iter().map(|draft| draft.draft_id.as_str()).collect::<Vec<_>>(), ["kept"]);
    one(&store, create("ann", "last", json!({}))).await.unwrap();
    let one_too_many = one(&store, create("ann", "more", json!({}))).await;
    assert!(matches!(one_too_many, Err(Refusal::TooLarge(_))), "{one_too_many:?}");
}

/// Its row stays where the indexes find it (a heap-only tuple), so that they do not grow with every keystroke.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_a_draft_leaves_the_indexes_alone() {
    let database = server().await;
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    for version in 1..=20 {
        one(&store, update("ann", "d", version, json!({"n": version}))).await.unwrap();
    }
    store.close().await;
    let mut connection = PgConnection::connect(&database.tables()).await.unwrap();
    let updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'drafts'";
    // The counters of a connection arrive at the latest when it ends.
    let deadline = Instant::now() + PATIENT;
    let in_place = loop {
        let row = sqlx::query(updates).fetch_one(&mut connection).await.unwrap();
        let (all, in_place) = (row.get::<i64, _>(0), row.get::<i64, _>(1));
        if all == 20 {
            break in_place;
        }
        assert!(Instant::now() < deadline, "{all} updates are counted");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(in_place, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn before_its_migration_a_database_fails_calls() {
    let database = server().await;
    let store = database.store(PATIENT, LIMITS);
    let failed = store.commit(&[create("ann", "d", json!({}))]).await;
    assert!(matches!(failed, Err(StoreError::Failed(_))), "{failed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_user_makes_writers_give_up_and_nobody_else() {
    let database = server().await;
    let store = database.open(LIMITS).await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    let mut other = PgConnection::connect(&database.tables()).await.unwrap();
    let mut transaction = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM streams FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let hasty: Arc<dyn Store> = database.store(Duration::from_millis(300), LIMITS);
    let failed = hasty.commit(&[create("ann", "e", json!({}))]).await;
    assert!(matches!(failed, Err(StoreError::Unavailable(_))), "{failed:?}");
    // Readers and other users go on.
    assert_eq!(log(&store, "ann").await.len(), 1);
    one(&store, create("bob", "d", json!({}))).await.unwrap();
    transaction.rollback().await.unwrap();
    // What became of the other is not known: the server may have given up later than the store.
    one(&store, create("ann", "f", json!({}))).await.unwrap();
    assert!(log(&store, "ann").await.len() >= 2);
}

/// Who held one stream while waiting for another to be made could meet, in a circle, a node that has
/// them the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_holds_no_stream_while_it_waits_for_a_new_one() {
    let database = server().await;
    let store = database.open(LIMITS).await;
    one(&store, create("zoe", "first", json!({}))).await.unwrap();
    let mut other = PgConnection::connect(&database.tables()).await.unwrap();
    let mut making = other.begin().await.unwrap();
    sqlx::query("INSERT INTO streams (name) VALUES ('user:ann')").execute(&mut *making).await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.commit(&[create("zoe", "d", json!({})), create("ann", "d", json!({}))]).await }
    });
    database.until_blocked().await;
    let hasty: Arc<dyn Store> = database.store(Duration::from_secs(5), LIMITS);
    one(&hasty, create("zoe", "meanwhile", json!({}))).await.unwrap();
    making.commit().await.unwrap();
    assert!(waiting.await.unwrap().unwrap().answers.iter().all(Result::is_ok));
    assert_eq!((log(&store, "zoe").await.len(), log(&store, "ann").await.len()), (3, 1));
}

/// Retention passes over what is locked for long, and takes its turn among writers where it must.
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_stream_is_cut_in_turn_or_left_for_later() {
    let database = server().await;
    let store = database.open(LIMITS).await;
    store.commit(&["topic:a", "topic:b", "topic:c"].map(|name| append(name, &["E"; 5]))).await.unwrap();
    let rule = Rule { kind: StreamKind::Topic, events_max: Some(1), before: None };
    let chunk = Chunk { streams_max: 10, events_max: 10 };
    let mut retention = retention(&store).await;
    let mut other = PgConnection::connect(&database.tables()).await.unwrap();
    let mut writing = other.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM streams WHERE name = 'topic:b' FOR UPDATE")
        .execute(&mut *writing)
        .await
        .unwrap();
    let trimmed = retention.trim(&rule, None, chunk).await.unwrap();
    assert_eq!((trimmed.moved, trimmed.skipped), (2, 1));
    assert_eq!(retention.delete(100).await.unwrap().topic, 8, "deleting waits for no writer");
    // Again and again, because it may be too late for its turn on a busy machine.
    let deadline = Instant::now() + PATIENT;
    let cutting = tokio::spawn(async move {
        while retention.trim(&rule, None, chunk).await.unwrap().moved == 0 {
            assert!(Instant::now() < deadline, "it never has its turn");
        }
    });
    database.until_blocked().await;
    writing.rollback().await.unwrap();
    cutting.await.unwrap();
    let heads = store.heads(&["topic:b".parse().unwrap()]).await.unwrap().heads;
    assert_eq!(heads[0].floor, Seq(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_ends_passes_retention_to_another_node() {
    let database = server().await;
    let (one, other) = (database.node().await, database.node().await);
    let mut held = retention(&one).await;
    let mut operator = PgConnection::connect(&database.tables()).await.unwrap();
    let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks
               WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(sqlx::query_scalar::<_, i64>(end).fetch_one(&mut operator).await.unwrap(), 1);
    let mut next = retention(&other).await;
    assert!(matches!(held.confirm().await, Err(StoreError::Unavailable(_))));
    next.confirm().await.unwrap();
}

/// On one thread, because a recorder of a test's own is a thread's.
#[test]
fn the_pool_says_how_busy_it_is() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    let value = |name: &str| -> Option<f64> {
        let line = format!("draftwire_store_pool_{name} ");
        metrics.render().lines().find_map(|text| text.strip_prefix(&line)?.parse().ok())
    };
    let pool = || ["max", "open", "busy", "waiting"].map(|name| value(name).unwrap_or(0.0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let database = server().await;
            let store = database.open(LIMITS).await;
            one(&store, append("topic:t", &["E"])).await.unwrap();
            assert_eq!(pool(), [3.0, 1.0, 0.0, 0.0]);
            let mut other = PgConnection::connect(&database.tables()).await.unwrap();
            let mut writing = other.begin().await.unwrap();
            sqlx::query("SELECT 1 FROM streams FOR UPDATE").execute(&mut *writing).await.unwrap();
            let calls: Vec<_> = (0..5)
                .map(|_| {
                    let store = store.clone();
                    tokio::spawn(async move { one(&store, append("topic:t", &["E"])).await })
                })
                .collect();
            let deadline = Instant::now() + PATIENT;
            while pool() != [3.0, 3.0, 3.0, 2.0] {
                assert!(Instant::now() < deadline, "{:?}", pool());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // One that waits gives up, and one that has a connection: that one is closed.
            calls[4].abort();
            calls[0].abort();
            writing.rollback().await.unwrap();
            for call in calls {
                if let Ok(done) = call.await {
                    done.unwrap();
                }
            }
            let [_, open, busy, waiting] = pool();
            assert!(open <= 3.0);
            assert_eq!((busy, waiting), (0.0, 0.0));
            store.close().await;
            assert_eq!(pool(), [3.0, 0.0, 0.0, 0.0]);
        });
    });
}

/// What the contract leaves to chance: the key is taken between the look-up and the insertion.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_being_used_is_waited_for() {
    let database = server().await;
    let store = database.open(LIMITS).await;
    one(&store, append("topic:t", &["FIRST"])).await.unwrap();
    let mut other = PgConnection::connect(&database.tables()).await.unwrap();
    let mut using = other.begin().await.unwrap();
    sqlx::query("INSERT INTO commands VALUES ('svc', 'backend', 'c', 1, '{\"first\":1,\"seq\":1}', 1)")
        .execute(&mut *using)
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        let batch = [append("topic:t", &["FREE"]), with_id("c", append("topic:t", &["KEYED"]))];
        async move { store.commit(&batch).await }
    });
    database.until_blocked().await;
    using.commit().await.unwrap();
    let committed = waiting.await.unwrap().unwrap();
    assert!(matches!(&committed.answers[..], [Ok(_), Err(Refusal::BadRequest(_))]), "{committed:?}");
    assert_eq!(log_of(&store, &"topic:t".parse().unwrap()).await, ["FIRST null", "FREE null"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_look_up_keys_also_without_statistics() {
    let database = server().await;
    let store = database.open(LIMITS).await;
    // More calls than Postgres plans anew, on tables of which it knows nothing yet.
    for i in 0..30 {
        one(&store, create("ann", &format!("d{i}"), json!({}))).await.unwrap();
        log(&store, "ann").await;
        store.drafts(&"ann".parse().unwrap()).await.unwrap();
    }
    let mut retention = retention(&store).await;
    let chunk = Chunk { streams_max: 10, events_max: 10 };
    for i in 0..30 {
        one(&store, append("topic:t", &["E"])).await.unwrap();
        let rule = Rule { kind: StreamKind::Topic, events_max: Some(i % 3), before: Some(1) };
        retention.trim(&rule, None, chunk).await.unwrap();
        retention.delete(10).await.unwrap();
        retention.forget_commands(1, 10).await.unwrap();
    }
    drop(retention);
    let mut connection = PgConnection::connect(&database.tables()).await.unwrap();
    let scans = "SELECT relname, seq_scan FROM pg_stat_user_tables
                 WHERE relname IN ('streams', 'events', 'drafts', 'commands', 'trims') AND seq_scan >= 12";
    // The migration reads each table once per index. The counters of a connection arrive at the latest
    // when it ends.
    store.close().await;
    let read: Vec<String> = sqlx::query(scans)
        .fetch_all(&mut connection)
        .await
        .unwrap()
        .iter()
        .map(|row| format!("{} {}", row.get::<String, _>(0), row.get::<i64, _>(1)))
        .collect();
    assert!(read.is_empty(), "read as a whole: {read:?}");
}

/// As many as of others: what is left out by the size that it is stored in does not fit in any case.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_events_that_cannot_be_compressed_are_as_full() {
    let database = server().await;
    let store = database.open(LIMITS).await;
    // 60,002 bytes each.
    database
        .execute(
            "INSERT INTO events (stream, seq, kind, origin, ts, payload)
             SELECT 'topic:t', n, 'E', 'd', 0, ('\"' || (SELECT string_agg(md5(random()::text || n || k), '')
                    FROM generate_series(1, 1875) k) || '\"')::json
             FROM generate_series(1, 20) n",
        )
        .await;
    database.execute("INSERT INTO streams (name, head) VALUES ('topic:t', 20)").await;
    for (after, found) in [(0, 5), (5, 5), (17, 3), (19, 1), (20, 0)] {
        let read = Read { stream: "topic:t".parse().unwrap(), after: Seq(after), limit: 100 };
        let page = store.read(&[read]).await.unwrap().remove(0);
        assert_eq!(page.events.len(), found, "after {after}");
    }
}
