//! `draftwire doctor`: what it finds at real services, as they should be and broken.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Command, Output},
};

use serde_json::Value;
use testkit::{Node, NodeOptions, Postgres, Redis, token};
use tokio::task::spawn_blocking;

/// Runs it with these settings.
async fn doctor(env: &[(&str, &str)], arguments: &'static [&'static str]) -> Output {
    let env: Vec<(String, String)> =
        env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let run = move || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_draftwire"));
        command.env_clear().envs(env).arg("doctor").args(arguments).output().unwrap()
    };
    spawn_blocking(run).await.unwrap()
}

/// What it says of each thing, the worst first, and whether it ended well.
async fn findings(env: &[(&str, &str)]) -> (BTreeMap<String, (String, String)>, bool) {
    let output = doctor(env, &["--json"]).await;
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, field: &str| finding[field].as_str().unwrap().to_owned();
    let mut findings = BTreeMap::new();
    for finding in &found {
        let said = (text(finding, "state"), text(finding, "message"));
        let entry = findings.entry(text(finding, "check")).or_insert_with(|| said.clone());
        if said.0 == "failed" {
            *entry = said;
        }
    }
    (findings, output.status.success())
}

/// Addresses of which nobody else has the ports.
fn addresses() -> [String; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().to_string())
}

fn redis_cli(redis: &Redis, command: &[&str]) {
    let output =
        Command::new("redis-cli").args(["-p", &redis.port().to_string()]).args(command).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "OK", "{command:?}");
}

#[tokio::test]
async fn a_cluster_is_checked_before_and_after_its_first_node() {
    let (postgres, redis) = (Postgres::start_quick().await.unwrap(), Redis::start().await.unwrap());
    let (database, bus, [listen, metrics]) = (postgres.url("postgres"), redis.url(), addresses());
    let env = [
        ("DATABASE_URL", database.as_str()),
        ("REDIS_URL", &bus),
        ("JWT_SECRET", token::SECRET),
        ("LISTEN_ADDR", &listen),
        ("METRICS_ADDR", &metrics),
        ("CONNECTIONS_MAX", "100"),
    ];
    let (found, well) = findings(&env).await;
    assert!(well, "{found:?}");
    assert!(found["postgres.migrations"].1.contains("no schema yet"), "{found:?}");
    let looked_at: Vec<&str> = found.keys().map(String::as_str).collect();
    let all = [
        "files",
        "ports",
        "postgres",
        "postgres.clock",
        "postgres.connections",
        "postgres.migrations",
        "postgres.rights",
        "redis",
        "redis.buffers",
        "redis.clock",
        "redis.rights",
        "settings",
        "tokens",
    ];
    assert_eq!(looked_at, all);
    assert!(
        postgres
            .query("postgres", "SELECT to_regnamespace('draftwire') IS NULL")
            .await
            .unwrap()
            .contains('t')
    );

    let mut options = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire"));
    (options.database_url, options.redis_url) = (Some(database.clone()), Some(bus.clone()));
    drop(Node::start(options).await.unwrap());
    let (found, well) = findings(&env).await;
    assert!(well, "{found:?}");
    assert_eq!(found["postgres.migrations"], ("ok".to_owned(), "the schema is up to date".to_owned()));
    assert_eq!(found["postgres.rights"].1, "the role may do all that a node does");

    // A role that lacks a right, and a Redis user who may not subscribe.
    let role = "CREATE ROLE app LOGIN PASSWORD 'app'; GRANT USAGE, CREATE ON SCHEMA draftwire TO app;
        GRANT ALL ON ALL TABLES IN SCHEMA draftwire TO app; REVOKE DELETE ON draftwire.events FROM app";
    postgres.query("postgres", role).await.unwrap();
    redis_cli(
        &redis,
        &[
            "ACL",
            "SETUSER",
            "app",
            "on",
            ">app",
            "&draftwire:*",
            "-@all",
            "+hello",
            "+auth",
            "+ping",
            "+spublish",
        ],
    );
    redis_cli(&redis, &["CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 1mb 60"]);
    let as_app = format!("postgres://app:app@127.0.0.1:{}/postgres", postgres.port());
    let redis_as_app = format!("redis://app:app@127.0.0.1:{}", redis.port());
    let mut broken = env;
    (broken[0].1, broken[1].1) = (&as_app, &redis_as_app);
    let (found, well) = findings(&broken).await;
    assert!(!well);
    let of = |check: &str| (found[check].0.as_str(), found[check].1.as_str());
    let (state, rights) = of("postgres.rights");
    assert!(state == "failed" && rights.contains("GRANT DELETE ON \"draftwire\".events TO app"), "{found:?}");
    let (state, rights) = of("redis.rights");
    assert!(state == "failed" && rights.contains("NOPERM"), "{found:?}");
    let (found, _) = findings(&env).await;
    assert_eq!(found["redis.buffers"].0, "warning", "{found:?}");

    // Too large a pool, no Redis, a port in use.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = (taken.local_addr().unwrap().to_string(), taken);
    let nowhere = format!("redis://{}", addresses()[0]);
    let mut broken = [&env[..], &[("DATABASE_POOL_MAX", "900")]].concat();
    (broken[1].1, broken[3].1) = (&nowhere, &taken.0);
    let (found, well) = findings(&broken).await;
    assert!(!well);
    for (check, part) in
        [("redis", "REDIS_URL"), ("ports", "LISTEN_ADDR"), ("postgres.connections", "max_connections")]
    {
        let (state, message) = &found[check];
        assert!(state == "failed" && message.contains(part), "{check}: {message}");
    }
}

#[tokio::test]
async fn an_embedded_node_is_checked() {
    let (dir, [listen, metrics]) = (tempfile::tempdir().unwrap(), addresses());
    let data = dir.path().join("data");
    let env =
        [("DATA_DIR", data.to_str().unwrap()), ("LISTEN_ADDR", listen.as_str()), ("METRICS_ADDR", &metrics)];
    let output = doctor(&env, &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.lines().all(|line| line.starts_with("ok: ") || line.starts_with("warning: ")), "{text}");
    assert!(text.contains("ok: DATA_DIR") && text.contains("MiB are free"), "{text}");
    assert!(!data.exists(), "looking makes nothing");

    let node = NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire")).env("DATA_DIR", env[0].1);
    let node = Node::start(node).await.unwrap();
    let (found, well) = findings(&env).await;
    assert!(!well && found["data"].1.contains("is used by process"), "{found:?}");
    drop(node);

    let mistakes = [env[0], ("LINGER", "abc"), ("SWEEP_INTERVAL", "5")];
    let output = doctor(&mistakes, &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.lines().count() == 2 && text.lines().all(|line| line.starts_with("failed: ")), "{text}");

    let nowhere = format!("http://{}/jwks", addresses()[0]);
    let (found, well) = findings(&[&env[..], &[("JWT_JWKS_URL", &nowhere)]].concat()).await;
    assert!(!well && found["tokens"].1.contains("JWT_JWKS_URL"), "{found:?}");
    let in_the_way = dir.path().join("file");
    std::fs::write(&in_the_way, "").unwrap();
    let below = in_the_way.join("data");
    let (found, well) = findings(&[&env[1..], &[("DATA_DIR", below.to_str().unwrap())]].concat()).await;
    assert!(!well && found["data"].1.contains("choose another folder"), "{found:?}");
}
