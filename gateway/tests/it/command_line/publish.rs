//! `draftwire publish`.

use std::fmt::Write as _;

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::{Proxy, token};

use super::draftwire;
use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{ALL_TOPICS, Disk, Server, service},
};

fn editor() -> String {
    token::scoped("desk", ALL_TOPICS)
}

/// Events with these numbers as data, a line each.
fn lines(numbers: std::ops::Range<u64>) -> String {
    numbers.fold(String::new(), |mut lines, n| {
        writeln!(lines, "{{\"event\":\"E\",\"data\":{n}}}").unwrap();
        lines
    })
}

/// The data of all events of the topic.
async fn published(server: &Server, topic: &str) -> Vec<Value> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/topics/{topic}/events?limit=1000{cursor}");
        let answer = server.call(&editor(), "GET", &path, &[], "").await.json;
        let events = answer["events"].as_array().unwrap();
        if events.is_empty() {
            return found;
        }
        found.extend(events.iter().map(|event| event["payload"].clone()));
        cursor = format!("&cursor={}", answer["cursor"].as_str().unwrap());
    }
}

#[tokio::test]
async fn lines_and_single_events_are_published() {
    let server = Server::start().await;
    let url = format!("http://{}", server.addr);
    let (mut alice, _) = server.connect("alice", "").await;
    let one = |target: &str| draftwire(&url, &format!("publish {target} --event GOAL")).token(&service());
    let numbers = one("--topic t").arg("--data").arg("{\"minute\": 61,\n\"exact\": 1.50}").run("").await;
    assert_eq!(numbers.done(), [json!({ "first": 1, "seq": 1 })]);
    one("--user alice --priority high").run("").await.done();
    one("--broadcast").run("").await.done();
    for stream in ["user", "all"] {
        let event = alice.next_of("GOAL", DEADLINE).await.unwrap();
        assert_eq!((&event["stream"], &event["origin"]), (&json!(stream), &json!("cli")), "{event}");
    }
    let input = format!("\n{}\n\n{}", lines(1..4), r#"{"event":"E","data":4,"priority":"critical"}"#);
    let line = draftwire(&url, "publish --topic t --events-max 3 --device desk-2").token(&service());
    assert_eq!(
        line.run(input).await.done(),
        [json!({ "first": 2, "seq": 4 }), json!({ "first": 5, "seq": 5 })]
    );
    assert_eq!(
        published(&server, "t").await,
        [json!({ "minute": 61, "exact": 1.5 }), json!(1), json!(2), json!(3), json!(4)]
    );
    let text = server.call(&editor(), "GET", "/v1/topics/t/events", &[], "").await.text;
    assert!(text.contains("\"exact\": 1.50") && text.contains("desk-2"), "{text}");
    assert_eq!(draftwire(&url, "publish --topic t").token(&service()).run("").await.done(), [json!(null); 0]);
    server.stop().await;
}

/// The numbers go nowhere; the lines are published all the same.
#[tokio::test]
async fn lines_are_published_also_when_nobody_reads_their_numbers() {
    let server = Server::start().await;
    let line = draftwire(&format!("http://{}", server.addr), "publish --topic t --events-max 10");
    let mut running = line.token(&editor()).start_unread();
    running.feed(lines(0..50)).await;
    running.end_input();
    let ended = running.ended().await;
    assert_eq!((ended.status.code(), ended.errors.as_str()), (Some(0), ""));
    assert_eq!(published(&server, "t").await.len(), 50);
    server.stop().await;
}

/// Without a key, what there is goes out when the input pauses.
#[tokio::test]
async fn what_comes_bit_by_bit_is_published_bit_by_bit() {
    let server = Server::start().await;
    let mut running =
        draftwire(&format!("http://{}", server.addr), "publish --topic t").token(&editor()).start();
    for n in 1..=3 {
        running.feed(lines(n..n + 1)).await;
        assert_eq!(running.line().await, json!({ "first": n, "seq": n }));
    }
    running.end_input();
    assert_eq!(running.ended().await.done(), Vec::<Value>::new());
    server.stop().await;
}

#[tokio::test]
async fn input_that_is_no_event_ends_it_with_its_line() {
    let server = Server::start().await;
    let url = format!("http://{}", server.addr);
    let large = format!("{{\"event\":\"E\",\"data\":\"{}\"}}", "x".repeat(5000));
    let endless = "x".repeat((4 << 20) + 1);
    let deep = format!("{{\"event\":\"E\",\"data\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    for (bad, code, what) in [
        ("{\"event\":", 2, "line 3: "),
        ("[1]", 2, "line 3: "),
        ("{\"event\":\"E\",\"prio\":1}", 2, "has no field \"prio\""),
        ("{\"event\":\"ACK\"}", 2, "line 3: event ACK is reserved"),
        ("{\"event\":\"E\",\"signal\":true}", 2, "no signals"),
        (&deep, 2, "nested deeper than 100 levels"),
        (&endless, 2, "line 3 is longer than 4194304 bytes"),
        (&large, 1, "too_large: line 3: "),
    ] {
        let input = format!("{}{bad}\n{}", lines(1..3), lines(4..5));
        let line = draftwire(&url, "publish --topic t --events-max 1 --key").arg(&format!("k{}", bad.len()));
        let ended = line.token(&editor()).run(input).await;
        assert_eq!(ended.status.code(), Some(code), "{}", ended.errors);
        assert!(ended.errors.contains(what), "{what} is not in: {}", ended.errors);
        assert!(ended.errors.contains("published up to line 2"), "{}", ended.errors);
        assert_eq!(ended.lines.len(), 2);
    }
    let line = draftwire(&url, "publish --topic t").token(&editor());
    line.run(b"{\"event\":\"E\xff\"}\n".to_vec()).await.failed(2, "line 1 is not UTF-8");
    server.stop().await;
}

#[tokio::test]
async fn a_run_that_is_killed_and_repeated_publishes_each_line_once() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let url = format!("http://{}", server.addr);
    let line = || draftwire(&url, "publish --topic t --key import-7 --events-max 100").token(&editor());
    let mut killed = line().start();
    killed.feed(lines(0..350)).await;
    for n in 0..3 {
        assert_eq!(killed.line().await, json!({ "first": n * 100 + 1, "seq": n * 100 + 100 }));
    }
    // One more request is on its way when it is killed, and is carried out all the same.
    store.hold_commits();
    killed.feed(lines(350..450)).await;
    testkit::wait::until("the fourth request", DEADLINE, || async {
        if store.holds_a_commit() { Ok(()) } else { Err("it has not come") }
    })
    .await;
    killed.signal(Signal::KILL);
    assert_eq!(killed.ended().await.status.code(), None);
    store.let_commits_go();

    let again = line().run(lines(0..1030)).await.done();
    let expected: Vec<Value> =
        (0..11).map(|n| json!({ "first": n * 100 + 1, "seq": std::cmp::min(n * 100 + 100, 1030) })).collect();
    assert_eq!(again, expected, "the numbers of the first run, and those of the rest");
    assert_eq!(published(&server, "t").await, (0..1030).map(Value::from).collect::<Vec<_>>());
    // Another input under the same key is a mistake.
    let other = line().run(lines(5..200)).await;
    other.failed(1, "bad_request: lines 1 to 100: ");
    server.stop().await;
}

#[tokio::test]
async fn an_input_that_has_grown_needs_another_key() {
    let server = Server::start().await;
    let url = format!("http://{}", server.addr);
    let publish = async |input: String| {
        draftwire(&url, "publish --topic t --key k --events-max 2").token(&editor()).run(input).await
    };
    publish(lines(0..3)).await.done();
    let grown = publish(lines(0..4)).await;
    assert_eq!(grown.status.code(), Some(1), "{}", grown.errors);
    assert!(grown.errors.contains("publish what it did not have with another key"), "{}", grown.errors);
    assert_eq!(grown.lines, [json!({ "first": 1, "seq": 2 })]);
    assert_eq!(published(&server, "t").await, (0..3).map(Value::from).collect::<Vec<_>>());
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let proxy = Proxy::start(server.addr.port()).await.unwrap();
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let mut running = draftwire(&url, "publish --topic t --events-max 10 --key k").token(&editor()).start();
    running.feed(lines(0..10)).await;
    running.line().await;
    // The answer to the next request is lost, with the connection.
    proxy.pause();
    running.feed(lines(10..20)).await;
    proxy.cut();
    proxy.restore();
    assert_eq!(running.line().await, json!({ "first": 11, "seq": 20 }));
    // The store does not answer: 503.
    let before = store.batches().len();
    store.set_down(true);
    running.feed(lines(20..25)).await;
    running.end_input();
    testkit::wait::until("a request that is refused", DEADLINE, || async {
        if store.batches().len() > before { Ok(()) } else { Err("it has not come") }
    })
    .await;
    store.set_down(false);
    let ended = running.ended().await;
    assert_eq!(ended.status.code(), Some(0), "{}", ended.errors);
    assert_eq!(ended.lines, [json!({ "first": 21, "seq": 25 })]);
    assert!(
        ended.errors.contains("unavailable: ") && ended.errors.contains("trying again"),
        "{}",
        ended.errors
    );
    assert_eq!(published(&server, "t").await, (0..25).map(Value::from).collect::<Vec<_>>());
    store.set_down(true);
    let line = draftwire(&url, "publish --topic t --event E --timeout 300ms").token(&editor());
    let ended = line.run("").await;
    assert_eq!(ended.status.code(), Some(1), "{}", ended.errors);
    assert!(ended.errors.contains("unavailable: "), "{}", ended.errors);
    store.set_down(false);
    server.stop().await;
}

#[tokio::test]
async fn ctrl_c_says_how_far_it_came() {
    let server = Server::start().await;
    let line = draftwire(&format!("http://{}", server.addr), "publish --topic t --key k --events-max 2");
    let mut running = line.token(&editor()).start();
    running.feed(lines(0..5)).await;
    running.line().await;
    running.line().await;
    running.signal(Signal::INT);
    let ended = running.ended().await;
    assert_eq!(ended.status.code(), Some(130), "{}", ended.errors);
    assert_eq!(
        ended.errors,
        "draftwire: published up to line 4; repeat it with the same input and key for the rest\n"
    );
    server.stop().await;
}
