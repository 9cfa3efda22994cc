//! The parts start, fail and come back as tests rely on it.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use serde_json::Value;
use testkit::{Nginx, Postgres, Proxy, Redis, Service, http, process::Process, token, wait};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn postgres_keeps_what_it_committed_over_stop_and_kill() {
    let mut postgres = Postgres::start().await.unwrap();
    let url = postgres.create_database().await.unwrap();
    assert_eq!(url, postgres.url("db0"));
    postgres.query("db0", "CREATE TABLE t (n int); INSERT INTO t VALUES (1)").await.unwrap();

    postgres.stop().await.unwrap();
    assert!(postgres.query("db0", "SELECT 1").await.is_err(), "it is down");
    postgres.start_again().await.unwrap();
    postgres.query("db0", "INSERT INTO t VALUES (2)").await.unwrap();

    postgres.kill9();
    postgres.start_again().await.unwrap();
    assert_eq!(postgres.query("db0", "SELECT sum(n) FROM t").await.unwrap(), "3");
}

#[tokio::test]
async fn a_paused_postgres_answers_when_it_goes_on() {
    let postgres = Postgres::start_quick().await.unwrap();
    postgres.pause();
    let query = postgres.query("postgres", "SELECT 42");
    tokio::pin!(query);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut query).await;
    assert!(early.is_err(), "a frozen server answered");
    postgres.resume();
    assert_eq!(query.await.unwrap(), "42");
}

#[tokio::test]
async fn redis_comes_back_on_the_same_port() {
    let mut redis = Redis::start().await.unwrap();
    let port = redis.port();
    assert_eq!(say(port, b"PING\r\n", 5).await.unwrap(), b"+PONG");
    redis.stop().await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "it is down");
    redis.start_again().await.unwrap();
    assert_eq!(say(port, b"PING\r\n", 5).await.unwrap(), b"+PONG");
    redis.kill9();
    redis.start_again().await.unwrap();
    redis.pause();
    let early = tokio::time::timeout(Duration::from_millis(200), say(port, b"PING\r\n", 5)).await;
    assert!(early.is_err(), "a frozen server answered");
    redis.resume();
    assert_eq!(say(port, b"PING\r\n", 5).await.unwrap(), b"+PONG");
}

#[tokio::test]
async fn a_proxy_carries_pauses_cuts_and_filters() {
    let redis = Redis::start().await.unwrap();
    let proxy = Proxy::start(redis.port()).await.unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(ask(&mut stream, b"PING\r\n", 5).await.unwrap(), b"+PONG");
    read(&mut stream, 2).await.unwrap();

    proxy.pause();
    stream.write_all(b"PING\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(200), read(&mut stream, 5)).await;
    assert!(early.is_err(), "a paused proxy carried bytes");
    proxy.resume();
    assert_eq!(read(&mut stream, 5).await.unwrap(), b"+PONG");
    read(&mut stream, 2).await.unwrap();

    let mut forgotten = TcpStream::connect(("127.0.0.1", proxy.port())).await.unwrap();
    assert_eq!(ask(&mut forgotten, b"PING\r\n", 5).await.unwrap(), b"+PONG");
    read(&mut forgotten, 2).await.unwrap();
    proxy.forget();
    assert_eq!(say(proxy.port(), b"PING\r\n", 5).await.unwrap(), b"+PONG");
    forgotten.write_all(b"PING\r\n").await.unwrap();
    let never = tokio::time::timeout(Duration::from_millis(200), read(&mut forgotten, 5)).await;
    assert!(never.is_err(), "a forgotten connection carried bytes");

    proxy.cut();
    assert!(read(&mut stream, 1).await.is_err(), "the connection is cut");
    assert!(say(proxy.port(), b"PING\r\n", 5).await.is_err(), "none is made");
    proxy.restore();
    assert_eq!(say(proxy.port(), b"PING\r\n", 5).await.unwrap(), b"+PONG");

    let shouting = Proxy::start_with(redis.port(), || Box::new(<[u8]>::to_ascii_lowercase)).await.unwrap();
    assert_eq!(say(shouting.port(), b"PING\r\n", 5).await.unwrap(), b"+pong");
}

#[tokio::test]
async fn a_process_ends_with_its_children() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "sleep 1000 & echo child $!; wait"]);
    let process = Process::start("sh", command, &dir.path().join("log")).unwrap();
    let child: u32 = wait::until("the child's number is logged", DEADLINE, || async {
        let log = process.log().unwrap();
        log.trim().strip_prefix("child ").and_then(|pid| pid.parse().ok()).ok_or(log)
    })
    .await;
    drop(process);
    let state = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    assert!(state.is_empty() || state.contains(") Z "), "the child still runs: {state}");
}

#[test]
fn bad_tokens_are_bad_in_one_thing_each() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let part = |token: &str, n: usize| -> Value {
        let text = token.split('.').nth(n).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
    };
    assert_eq!(part(&token::good("u"), 1)["sub"], "u");
    assert_eq!(part(&token::unsigned("u"), 0)["alg"], "none");
    assert!(token::unsigned("u").ends_with('.'));
    assert_eq!(part(&token::endless("u"), 1).get("exp"), None);
    assert_eq!(part(&token::scoped("u", "admin"), 1)["scope"], "admin");
    assert!(part(&token::expired("u"), 1)["exp"].as_u64().unwrap() < common::time::unix_ms() / 1000);
    assert_ne!(token::good("u").split('.').nth(2), token::forged("u").split('.').nth(2));
}

async fn say(port: u16, what: &[u8], length: usize) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    ask(&mut stream, what, length).await
}

async fn ask(stream: &mut TcpStream, what: &[u8], length: usize) -> std::io::Result<Vec<u8>> {
    stream.write_all(what).await?;
    read(stream, length).await
}

async fn read(stream: &mut TcpStream, length: usize) -> std::io::Result<Vec<u8>> {
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// A server that answers every request with its name.
async fn named(name: &'static str) -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut request = [0; 4096];
                while stream.read(&mut request).await.is_ok_and(|n| n > 0) {
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                    if stream.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn nginx_runs_the_configuration_of_the_repository() {
    let nodes = [named("one").await, named("two").await];
    let mut nginx = Nginx::start(&nodes).await.unwrap();
    let mut answers = std::collections::BTreeSet::new();
    for user in 0..20 {
        let token = token::good(&format!("user{user}"));
        let url = nginx.http_url("/v1/drafts");
        let first = http::get_as(&token, &url).await.unwrap().text;
        assert_eq!(http::get_as(&token, &url).await.unwrap().text, first, "user {user} has moved");
        answers.insert(first);
    }
    assert_eq!(answers.len(), 2, "all users are on one node");
    nginx.reload();
    nginx.kill9();
    nginx.start_again().await.unwrap();
    assert_eq!(http::get(&nginx.http_url("/")).await.unwrap().status, 200);
    assert_eq!(http::get(&nginx.http_url("/metrics")).await.unwrap().status, 404);
    nginx.pause();
    let url = nginx.http_url("/");
    let answer = http::get(&url);
    tokio::pin!(answer);
    let early = tokio::time::timeout(Duration::from_millis(200), &mut answer).await;
    assert!(early.is_err(), "a frozen proxy answered");
    nginx.resume();
    assert_eq!(answer.await.unwrap().status, 200);
    nginx.stop().await.unwrap();
    assert!(http::get(&url).await.is_err(), "it is down");
    nginx.start_again().await.unwrap();
    assert_eq!(http::get(&url).await.unwrap().status, 200);
    let log = nginx.log().unwrap();
    assert!(log.contains("/v1/drafts"), "{log}");
}
