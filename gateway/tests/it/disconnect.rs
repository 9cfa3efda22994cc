//! Disconnecting users: the control stream, and `POST /v1/admin/users/{userId}/disconnect`.

use std::sync::Arc;

use common::{Seq, Stream, protocol::NewEvent};
use fanout::{
    bus::{Bus, MemoryBus},
    log::Read,
};
use gateway::store::{Append, Op, Write};
use serde_json::{Value, json};
use testkit::{RawRequest, RawSocket, http::Answer, token};
use tokio::time::timeout;

use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{ALL_TOPICS, ANY_PORT, Disk, Server, ask, problem, service, settings, subscribe},
};

const ALICE: &str = "/v1/admin/users/alice/disconnect";

const DEFAULT_REASON: &str = "the user was disconnected; connect again with a fresh token";

/// A node that compares its streams with the log all the time.
const SWEEPS: [(&str, &str); 2] = [("SWEEP_INTERVAL", "100ms"), ("SWEEP_INTERVAL_UNSURE", "100ms")];

fn admin() -> String {
    token::scoped("operator", "admin")
}

async fn disconnect(server: &Server, headers: &[(&str, &str)], body: &str) -> Answer {
    server.call(&admin(), "POST", ALICE, headers, body).await
}

/// The same where it is accepted: the number of the control event.
async fn disconnected(server: &Server, headers: &[(&str, &str)], body: &str) -> u64 {
    accepted(&disconnect(server, headers, body).await)
}

#[track_caller]
fn accepted(answer: &Answer) -> u64 {
    assert_eq!(answer.status, 202, "{}", answer.text);
    answer.json["seq"].as_u64().unwrap()
}

async fn closed(socket: &mut RawSocket) -> (u16, String) {
    socket.closed(DEADLINE).await.unwrap().expect("a close frame")
}

/// The connection is as it was.
async fn lives(socket: &mut RawSocket) {
    assert_eq!(ask(socket, "PING", "still-here", Value::Null).await["type"], "PONG");
}

/// Nodes that share a store; each has the bus that it is given.
async fn nodes(buses: [Arc<dyn Bus>; 2], some: &[(&str, &str)]) -> [Server; 2] {
    let disk = Disk::new().await;
    let [one, two] = buses;
    [
        Server::assemble_at(ANY_PORT, &disk, one, settings("n1", some)).await,
        Server::assemble_at(ANY_PORT, &disk, two, settings("n2", some)).await,
    ]
}

#[tokio::test]
async fn sockets_and_event_streams_of_a_user_end_on_every_node() {
    let network = MemoryBus::network();
    let nodes = nodes([network.join(), network.join()], &[]).await;
    let mut of_alice = Vec::new();
    for node in &nodes {
        of_alice.push(node.connect("alice", "").await.0);
    }
    let url = format!("http://{}/v1/stream", nodes[1].addr);
    let client = testkit::http::builder().build().unwrap();
    let events = client.get(url).bearer_auth(token::good("alice")).send().await.unwrap();
    let (mut of_bob, _) = nodes[1].connect("bob", "").await;

    assert_eq!(disconnected(&nodes[0], &[], r#"{"reason":"signed out everywhere"}"#).await, 1);
    for socket in &mut of_alice {
        assert_eq!(closed(socket).await, (4410, "signed out everywhere".to_owned()));
    }
    timeout(DEADLINE, events.text()).await.expect("the event stream ends").unwrap();
    lives(&mut of_bob).await;

    // It takes no right away, and is over.
    let (mut back, _) = nodes[1].connect("alice", "").await;
    assert_eq!(disconnected(&nodes[1], &[], "").await, 2);
    assert_eq!(closed(&mut back).await, (4410, DEFAULT_REASON.to_owned()));
    let (mut back, _) = nodes[0].connect("alice", "").await;
    assert_eq!(disconnected(&nodes[1], &[], r#"{"code":4403}"#).await, 3);
    assert_eq!(closed(&mut back).await.0, 4403);
}

#[tokio::test]
async fn a_repeated_request_ends_nothing_again() {
    let server = Server::start().await;
    // From here on the node follows the control stream.
    let (_of_bob, _) = server.connect("bob", "").await;
    let key = [("idempotency-key", "once")];
    assert_eq!(disconnected(&server, &key, "{}").await, 1, "of a user without connections");
    let (mut socket, _) = server.connect("alice", "").await;
    assert_eq!(disconnected(&server, &key, "{}").await, 1);
    lives(&mut socket).await;
    let other = disconnect(&server, &key, r#"{"reason":"another request"}"#).await;
    problem(&other, 400, "bad_request");
    lives(&mut socket).await;
    assert_eq!(disconnected(&server, &[], "{}").await, 2);
    assert_eq!(closed(&mut socket).await.0, 4410);
}

#[tokio::test]
async fn nodes_that_do_not_hear_each_other_learn_of_it_by_the_sweep() {
    let buses: [Arc<dyn Bus>; 2] = [MemoryBus::new(), MemoryBus::new()];
    let nodes = nodes(buses, &SWEEPS).await;
    let (mut far, _) = nodes[1].connect("alice", "").await;
    disconnected(&nodes[0], &[], "{}").await;
    assert_eq!(closed(&mut far).await.0, 4410);
}

/// Two nodes that share a store and do not hear each other. The store is away from the second one when a test wants it so;
/// that one has applied an event of the control stream.
struct Apart {
    disk: Arc<Disk>,
    near: Server,
    far: Server,
    store_of_far: Arc<FailingStore>,
}

impl Apart {
    async fn start() -> Self {
        let disk = Disk::new().await;
        let near = Server::on(&disk, &[]).await;
        let store_of_far = FailingStore::over(&disk);
        let settings = settings("n2", &[&SWEEPS[..], &[("PUBLIC_TOPICS", "*")]].concat());
        let far = Disk::over(store_of_far.clone());
        let far = Server::assemble_at(ANY_PORT, &far, MemoryBus::new(), settings).await;
        let this = Self { disk, near, far, store_of_far };
        let (mut socket, _) = this.far.connect("carol", "").await;
        assert_eq!(this.disconnect("carol").await, 1);
        closed(&mut socket).await;
        this
    }

    /// Asks the near node to disconnect a user: the number of the control event.
    async fn disconnect(&self, user: &str) -> u64 {
        let path = format!("/v1/admin/users/{user}/disconnect");
        accepted(&self.near.call(&admin(), "POST", &path, &[], "").await)
    }
}

#[tokio::test]
async fn a_disconnect_around_a_change_of_the_history_is_not_missed() {
    let apart = Apart::start().await;
    let (mut of_alice, _) = apart.far.connect("alice", "").await;
    let (mut of_bob, _) = apart.far.connect("bob", "").await;
    apart.store_of_far.set_down(true);
    assert_eq!(apart.disconnect("alice").await, 2);
    apart.disk.sql("UPDATE meta SET value = 'renamed' WHERE key = 'epoch'").await;
    apart.store_of_far.set_down(false);
    assert_eq!(closed(&mut of_alice).await.0, 4410);
    // What was applied before is not applied again, nor does the name alone concern anybody.
    lives(&mut of_bob).await;
    let (mut back, _) = apart.far.connect("carol", "").await;
    apart.disk.sql("UPDATE meta SET value = 'renamed-again' WHERE key = 'epoch'").await;
    assert_eq!(apart.disconnect("bob").await, 3);
    assert_eq!(closed(&mut of_bob).await.0, 4410);
    lives(&mut back).await;
}

#[tokio::test]
async fn where_events_are_gone_all_users_are_disconnected_because_any_may_have_been_meant() {
    for gone in [
        // A backup is restored, in which the event that was applied last has never been.
        "BEGIN; DELETE FROM events WHERE stream = 'control'; UPDATE streams SET head = 0 WHERE name = 'control';
         UPDATE meta SET value = 'restored' WHERE key = 'epoch'; COMMIT",
        // The same, where its number is another event's.
        "BEGIN; UPDATE events SET ts = ts - 1 WHERE stream = 'control' AND seq = 1;
         UPDATE meta SET value = 'restored' WHERE key = 'epoch'; COMMIT",
        // Retention was faster.
        "BEGIN; DELETE FROM events WHERE stream = 'control';
         UPDATE streams SET floor = head WHERE name = 'control'; COMMIT",
    ] {
        let apart = Apart::start().await;
        let (mut of_alice, _) = apart.far.connect("alice", "").await;
        let (mut of_bob, _) = apart.far.connect("bob", "").await;
        let (mut of_nobody, _) = apart.far.connect_as("", "").await;
        apart.store_of_far.set_down(true);
        apart.disconnect("dave").await;
        apart.disk.sql(gone).await;
        apart.store_of_far.set_down(false);
        for socket in [&mut of_alice, &mut of_bob] {
            let (code, reason) = closed(socket).await;
            assert_eq!(code, 4410, "{gone}");
            assert!(reason.contains("may have been disconnected"), "{gone}: {reason}");
        }
        lives(&mut of_nobody).await;
        // Then it goes on.
        let (mut back, _) = apart.far.connect("alice", "").await;
        let (mut other, _) = apart.far.connect("bob", "").await;
        apart.disconnect("alice").await;
        assert_eq!(closed(&mut back).await, (4410, DEFAULT_REASON.to_owned()));
        lives(&mut other).await;
    }
}

#[tokio::test]
async fn an_event_that_a_node_does_not_know_is_kept_and_passed_over() {
    let server = Server::with(&SWEEPS).await;
    let (mut socket, _) = server.connect("alice", "").await;
    // As a newer node would write it.
    let newer = NewEvent::from_json(r#"{"event":"SETTING_CHANGED","data":{"name":"DEFLATE"}}"#).unwrap();
    let write = Write {
        user: "operator".parse().unwrap(),
        device: "http".parse().unwrap(),
        id: None,
        op: Op::Append(Append { stream: Stream::Control, events: vec![newer] }),
    };
    server.node.store.commit(&[write]).await.unwrap();
    assert_eq!(disconnected(&server, &[], "{}").await, 2);
    assert_eq!(closed(&mut socket).await.0, 4410);
    let read = Read { stream: Stream::Control, after: Seq(0), limit: 10 };
    let kept = server.node.store.history(&read).await.unwrap().page.events;
    let kinds: Vec<_> = kept.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["SETTING_CHANGED", "USER_DISCONNECTED"]);
}

#[tokio::test]
async fn clients_neither_follow_the_control_stream_nor_publish_to_it() {
    let server = Server::start().await;
    disconnected(&server, &[], "{}").await;
    let (mut socket, _) = server.connect_to_topics("alice", "").await;
    // This is the topic of that name.
    let (_, head) = subscribe(&mut socket, json!({ "topic": "control" })).await;
    assert_eq!(head, 0);
    let order =
        json!({ "event": "USER_DISCONNECTED", "data": { "userId": "alice", "code": 4410, "reason": "r" } });
    for path in ["/v1/topics/control/events", "/v1/broadcast", "/v1/users/alice/events"] {
        let answer = server.call(&service(), "POST", path, &[], &order.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    lives(&mut socket).await;
    // In a cursor it names nothing that could be resumed.
    let reader = token::scoped("alice", ALL_TOPICS);
    let url = format!("http://{}/v1/stream?cursor=e/control=0", server.addr);
    let client = testkit::http::builder().build().unwrap();
    let mut events = client.get(url).bearer_auth(reader).send().await.unwrap();
    let first = timeout(DEADLINE, events.chunk()).await.unwrap().unwrap().unwrap();
    assert!(!String::from_utf8_lossy(&first).contains("control"), "{first:?}");
    lives(&mut socket).await;
}

#[tokio::test]
async fn nobody_is_welcomed_before_the_node_learns_of_disconnections() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    store.set_down(true);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let request = RawRequest::new(server.socket_url()).token(&token::good("alice"));
    let mut socket = RawSocket::connect(&request).await.unwrap();
    store.set_down(false);
    assert_eq!(socket.next(DEADLINE).await.unwrap()["type"], "WELCOME");
    disconnected(&server, &[], "{}").await;
    assert_eq!(closed(&mut socket).await.0, 4410);
}

#[tokio::test]
async fn bad_input_is_refused_and_ends_nothing() {
    let server = Server::start().await;
    let (mut socket, _) = server.connect("alice", "").await;
    let long = json!({ "reason": "r".repeat(124) }).to_string();
    for (body, detail) in [
        ("[]", "the body must be an object, not an array"),
        ("{", "the body"),
        (r#"{"code":1000}"#, "code must be 4410 or 4403"),
        (r#"{"code":4401}"#, "code must be 4410 or 4403"),
        (r#"{"code":"4410"}"#, "code must be a whole number"),
        (r#"{"reason":7}"#, "reason must be a string"),
        (r#"{"reason":"a\u0000"}"#, "reason must be without control characters"),
        (r#"{"reason":"\ud83d"}"#, "reason holds half of a surrogate pair"),
        (&long, "reason must be 1 to 123 bytes"),
        (r#"{"resaon":"typo"}"#, "has no field \"resaon\""),
    ] {
        let answer = disconnect(&server, &[], body).await;
        problem(&answer, 400, "bad_request");
        assert!(answer.json["detail"].as_str().unwrap().contains(detail), "{body}: {}", answer.text);
    }
    problem(&disconnect(&server, &[("idempotency-key", "")], "").await, 400, "bad_request");
    for path in ["/v1/admin/users/a%0Ab/disconnect", "/v1/admin/users/%20/disconnect"] {
        problem(&server.call(&admin(), "POST", path, &[], "").await, 400, "bad_request");
    }
    let path = format!("{ALICE}?node=n1");
    problem(&server.call(&admin(), "POST", &path, &[], "").await, 400, "bad_request");
    for scope in ["", "service", "publish:* subscribe:*", "admin:*"] {
        let answer = server.call(&token::scoped("bob", scope), "POST", ALICE, &[], "").await;
        problem(&answer, 403, "forbidden");
    }
    problem(&server.call("", "POST", ALICE, &[], "").await, 401, "unauthorized");
    problem(&server.call(&admin(), "GET", ALICE, &[], "").await, 405, "bad_request");
    lives(&mut socket).await;
}
