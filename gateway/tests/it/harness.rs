//! Nodes in this process, and short ways to talk to them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use common::Seq;
use fanout::bus::{Bus, MemoryBus};
use gateway::{
    config::Config,
    edge::{listener, router},
    node::Node,
    store::{
        Limits, Store,
        sqlite::{SqliteOptions, SqliteStore},
    },
};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};
use tempfile::TempDir;
use testkit::{
    DeviceOptions, RawRequest, RawSocket,
    handshake::{self, Answered},
    http::Answer,
    token,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::DEADLINE;

/// A scope that allows everything with topics.
pub(crate) const ALL_TOPICS: &str = "subscribe:* publish:*";

/// The token of a backend.
pub(crate) fn service() -> String {
    token::scoped("backend", "service")
}

/// Lets the system choose a port.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A folder with a store in it; several nodes may share it.
pub(crate) struct Disk {
    dir: TempDir,
    pub(crate) store: Arc<dyn Store>,
}

/// A node that serves on a port of its own. Dropping it ends it without a word.
pub(crate) struct Server {
    pub(crate) node: Arc<Node>,
    pub(crate) addr: SocketAddr,
    pub(crate) disk: Arc<Disk>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Disk {
    pub(crate) async fn new() -> Arc<Self> {
        Self::with_event_bytes(4096).await
    }

    /// With another bound on the data of an event, and on drafts.
    pub(crate) async fn with_event_bytes(event_bytes_max: usize) -> Arc<Self> {
        let dir = tempfile::tempdir().unwrap();
        let store = Self::open(dir.path().join("draftwire.db"), event_bytes_max).await;
        Arc::new(Self { dir, store })
    }

    /// A store that was made elsewhere; [`Disk::sql`] does not reach it.
    pub(crate) fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { dir: tempfile::tempdir().unwrap(), store })
    }

    async fn open(path: PathBuf, event_bytes_max: usize) -> Arc<dyn Store> {
        let limits =
            Limits { drafts_per_user_max: 20, draft_bytes_max: event_bytes_max.max(4096), event_bytes_max };
        Arc::new(SqliteStore::open(&SqliteOptions { path, timeout: DEADLINE, limits }).await.unwrap())
    }

    /// Changes the database behind the server's back.
    pub(crate) async fn sql(&self, statement: &'static str) {
        let file =
            SqliteConnectOptions::new().filename(self.dir.path().join("draftwire.db")).busy_timeout(DEADLINE);
        let mut connection = SqliteConnection::connect_with(&file).await.unwrap();
        sqlx::raw_sql(statement).execute(&mut connection).await.unwrap();
    }
}

/// Settings of a node under test: some of them, and defaults that suit tests.
pub(crate) fn settings(name: &str, some: &[(&str, &str)]) -> Config {
    let mut map: HashMap<&str, &str> = HashMap::from([
        ("JWT_SECRET", token::SECRET),
        ("NODE_NAME", name),
        ("DEMO", "false"),
        // Tests wait for tokens to end.
        ("JWT_LEEWAY", "0s"),
        // Nobody but the test waits for clients to move elsewhere.
        ("DRAIN_WINDOW", "200ms"),
        // As the stores of most tests have it.
        ("EVENT_BYTES_MAX", "4KiB"),
    ]);
    map.extend(some.iter().copied());
    Config::from_source(|env| map.get(env).map(|text| (*text).to_owned())).unwrap()
}

impl Server {
    /// A node as it comes.
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// A node with some settings.
    pub(crate) async fn with(some: &[(&str, &str)]) -> Self {
        Self::on(&Disk::new().await, some).await
    }

    /// A node that takes events of up to a mebibyte.
    pub(crate) async fn roomy(some: &[(&str, &str)]) -> Self {
        Self::on(&Disk::with_event_bytes(1 << 20).await, &[some, &[("EVENT_BYTES_MAX", "1MiB")]].concat())
            .await
    }

    /// A node over a store that may have been used before.
    pub(crate) async fn on(disk: &Arc<Disk>, some: &[(&str, &str)]) -> Self {
        Self::assemble_at(ANY_PORT, disk, MemoryBus::new(), settings("n1", some)).await
    }

    /// A node at an address, over a bus of its own or a shared one.
    pub(crate) async fn assemble_at(
        addr: SocketAddr,
        disk: &Arc<Disk>,
        bus: Arc<dyn Bus>,
        settings: Config,
    ) -> Self {
        testkit::contract::enforce();
        let patience = listener::Patience { idle: settings.listen.keep_alive, ..Default::default() };
        let node = Node::assemble(settings, disk.store.clone(), bus).unwrap();
        let listener = listener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(listener::serve(listener, router::router(node.edge()), patience, stopped));
        Self { node, addr, disk: disk.clone(), stop, serving }
    }

    pub(crate) fn socket_url(&self) -> String {
        format!("ws://{}/ws/realtime", self.addr)
    }

    /// Opens a socket and reads `WELCOME`. `query` has no question mark.
    pub(crate) async fn connect(&self, user: &str, query: &str) -> (RawSocket, Value) {
        let request = RawRequest::new(format!("{}?{query}", self.socket_url())).token(&token::good(user));
        let mut socket = RawSocket::connect(&request).await.unwrap();
        let welcome = socket.next(DEADLINE).await.unwrap();
        assert_eq!(welcome["type"], "WELCOME", "{welcome}");
        (socket, welcome["payload"].clone())
    }

    /// Opens a socket with a token, or without one when it is empty, and reads `WELCOME`.
    pub(crate) async fn connect_as(&self, token: &str, query: &str) -> (RawSocket, Value) {
        let request = RawRequest::new(format!("{}?{query}", self.socket_url()));
        let request = if token.is_empty() { request } else { request.token(token) };
        let mut socket = RawSocket::connect(&request).await.unwrap();
        let welcome = socket.next(DEADLINE).await.unwrap();
        assert_eq!(welcome["type"], "WELCOME", "{welcome}");
        (socket, welcome["payload"].clone())
    }

    /// Opens a socket of a user who may do anything with topics.
    pub(crate) async fn connect_to_topics(&self, user: &str, query: &str) -> (RawSocket, Value) {
        self.connect_as(&token::scoped(user, ALL_TOPICS), query).await
    }

    /// The code and the reason with which a connection is closed that never gets `WELCOME`.
    pub(crate) async fn refused(&self, request: RawRequest) -> (u16, String) {
        let mut socket = RawSocket::connect(&request).await.unwrap();
        let closed = socket.closed(DEADLINE).await.unwrap();
        closed.expect("a close frame")
    }

    /// A handshake with these headers besides the usual ones.
    pub(crate) async fn handshake(&self, query: &str, more: &[(&str, &str)]) -> Answered {
        let headers = [&handshake::HEADERS, more].concat();
        handshake::get(&self.addr.to_string(), &format!("/ws/realtime?{query}"), &headers).await.unwrap()
    }

    /// An HTTP request of a user.
    pub(crate) async fn api(
        &self,
        user: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let bearer = format!("Bearer {}", token::good(user));
        let headers = [headers, &[("authorization", bearer.as_str())]].concat();
        let url = format!("http://{}{path}", self.addr);
        testkit::http::request(method, &url, &headers, body.as_ref()).await.unwrap()
    }

    /// An HTTP request with a token, or without one when it is empty, and a body as it is.
    pub(crate) async fn call(
        &self,
        token: &str,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let bearer = format!("Bearer {token}");
        let own = [("authorization", bearer.as_str())];
        let headers = [headers, if token.is_empty() { &[] } else { &own[..] }].concat();
        let url = format!("http://{}{path}", self.addr);
        testkit::http::request_text(method, &url, &headers, body).await.unwrap()
    }

    /// Publishes an event as a backend does: its number.
    pub(crate) async fn publish(&self, topic: &str, event: &str, data: Value) -> u64 {
        self.publish_with(topic, json!({ "event": event, "data": data })).await
    }

    /// The same with all that an event may have.
    pub(crate) async fn publish_with(&self, topic: &str, event: Value) -> u64 {
        let path = format!("/v1/topics/{topic}/events");
        let answer = self.call(&service(), "POST", &path, &[], &event.to_string()).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json["seq"].as_u64().unwrap()
    }

    /// Waits until retention has cut a stream's log behind an event.
    pub(crate) async fn is_cut_at(&self, stream: &str, floor: u64) {
        let streams = [stream.parse().unwrap()];
        testkit::wait::until("the log to be cut", DEADLINE, || async {
            let found = self.node.store.heads(&streams).await.unwrap().heads[0].floor;
            if found == Seq(floor) { Ok(()) } else { Err(format!("{stream} is cut at {found}")) }
        })
        .await;
    }

    /// Options of a device that follows topics of this node.
    pub(crate) fn follower(&self, user: &str, device: &str) -> DeviceOptions {
        DeviceOptions {
            backoff_min: Duration::from_millis(10),
            ..DeviceOptions::follower(vec![self.socket_url()], user, device).keep_messages()
        }
    }

    /// Ends the node as a process ends on a signal, and waits until it has.
    pub(crate) async fn stop(self) {
        let left = self.node.drain().await;
        assert_eq!(left, 0, "connections left over");
        self.end().await;
    }

    /// Stops listening, and waits until the port is free. The store, which others may share, stays.
    pub(crate) async fn end(mut self) {
        self.node.hub.stop();
        self.stop.send_replace(true);
        tokio::time::timeout(DEADLINE, &mut self.serving).await.expect("the listener ends").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
        self.node.hub.stop();
    }
}

/// Sends a command and waits for its answer. What comes before it is passed over.
pub(crate) async fn ask(socket: &mut RawSocket, kind: &str, id: &str, payload: Value) -> Value {
    socket.send(&json!({ "type": kind, "id": id, "payload": payload })).await.unwrap();
    socket.answer(id, DEADLINE).await.unwrap()
}

/// Makes a draft, and waits until that is acknowledged and its event has come.
pub(crate) async fn create(socket: &mut RawSocket, draft_id: &str, content: Value) -> u64 {
    let id = format!("create-{draft_id}");
    let payload = json!({ "draftId": draft_id, "content": content });
    socket.send(&json!({ "type": "DRAFT_CREATE", "id": id, "payload": payload })).await.unwrap();
    let (mut acked, mut seq) = (false, None);
    while !acked || seq.is_none() {
        let message = socket.next(DEADLINE).await.unwrap();
        match message["type"].as_str().unwrap() {
            "ACK" if message["id"] == id.as_str() => acked = true,
            "DRAFT_CREATED" if message["payload"]["draftId"] == draft_id => seq = message["seq"].as_u64(),
            "DRAFT_CREATED" | "SYNCED" => {}
            other => panic!("{other} came: {message}"),
        }
    }
    seq.unwrap()
}

/// Checks that a command was refused with a code.
#[track_caller]
pub(crate) fn refused(answer: &Value, code: &str) {
    assert_eq!((&answer["type"], &answer["code"]), (&json!("ERROR"), &json!(code)), "{answer}");
    assert!(answer["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
}

/// Subscribes to one topic, and checks that this is taken: where the topic stands.
pub(crate) async fn subscribe(socket: &mut RawSocket, subscription: Value) -> (String, u64) {
    let answer = ask(socket, "SUBSCRIBE", "subscribe", subscription.clone()).await;
    assert_eq!(answer["type"], "ACK", "{answer}");
    assert_eq!(answer["payload"]["topic"], subscription["topic"]);
    let epoch = answer["payload"]["epoch"].as_str().unwrap().to_owned();
    (epoch, answer["payload"]["seq"].as_u64().unwrap())
}

/// Checks that an answer over HTTP is a problem (RFC 9457) of a kind.
#[track_caller]
pub(crate) fn problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{}", answer.text);
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    assert_eq!((&answer.json["status"], &answer.json["code"]), (&json!(status), &json!(code)));
    assert!(!answer.json["title"].as_str().unwrap().is_empty());
    assert!(!answer.json["detail"].as_str().unwrap().is_empty());
    assert_eq!(answer.header("draftwire-node"), Some("n1"));
}
