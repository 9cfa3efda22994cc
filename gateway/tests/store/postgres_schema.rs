//! The schema of its own, in a database that an application uses as well.

use std::sync::Arc;

use gateway::store::{
    Store, StoreError,
    postgres::{HistorySource, PostgresOptions, PostgresStore},
};
use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::{
    fixture::{LIMITS, PATIENT, create, log, one},
    postgres::{Server, server},
};

/// The application has tables of these names, and sqlx keeps its migrations' table where it always does.
const APPLICATION: &str = "
    CREATE TABLE streams (id int);
    CREATE TABLE events (id int);
    CREATE TABLE drafts (id int);
    CREATE TABLE commands (id int);
    CREATE TABLE trims (id int);
    CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
        installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL,
        execution_time bigint NOT NULL);
    INSERT INTO _sqlx_migrations VALUES (1, 'tables of the application', now(), true, '', 0)";

async fn run(url: &str, sql: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
}

async fn tables_of(url: &str, schema: &str) -> i64 {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let count = "SELECT count(*) FROM pg_tables WHERE schemaname = $1";
    sqlx::query_scalar(count).bind(schema).fetch_one(&mut connection).await.unwrap()
}

fn store(url: &str, schema: &str) -> PostgresStore {
    let (url, schema) = (url.to_owned(), schema.parse().unwrap());
    let history = HistorySource::default();
    let options = PostgresOptions {
        url,
        schema,
        history,
        connections_max: 3,
        timeout: PATIENT,
        limits: LIMITS,
        state_cache_bytes_max: 1 << 20,
    };
    PostgresStore::new(&options).unwrap()
}

async fn migrated(url: &str, schema: &str) -> Arc<dyn Store> {
    let store = store(url, schema);
    store.migrate().await.unwrap();
    Arc::new(store)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_keeps_its_tables_in_the_same_database() {
    let database = server().await;
    run(&database.url, APPLICATION).await;
    let store = migrated(&database.url, "draftwire").await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
    assert_eq!(log(&store, "ann").await.len(), 1);
    assert_eq!(store.drafts(&"ann".parse().unwrap()).await.unwrap().drafts.len(), 1);
    assert_eq!(tables_of(&database.url, "public").await, 6, "those of the application");
}

/// Whatever the role's own path says, and whichever of its schemas has a table of the same name.
#[tokio::test(flavor = "multi_thread")]
async fn clusters_share_a_database_in_schemas_of_their_own() {
    let database = server().await;
    let (one_cluster, other) =
        (migrated(&database.url, "production").await, migrated(&database.tables(), "staging").await);
    one(&one_cluster, create("ann", "d", json!({}))).await.unwrap();
    assert_eq!(log(&one_cluster, "ann").await.len(), 1);
    assert_eq!(log(&other, "ann").await.len(), 0);
    // Each has a node for its own retention.
    let leader = one_cluster.claim_retention().await.unwrap();
    assert!(leader.is_some() && one_cluster.claim_retention().await.unwrap().is_none());
    assert!(other.claim_retention().await.unwrap().is_some());
    assert_eq!(tables_of(&database.url, "public").await, 0);
}

/// The address for a role that owns nothing.
async fn role(database: &Server, name: &'static str, make: &'static str) -> String {
    run(&database.url, make).await;
    database.url.replace("//postgres@", &format!("//{name}@"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_create_the_schema_is_told_what_to_run() {
    let database = server().await;
    let url = role(&database, "app-1", r#"CREATE ROLE "app-1" LOGIN"#).await;
    for _ in 0..2 {
        let refused = store(&url, "draftwire").migrate().await;
        let Err(StoreError::Failed(told)) = refused else { panic!("{refused:?}") };
        let (_, statements) = told.split_once("run there: ").expect("statements");
        assert_eq!(
            statements,
            "CREATE SCHEMA IF NOT EXISTS draftwire; GRANT USAGE, CREATE ON SCHEMA draftwire TO \"app-1\";"
        );
        // A schema that is there, and closed to the role, is the same trouble.
        run(&database.url, "CREATE SCHEMA IF NOT EXISTS draftwire").await;
    }
    run(
        &database.url,
        "CREATE SCHEMA IF NOT EXISTS draftwire; GRANT USAGE, CREATE ON SCHEMA draftwire TO \"app-1\"",
    )
    .await;
    let store = migrated(&url, "draftwire").await;
    one(&store, create("ann", "d", json!({}))).await.unwrap();
}
