//! Server-sent events: resumed by their ids, told what is gone, and kept alive.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::time::unix_ms;
use reqwest::{Response, header::HeaderValue};
use serde_json::{Value, json};
use testkit::{SseFollower, SseOptions, device::Track, token};
use tokio::time::timeout;

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Disk, Server, ask, create, service},
};

/// One event of a stream.
#[derive(Debug)]
struct Block {
    id: String,
    message: Value,
}

impl Block {
    fn is(&self, kind: &str, stream: &str) -> bool {
        self.message["type"] == kind && self.message["stream"] == stream
    }

    /// Whether it says that everything of a stream has come.
    fn completes(&self, stream: &str) -> bool {
        self.is("SYNCED", stream) && self.message.get("missedBefore").is_none()
    }
}

/// Asks for an event stream, and with the id of an event to go on from it.
async fn open(server: &Server, query: &str, last_id: Option<&[u8]>) -> Response {
    let url = format!("http://{}/v1/stream?{query}", server.addr);
    let client = testkit::http::builder().build().unwrap();
    let request = client.get(url).bearer_auth(token::scoped("alice", ALL_TOPICS));
    let request = match last_id {
        Some(id) => request.header("last-event-id", HeaderValue::from_bytes(id).unwrap()),
        None => request,
    };
    request.send().await.unwrap()
}

/// A client that is behind has something to read at any moment, and its token ends all the same.
#[tokio::test]
async fn a_stream_ends_with_its_token_also_when_much_is_due() {
    const EVENTS: usize = 400;
    const BYTES: usize = 100_000;
    let server = Server::roomy(&[("RECENT_BYTES_MAX", "256MiB")]).await;
    let token = token::sign(
        &json!({ "sub": "alice", "scope": ALL_TOPICS, "exp": unix_ms() / 1000 + 4 }),
        token::SECRET,
    );
    let url = format!("http://{}/v1/stream?topics=t", server.addr);
    let client = testkit::http::builder().build().unwrap();
    let mut answer = client.get(url).bearer_auth(&token).send().await.unwrap();
    read(&mut answer, |blocks| !blocks.is_empty()).await;
    for _ in 0..EVENTS {
        server.publish("t", "E", json!("x".repeat(BYTES))).await;
    }
    // Slower than the stream would be sent, until the token has ended; then whatever was on its way.
    let mut got = 0;
    let end = Instant::now() + Duration::from_secs(5);
    while let Some(chunk) = timeout(DEADLINE, answer.chunk()).await.unwrap().unwrap() {
        got += chunk.len();
        if Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    assert!(got < EVENTS * BYTES, "all of it came");
}

/// Reads an event stream until enough has come.
async fn read(answer: &mut Response, enough: impl Fn(&[Block]) -> bool) -> Vec<Block> {
    assert_eq!(answer.status(), 200);
    let mut text = String::new();
    let mut blocks = Vec::new();
    while !enough(&blocks) {
        let chunk = timeout(DEADLINE, answer.chunk()).await;
        let chunk = chunk.unwrap_or_else(|_| panic!("only {blocks:?} came")).unwrap().unwrap();
        text += std::str::from_utf8(&chunk).unwrap();
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name));
            if let (Some(id), Some(data)) = (field("id: "), field("data: ")) {
                blocks.push(Block { id: id.to_owned(), message: serde_json::from_str(data).unwrap() });
            }
            text = rest.to_owned();
        }
    }
    blocks
}

/// The streams of a connection that follows one topic.
const STREAMS: [&str; 3] = ["user", "all", "topic:t"];

/// Whether everything of all streams has come.
fn complete(blocks: &[Block]) -> bool {
    STREAMS.into_iter().all(|stream| blocks.iter().any(|block| block.completes(stream)))
}

#[tokio::test]
async fn server_sent_events_resume_from_their_last_id() {
    let server = Server::start().await;
    let url = format!("http://{}/v1/stream", server.addr);
    let token: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(|| token::scoped("alice", ALL_TOPICS));
    server.publish("a", "E", json!("before")).await;
    let mut options = SseOptions::new(vec![url], &["a", "b"], token).keep_messages();
    options.backoff_min = Duration::from_millis(10);
    let sse = SseFollower::start(options).unwrap();
    sse.wait_until("follow", DEADLINE, |replica| replica.topic("b").is_some_and(Track::is_followed)).await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    for round in 1..=5 {
        sse.drop_connection();
        server.publish("a", "E", json!(round)).await;
        server.publish("b", "E", json!(round)).await;
        ask(&mut phone, "DRAFT_CREATE", &format!("c{round}"), json!({ "content": {} })).await;
        server.call(&service(), "POST", "/v1/broadcast", &[], r#"{"event":"NEWS"}"#).await;
        sse.wait_until("have all", DEADLINE, |replica| {
            let at = |stream: &str| replica.stream(stream).map_or(0, Track::seq);
            (at("topic:a"), at("topic:b"), at("all"), replica.seq()) == (round + 1, round, round, round)
        })
        .await;
    }
    assert_eq!(sse.violations(), []);
    assert!(sse.counters().connections >= 2, "{:?}", sse.counters());
    sse.look(|replica| assert_eq!(replica.topic("a").unwrap().runs(), [(2, 6)], "none before it came"));
}

#[tokio::test]
async fn server_sent_events_tell_what_is_gone_and_that_they_live() {
    let server = Server::with(&[("SSE_HEARTBEAT", "100ms"), ("PUBLIC_TOPICS", "t")]).await;
    for n in 1..=3 {
        server.publish("t", "E", json!(n)).await;
    }
    let url = format!("http://{}/v1/stream", server.addr);
    let nobody: Arc<dyn Fn() -> String + Send + Sync> = Arc::new(String::new);
    let sse = SseFollower::start(SseOptions::new(vec![url.clone()], &["t"], nobody)).unwrap();
    sse.wait_until("follow", DEADLINE, |replica| replica.topic("t").is_some_and(Track::is_followed)).await;
    assert!(!sse.look(testkit::device::Replica::has_user));
    testkit::wait::until("comments come", DEADLINE, || async {
        let counters = sse.counters();
        if counters.comments >= 3 { Ok(()) } else { Err(format!("{counters:?}")) }
    })
    .await;
    assert_eq!((sse.violations(), sse.counters().connections), (vec![], 1));
    // By hand: a position of another history, and in one stream only.
    let mut answer = reqwest::get(format!("{url}?topics=t&cursor=other/topic:t=2")).await.unwrap();
    let mut text = String::new();
    while !text.contains("event: SYNCED\n") || !text.ends_with("\n\n") {
        text += std::str::from_utf8(&answer.chunk().await.unwrap().unwrap()).unwrap();
    }
    assert!(text.contains(r#""stream":"topic:t","seq":3"#) && text.contains(r#""missedBefore":4"#), "{text}");
    for bad in ["x", "/", "e/topic:t", "e/topic:t=-1", "e/topic:t=x"] {
        let answer = testkit::http::get(&format!("{url}?topics=t&cursor={bad}")).await.unwrap();
        assert_eq!(answer.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_reset_that_did_not_arrive_comes_on_the_next_connection() {
    let server = Server::start().await;
    let (mut phone, welcome) = server.connect("alice", "device=phone").await;
    create(&mut phone, "d1", json!({})).await;
    server.publish("t", "E", json!(1)).await;
    let position = "older/all=4,topic:t=7,user=9";
    let mut answer = open(&server, "topics=t", Some(position.as_bytes())).await;
    let first = read(&mut answer, |blocks| !blocks.is_empty()).await;
    assert_eq!(first[0].message["type"], "WELCOME");
    assert_eq!(first[0].id, position, "nothing has been told yet");
    // The connection breaks right behind it.
    drop(answer);
    let mut answer = open(&server, "topics=t", Some(first[0].id.as_bytes())).await;
    let blocks = read(&mut answer, complete).await;
    assert!(blocks.iter().any(|block| block.is("SNAPSHOT", "user")), "{blocks:?}");
    for (stream, seq) in [("all", 0), ("topic:t", 1)] {
        let of_it: Vec<&Value> =
            blocks.iter().map(|block| &block.message).filter(|message| message["stream"] == stream).collect();
        let moved = json!({ "type": "SYNCED", "stream": stream, "epoch": welcome["epoch"], "seq": seq,
                            "missedBefore": seq + 1 });
        assert_eq!(of_it, [&moved, &json!({ "type": "SYNCED", "stream": stream, "seq": seq })]);
    }
    let epoch = welcome["epoch"].as_str().unwrap();
    assert_eq!(blocks.last().unwrap().id, format!("{epoch}/all=0,topic:t=1,user=1"));
}

#[tokio::test]
async fn ids_name_all_streams_while_the_history_changes() {
    let disk = Disk::new().await;
    let server = Server::on(&disk, &[("SWEEP_INTERVAL", "50ms"), ("SWEEP_INTERVAL_UNSURE", "50ms")]).await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    create(&mut phone, "d1", json!({})).await;
    create(&mut phone, "d2", json!({})).await;
    let mut answer = open(&server, "topics=t", None).await;
    let mut blocks = read(&mut answer, |blocks| !blocks.is_empty()).await;
    disk.sql(
        "DELETE FROM events WHERE seq = 2; DELETE FROM drafts WHERE draft_id = 'd2';
         UPDATE streams SET head = 1 WHERE head = 2; UPDATE meta SET value = 'restored' WHERE key = 'epoch'",
    )
    .await;
    blocks.extend(read(&mut answer, complete).await);
    for block in &blocks {
        for stream in STREAMS {
            assert!(block.id.contains(&format!("{stream}=")), "{stream} is not in the id of {block:?}");
        }
    }
    assert_eq!(blocks.last().unwrap().id, "restored/all=0,topic:t=0,user=1");
    // Lost before the state came: it comes to whoever is back with what was there until then.
    let state = blocks.iter().position(|block| block.is("SNAPSHOT", "user")).unwrap();
    let mut answer = open(&server, "topics=t", Some(blocks[state - 1].id.as_bytes())).await;
    let again = read(&mut answer, complete).await;
    assert!(again.iter().any(|block| block.is("SNAPSHOT", "user")), "{again:?}");
}

#[tokio::test]
async fn an_id_that_is_no_text_is_refused() {
    let server = Server::start().await;
    for malformed in [&b"e/all=1\xff"[..], b"e/all=\xc3\xa9", b"e"] {
        assert_eq!(open(&server, "topics=t", Some(malformed)).await.status(), 400, "{malformed:?}");
    }
}

/// By the standard, any status but 200 ends a browser's `EventSource` for good.
#[tokio::test]
async fn a_stopping_node_lets_an_event_source_come_back() {
    let server = Server::start().await;
    let (_stays, _) = server.connect("alice", "device=a").await;
    let stopping = server.node.drain();
    tokio::pin!(stopping);
    // The first poll is what begins the stop.
    assert!(futures_util::poll!(&mut stopping).is_pending());
    let token = token::scoped("alice", ALL_TOPICS);
    let follow = async |headers: &[(&str, &str)]| server.call(&token, "GET", "/v1/stream", headers, "").await;
    let source = ("accept", "text/event-stream");
    let told = follow(&[source]).await;
    assert_eq!((told.status, told.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(told.header("cache-control"), Some("no-store, no-transform"));
    let retry = told.text.strip_prefix("retry: ").and_then(|text| text.strip_suffix("\n\n"));
    assert!(retry.is_some_and(|ms| ms.parse::<u64>().is_ok()), "{told:?}");
    // Whoever can act on a status is told by it; so is a proxy that tries another node.
    assert_eq!(follow(&[]).await.status, 503);
    assert_eq!(follow(&[source, ("draftwire-failover", "503")]).await.status, 503);
    // What does not pass by itself ends it.
    let refused = server.call("x", "GET", "/v1/stream", &[source], "").await;
    assert_eq!(refused.status, 401);
}

#[tokio::test]
async fn more_event_streams_than_a_user_may_have_are_429() {
    let server = Server::with(&[("CONNECTIONS_PER_USER", "1")]).await;
    let first = open(&server, "", None).await;
    assert_eq!(first.status(), 200);
    let second = open(&server, "", None).await;
    assert_eq!(second.status(), 429);
    assert!(second.headers().contains_key("retry-after"));
    let problem: Value = second.json().await.unwrap();
    assert_eq!(problem["code"], "rate_limited");
}
