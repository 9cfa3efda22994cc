//! HTTP as it comes over the wire: bodies that nobody reads, connections that are kept, old versions,
//! unusual names of hosts.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use fanout::bus::MemoryBus;
use gateway::edge::{
    listener::{self, Patience},
    router,
};
use serde_json::json;
use testkit::{
    handshake::{self, Answered},
    token,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    sync::watch,
    time::timeout,
};

use crate::{
    DEADLINE,
    harness::{ANY_PORT, Disk, Server, settings},
};

/// A connection on which requests are written byte for byte.
struct Wire(BufReader<TcpStream>);

impl Wire {
    async fn to(server: &Server) -> Self {
        Self::at(server.addr).await
    }

    async fn at(addr: SocketAddr) -> Self {
        Self(BufReader::new(TcpStream::connect(addr).await.unwrap()))
    }

    async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).await.expect("the server takes what is sent");
    }

    /// Reads one answer: its status, its header fields, its content of `content-length` bytes.
    async fn answer(&mut self) -> (u16, String, String) {
        let answer = async {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                let read = self.0.read_line(&mut head).await.expect("an answer");
                assert!(read > 0, "the connection ended after {head:?}");
            }
            let head = head.to_ascii_lowercase();
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut content = vec![0; length.map_or(0, |length| length.parse().unwrap())];
            self.0.read_exact(&mut content).await.unwrap();
            (status, head, String::from_utf8(content).unwrap())
        };
        timeout(DEADLINE, answer).await.expect("an answer in time")
    }

    /// Reads on until the server has closed the connection in good order.
    async fn end(mut self) -> String {
        let mut rest = Vec::new();
        let read = timeout(DEADLINE, self.0.read_to_end(&mut rest)).await.expect("an end in time");
        read.expect("an end, and no reset");
        String::from_utf8(rest).unwrap()
    }
}

fn post(path: &str, token: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-length: {length}\r\n\r\n"
    )
}

fn expired() -> String {
    token::sign(&json!({ "sub": "alice", "exp": 1 }), token::SECRET)
}

/// Where a request is refused before its body is read: by what, and with which status.
fn refused() -> [(&'static str, String, u16); 5] {
    let alice = token::good("alice");
    [
        ("/v1/drafts", expired(), 401),
        ("/v1/topics/t/events", alice.clone(), 403),
        ("/v1/nothing", alice.clone(), 404),
        ("/v1/stream", alice.clone(), 405),
        ("/v1/drafts?what=ever", alice, 400),
    ]
}

/// A client, or a proxy, that is still sending when the answer comes must be able to go on until it has
/// read it: a reset connection is a 502 to whoever waits behind a proxy.
#[tokio::test]
async fn a_refused_body_does_not_break_the_connection() {
    const CHUNK: usize = 16 << 10;
    let server = Server::start().await;
    for (path, token, status) in refused() {
        for bytes in [60_000, 900_000] {
            let mut wire = Wire::to(&server).await;
            wire.write(post(path, &token, bytes)).await;
            let answer = wire.answer().await;
            assert_eq!(answer.0, status, "{path}: {answer:?}");
            for sent in (0..bytes).step_by(CHUNK) {
                wire.write(vec![b' '; CHUNK.min(bytes - sent)]).await;
            }
            // It is drained, so the connection serves on.
            wire.write("GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await;
            assert_eq!(wire.answer().await.2, "alive\n", "{path}");
        }
    }
}

/// What is too large to be drained is closed in good order: the answer can be read to its end.
#[tokio::test]
async fn a_body_beyond_all_bounds_is_answered_before_the_end() {
    const CHUNK: usize = 64 << 10;
    let server = Server::start().await;
    for (token, status) in [(token::good("alice"), 413), (expired(), 401)] {
        let mut wire = Wire::to(&server).await;
        wire.write(post("/v1/drafts", &token, 1 << 40)).await;
        for _ in 0..256 {
            wire.write(vec![b' '; CHUNK]).await;
        }
        assert_eq!(wire.answer().await.0, status);
        assert_eq!(wire.end().await, "");
    }
}

/// Who asks first whether the body is wanted (RFC 9110 section 10.1.1) is told the answer instead.
#[tokio::test]
async fn a_body_that_is_not_wanted_is_not_asked_for() {
    let server = Server::start().await;
    for (path, token, status) in refused() {
        let mut wire = Wire::to(&server).await;
        let head = post(path, &token, 900_000).replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n");
        wire.write(head).await;
        assert_eq!(wire.answer().await.0, status, "{path}");
        assert_eq!(wire.end().await, "");
    }
    let mut wire = Wire::to(&server).await;
    let body = r#"{"content":{}}"#;
    let head = post("/v1/drafts", &token::good("alice"), body.len());
    wire.write(head.replace("\r\n\r\n", "\r\nexpect: 100-continue\r\n\r\n")).await;
    assert_eq!(wire.answer().await.0, 100);
    wire.write(body).await;
    assert_eq!(wire.answer().await.0, 201);
}

/// Serves a node's routes once more, with time limits of its own, until the sender is dropped.
async fn serve_with(server: &Server, patience: Patience) -> (SocketAddr, watch::Sender<bool>) {
    let listener = listener::bind(ANY_PORT).unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(listener::serve(listener, router::router(server.node.edge()), patience, stopped));
    (addr, stop)
}

/// A proxy that keeps connections must not find them closed by the server first; what only holds a connection
/// is cut off soon.
#[tokio::test]
async fn idle_connections_outlive_headers_that_do_not_come() {
    const LIVEZ: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";
    let server = Server::start().await;
    assert_eq!(server.node.settings.listen.keep_alive, Duration::from_secs(75));
    let patience = Patience { headers: Duration::from_millis(100), idle: DEADLINE };
    let (addr, _stop) = serve_with(&server, patience).await;
    let mut kept = Wire::at(addr).await;
    kept.write(LIVEZ).await;
    assert_eq!(kept.answer().await.0, 200);
    let silent = Wire::at(addr).await;
    assert_eq!(silent.end().await, "");
    for begun in ["", LIVEZ] {
        let mut late = Wire::at(addr).await;
        late.write(begun).await;
        if !begun.is_empty() {
            assert_eq!(late.answer().await.0, 200);
        }
        late.write("GET /livez HT").await;
        assert_eq!(late.end().await, "", "after {begun:?}");
    }
    // An answer, or a body, may take its time.
    let mut slow = Wire::at(addr).await;
    let body = r#"{"content":{}}"#;
    slow.write(post("/v1/drafts", &token::good("alice"), body.len())).await;
    assert_eq!(Wire::at(addr).await.end().await, "");
    slow.write(body).await;
    assert_eq!(slow.answer().await.0, 201);
    kept.write(LIVEZ).await;
    assert_eq!(kept.answer().await.0, 200, "it was idle for longer than headers may take");

    let patience = Patience { headers: DEADLINE, idle: Duration::from_millis(100) };
    let (addr, _stop) = serve_with(&server, patience).await;
    let mut idle = Wire::at(addr).await;
    idle.write(LIVEZ).await;
    assert_eq!(idle.answer().await.0, 200);
    assert_eq!(idle.end().await, "");
}

/// Connections come in one instant when a page is reloaded for everybody; whom the listener's queue has no room
/// for tries again only after a second.
#[tokio::test]
async fn a_crowd_is_queued_until_it_is_accepted() {
    const CROWD: usize = 600;
    let allowed = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let crowd = allowed.trim().parse::<usize>().unwrap().min(CROWD);
    // Nobody accepts.
    let listener = listener::bind(ANY_PORT).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut connections = Vec::new();
    for n in 0..crowd {
        let connection = timeout(DEADLINE, TcpStream::connect(addr)).await;
        connections.push(connection.unwrap_or_else(|_| panic!("only {n} fit into the queue")).unwrap());
    }
}

#[tokio::test]
async fn http_1_0_is_served() {
    let server = Server::start().await;
    let mut wire = Wire::to(&server).await;
    wire.write("GET /livez HTTP/1.0\r\n\r\n").await;
    assert_eq!(wire.answer().await.2, "alive\n");
    assert_eq!(wire.end().await, "");
    // Kept only where the client asks for it.
    let mut wire = Wire::to(&server).await;
    for _ in 0..2 {
        wire.write("GET /livez HTTP/1.0\r\nconnection: keep-alive\r\n\r\n").await;
        let (status, head, content) = wire.answer().await;
        assert_eq!((status, content.as_str()), (200, "alive\n"));
        assert!(head.contains("connection: keep-alive"), "{head}");
    }
    // Without chunks, which it does not know, a stream lasts until the connection ends.
    let mut wire = Wire::to(&server).await;
    let token = token::good("alice");
    wire.write(format!("GET /v1/stream HTTP/1.0\r\nauthorization: Bearer {token}\r\n\r\n")).await;
    let (status, head, _) = wire.answer().await;
    assert!(status == 200 && !head.contains("transfer-encoding"), "{head}");
    let mut line = String::new();
    while !line.starts_with("event: WELCOME") {
        line.clear();
        assert!(timeout(DEADLINE, wire.0.read_line(&mut line)).await.unwrap().unwrap() > 0);
    }
    // A WebSocket needs 1.1 (RFC 6455 section 4.1).
    let mut wire = Wire::to(&server).await;
    wire.write(
        "GET /ws/realtime HTTP/1.0\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    )
    .await;
    assert_eq!(wire.answer().await.0, 426);
}

async fn shake(addr: &str, connection: &str, more: &[(&str, &str)]) -> Answered {
    let own = handshake::HEADERS.map(
        |(name, value)| {
            if name == "connection" { (name, connection) } else { (name, value) }
        },
    );
    handshake::get(addr, "/ws/realtime", &[&own, more].concat()).await.unwrap()
}

/// As Firefox and some proxies write it.
#[tokio::test]
async fn an_upgrade_may_be_one_option_of_several() {
    let server = Server::start().await;
    for connection in ["keep-alive, Upgrade", "Upgrade, keep-alive", "keep-alive,UPGRADE ,", "close, upgrade"]
    {
        let answered = shake(&server.addr.to_string(), connection, &[]).await;
        assert_eq!(answered.status, 101, "{connection}");
    }
    let several = shake(&server.addr.to_string(), "keep-alive", &[("connection", "Upgrade")]).await;
    assert_eq!(several.status, 101);
    assert_eq!(shake(&server.addr.to_string(), "keep-alive", &[]).await.status, 426);
}

async fn on_ipv6(some: &[(&str, &str)]) -> Server {
    let addr: SocketAddr = "[::1]:0".parse().unwrap();
    let disk: Arc<Disk> = Disk::new().await;
    Server::assemble_at(addr, &disk, MemoryBus::new(), settings("n1", some)).await
}

#[tokio::test]
async fn hosts_and_origins_may_be_ipv6_addresses() {
    let server = on_ipv6(&[]).await;
    let addr = server.addr.to_string();
    assert!(addr.starts_with("[::1]:"), "{addr}");
    let of = |origin: String| {
        let addr = addr.clone();
        async move { shake(&addr, "Upgrade", &[("origin", &origin)]).await.status }
    };
    assert_eq!(of(format!("http://{addr}")).await, 101);
    assert_eq!(of("http://[::1]".to_owned()).await, 403, "another port");
    assert_eq!(of(format!("http://[::2]:{}", server.addr.port())).await, 403);

    let listed = on_ipv6(&[("ALLOWED_ORIGINS", "http://[0:0:0:0:0:0:0:1]:3000")]).await;
    let page = "http://[::1]:3000";
    assert_eq!(shake(&listed.addr.to_string(), "Upgrade", &[("origin", page)]).await.status, 101);
    let answer = listed.api("alice", "GET", "/v1/drafts", &[("origin", page)], None).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some(page)));
}
