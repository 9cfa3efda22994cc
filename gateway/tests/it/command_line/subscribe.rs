//! `draftwire subscribe`.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{Proxy, token};
use tokio::time::timeout;

use super::{Line, draftwire};
use crate::harness::{ALL_TOPICS, Server};

fn subscribe(server: &Server, arguments: &str) -> Line {
    let line = draftwire(&format!("http://{}", server.addr), &format!("subscribe {arguments}"));
    line.token(&token::scoped("alice", ALL_TOPICS))
}

fn numbers(lines: &[Value]) -> Vec<u64> {
    lines.iter().filter_map(|line| line["seq"].as_u64()).collect()
}

/// What the error output says to go on with.
fn place(errors: &str) -> String {
    let place = errors.split("go on with --from ").nth(1).unwrap_or_else(|| panic!("no place in: {errors}"));
    place.trim().to_owned()
}

#[tokio::test]
async fn what_is_kept_is_printed_from_where_it_is_asked_for() {
    let server = Server::start().await;
    for n in 1..=600 {
        server.publish("t", "E", json!({ "n": n })).await;
    }
    server.publish("u", "E", json!(null)).await;
    let all = subscribe(&server, "t").run("").await.done();
    assert_eq!(numbers(&all), (1..=600).collect::<Vec<_>>());
    assert_eq!(all[6]["payload"], json!({ "n": 7 }));
    assert_eq!((&all[6]["type"], &all[6]["stream"]), (&json!("E"), &json!("topic:t")));
    let cursor = all[597]["cursor"].as_str().unwrap();
    assert!(cursor.ends_with(":598"), "{cursor}");
    let rest = subscribe(&server, &format!("t --from {cursor}")).run("").await.done();
    assert_eq!(numbers(&rest), [599, 600]);
    let both = subscribe(&server, &format!("t u --from t={cursor}")).run("").await.done();
    assert_eq!(both.len(), 3);
    assert_eq!(subscribe(&server, "t empty --from now").run("").await.done(), Vec::<Value>::new());
    assert_eq!(subscribe(&server, "empty").run("").await.done(), Vec::<Value>::new());
    // A cursor of another history: what may be missing is said in its place.
    let other = subscribe(&server, "t --from other:7").run("").await;
    assert_eq!(other.status.code(), Some(0), "{}", other.errors);
    assert_eq!((&other.lines[0]["type"], &other.lines[0]["stream"]), (&json!("SYNCED"), &json!("topic:t")));
    assert!(other.lines[0]["missedBefore"].is_u64() && other.lines[0]["cursor"].is_string());
    assert!(other.errors.contains("are gone"), "{}", other.errors);
    server.stop().await;
}

#[tokio::test]
async fn events_are_followed_over_broken_connections_and_gone_on_with_after_ctrl_c() {
    let server = Server::start().await;
    let proxy = Proxy::start(server.addr.port()).await.unwrap();
    let url = format!("http://127.0.0.1:{}", proxy.port());
    server.publish("t", "E", json!(1)).await;
    let mut running = draftwire(&url, "subscribe t u --follow --from start")
        .token(&token::scoped("alice", ALL_TOPICS))
        .start();
    assert_eq!(running.line().await["seq"], 1);
    proxy.cut();
    server.publish("t", "E", json!(2)).await;
    proxy.restore();
    assert_eq!(running.line().await["seq"], 2);
    server.publish("u", "E", json!(1)).await;
    assert_eq!(running.line().await["stream"], "topic:u");
    running.signal(Signal::INT);
    let ended = running.ended().await;
    assert_eq!(ended.status.code(), Some(130), "{}", ended.errors);
    assert!(
        ended.errors.contains("coming back") && ended.errors.contains("connected again"),
        "{}",
        ended.errors
    );
    server.publish("t", "E", json!(3)).await;
    let rest = subscribe(&server, &format!("t u --from {}", place(&ended.errors))).run("").await.done();
    assert_eq!(numbers(&rest), [3]);
    // A stop by the system's signal likewise.
    let mut running = subscribe(&server, "t --follow --from start").start();
    for n in 1..=3 {
        assert_eq!(running.line().await["seq"], n);
    }
    running.signal(Signal::TERM);
    let ended = running.ended().await;
    assert_eq!(ended.status.code(), Some(143), "{}", ended.errors);
    assert!(place(&ended.errors).ends_with(":3"), "{}", ended.errors);
    server.stop().await;
}

#[tokio::test]
async fn signals_and_presence_are_printed_where_they_are_asked_for() {
    let server = Server::start().await;
    let mut running = subscribe(&server, "t --follow --presence --device one").start();
    let presence = running.line().await;
    assert_eq!((&presence["type"], &presence["payload"]["devices"]), (&json!("PRESENCE"), &json!(1)));
    let mut other = subscribe(&server, "t --follow --presence --device two").start();
    other.line().await;
    let join = running.line().await;
    assert_eq!((&join["type"], &join["payload"]["device"]), (&json!("JOIN"), &json!("two")), "{join}");
    assert_eq!((&join["payload"]["users"], &join["payload"]["devices"]), (&json!(1), &json!(2)));
    drop(other);
    assert_eq!(running.line().await["type"], "LEAVE");
    let body = json!({ "event": "TYPING", "data": { "exact": 1 }, "signal": true }).to_string();
    let service = crate::harness::service();
    let answer = server.call(&service, "POST", "/v1/topics/t/events", &[], &body).await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    let signal = running.line().await;
    assert_eq!((&signal["type"], &signal["event"]), (&json!("SIGNAL"), &json!("TYPING")), "{signal}");
    assert_eq!(signal["payload"], json!({ "exact": 1 }));
    drop(running);
    server.stop().await;
}

/// As `| head -n 1` does.
#[tokio::test]
async fn whoever_has_read_enough_ends_it_quietly() {
    let server = Server::start().await;
    server.publish("t", "E", json!(1)).await;
    let mut running = subscribe(&server, "t --follow --from start").start();
    running.line().await;
    running.close_output();
    // The reader notices that nobody takes its lines with the next one, the process with the one after that.
    let ended = tokio::spawn(running.ended());
    while !ended.is_finished() {
        server.publish("t", "E", json!(2)).await;
        tokio::task::yield_now().await;
    }
    let ended = ended.await.unwrap();
    assert_eq!((ended.status.code(), ended.errors.as_str()), (Some(0), ""));
    server.stop().await;
}

/// Without an event that it could fail to write.
#[tokio::test]
async fn a_command_that_nobody_reads_ends_by_itself() {
    let server = Server::start().await;
    let url = format!("http://{}", server.addr);
    for arguments in ["subscribe t --follow", "drafts watch"] {
        let line = draftwire(&url, arguments).token(&token::scoped("alice", ALL_TOPICS));
        let ended = line.start_unread().ended().await;
        assert_eq!((ended.status.code(), ended.errors.as_str()), (Some(0), ""), "{arguments}");
    }
    server.stop().await;
}

/// A token that ends is read anew from its file.
#[tokio::test]
async fn a_token_file_is_read_again() {
    let server = Server::with(&[("TOKEN_WARNING", "1s")]).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    let in_seconds = |seconds: u64, scope: &str| {
        let exp = common::time::unix_ms() / 1000 + seconds;
        token::sign(&json!({ "sub": "alice", "exp": exp, "scope": scope }), token::SECRET)
    };
    std::fs::write(&file, format!("{}\n", in_seconds(3, "subscribe:*"))).unwrap();
    let line = draftwire(&format!("http://{}", server.addr), "subscribe t --follow --token-file");
    let mut running = line.arg(file.to_str().unwrap()).start();
    let exp = common::time::unix_ms() / 1000 + 4;
    // Whether it follows the topic shows with the first event that comes.
    let mut seen = 0;
    while seen == 0 {
        server.publish("t", "E", json!(1)).await;
        seen = timeout(Duration::from_millis(50), running.line()).await.map_or(0, |_| 1);
    }
    std::fs::write(&file, in_seconds(3600, "subscribe:*")).unwrap();
    testkit::wait::until("the end of the first token", crate::DEADLINE, || async {
        if common::time::unix_ms() / 1000 > exp { Ok(()) } else { Err("it is still good") }
    })
    .await;
    server.publish("t", "LAST", json!(1)).await;
    while running.line().await["type"] != "LAST" {}
    drop(running);
    server.stop().await;
}
