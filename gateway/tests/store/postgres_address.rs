//! The forms in which addresses of databases are handed over, each against a server.

use std::{fs, os::unix::fs::PermissionsExt};

use gateway::store::{
    Store,
    postgres::{HistorySource, PostgresOptions, PostgresStore, SchemaName},
};
use testkit::Postgres;

use crate::fixture::{LIMITS, PATIENT};

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_an_address_leads_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    // The server may run as another user.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let sockets = folder.path().to_str().unwrap();
    let server = Postgres::start_with(&[
        ("fsync", "off"),
        ("unix_socket_directories", sockets),
        ("listen_addresses", "127.0.0.1,::1"),
    ])
    .await
    .unwrap();
    server.create_database().await.unwrap();
    let port = server.port();
    let encoded = sockets.replace('/', "%2F");
    for url in [
        format!("postgres://postgres@[::1]:{port}/db0"),
        format!("postgresql://postgres:p@127.0.0.1:{port}/db0?connect_timeout=10"),
        format!("postgres://postgres:p@/db0?host={sockets}&port={port}"),
        format!("postgres://postgres:p@{encoded}:{port}/db0"),
        format!("postgres:///db0?host={sockets}&port={port}&user=postgres"),
    ] {
        let (timeout, schema) = (PATIENT, SchemaName::default());
        let options = PostgresOptions {
            url: url.clone(),
            schema,
            history: HistorySource::default(),
            connections_max: 2,
            state_cache_bytes_max: 1 << 20,
            timeout,
            limits: LIMITS,
        };
        let store = PostgresStore::new(&options).unwrap();
        if let Err(error) = store.migrate().await {
            panic!("{url}: {error}");
        }
        store.ping().await.unwrap();
    }
}
