//! A liar between clients and a node: passes everything on, but for one event of one client.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
};

/// What becomes of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// None: all is passed on.
    None,
    /// It is kept back.
    Drop,
    /// It is sent twice.
    Repeat,
    /// It is sent after the next one.
    Swap,
}

/// How many events a client is told the truth about.
const TRUE_EVENTS: usize = 20;

/// Listens until it is dropped.
pub(crate) struct Liar {
    pub(crate) port: u16,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lies once about an event of a type, to whoever is the first to have come so far.
pub(crate) async fn lie(node: u16, lie: Lie, kind: &str) -> Liar {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let node = SocketAddr::from(([127, 0, 0, 1], node));
    let told = Arc::new(AtomicBool::new(lie == Lie::None));
    let kind: Arc<str> = format!("\"type\":\"{kind}\"").into();
    let task = tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let (told, kind) = (Arc::clone(&told), Arc::clone(&kind));
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(node).await else { return };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (mut from_client, to_client) = client.into_split();
                let (from_server, mut to_server) = server.into_split();
                tokio::select! {
                    _ = tokio::io::copy(&mut from_client, &mut to_server) => {}
                    () = pass_on(from_server, to_client, lie, &kind, &told) => {}
                }
            });
        }
    });
    Liar { port, task }
}

async fn pass_on(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, lie: Lie, kind: &str, told: &AtomicBool) {
    let mut bytes = Vec::new();
    let mut frames = false;
    let mut events = 0;
    let mut held = None;
    while from.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let mut out = Vec::new();
        if !frames {
            let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
            if !bytes.starts_with(b"HTTP/1.1 101") {
                out.append(&mut bytes);
            } else if let Some(end) = end {
                out.extend(bytes.drain(..end + 4));
                frames = true;
            }
        }
        while frames && let Some(length) = frame_length(&bytes) {
            let frame: Vec<u8> = bytes.drain(..length).collect();
            let event = String::from_utf8_lossy(&frame).contains(kind);
            events += usize::from(event);
            if event && events > TRUE_EVENTS && !told.swap(true, Ordering::SeqCst) {
                match lie {
                    Lie::Drop => {}
                    Lie::Repeat => out.extend([frame.clone(), frame].concat()),
                    Lie::Swap => held = Some(frame),
                    Lie::None => out.extend(frame),
                }
            } else {
                out.extend(frame);
                if event && let Some(held) = held.take() {
                    out.extend(held);
                }
            }
        }
        if to.write_all(&out).await.is_err() {
            return;
        }
    }
}

/// The length of the first frame, if it is all there. A server's frame has no mask.
fn frame_length(bytes: &[u8]) -> Option<usize> {
    let length = match *bytes.get(1)? & 0x7F {
        126 => 4 + usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
        127 => 10 + usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?,
        short => 2 + usize::from(short),
    };
    (bytes.len() >= length).then_some(length)
}
