//! Nodes in this process, and short ways to talk to them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use fanout::bus::{Bus, MemoryBus};
use gateway::{
    config::Config,
    http, listener,
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
    RawRequest, RawSocket,
    handshake::{self, Answered},
    http::Answer,
    token,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::DEADLINE;

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
        let dir = tempfile::tempdir().unwrap();
        let store = Self::open(dir.path().join("draftwire.db")).await;
        Arc::new(Self { dir, store })
    }

    /// A store that was made elsewhere; [`Disk::sql`] does not reach it.
    pub(crate) fn over(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { dir: tempfile::tempdir().unwrap(), store })
    }

    async fn open(path: PathBuf) -> Arc<dyn Store> {
        let limits = Limits { drafts_per_user_max: 20, draft_bytes_max: 4096, event_bytes_max: 4096 };
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
    let mut map: HashMap<&str, &str> =
        HashMap::from([("JWT_SECRET", token::SECRET), ("NODE_NAME", name), ("DEMO", "false")]);
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
        let node = Node::assemble(settings, disk.store.clone(), bus).unwrap();
        let listener = TcpListener::bind(addr).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let serving = tokio::spawn(listener::serve(listener, http::router(node.clone()), stopped));
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
