//! A liar between clients and a node: passes everything on, but for one event of one client.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use testkit::{Proxy, proxy::Filter};
use websocket::client;

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
    told: Arc<AtomicBool>,
    _proxy: Proxy,
}

impl Liar {
    /// Whether the lie was told. Without one to tell it always was.
    pub(crate) fn has_lied(&self) -> bool {
        self.told.load(Ordering::SeqCst)
    }
}

/// Lies once about an event of a type, to whoever is the first to have come so far.
pub(crate) async fn lie(node: u16, lie: Lie, kind: &str) -> Liar {
    let told = Arc::new(AtomicBool::new(lie == Lie::None));
    let kind: Arc<str> = format!("\"type\":\"{kind}\"").into();
    let shared = Arc::clone(&told);
    let filter = move || filter(lie, Arc::clone(&kind), Arc::clone(&shared));
    let proxy = Proxy::start_with(node, filter).await.unwrap();
    Liar { port: proxy.port(), told, _proxy: proxy }
}

/// What one client is passed on.
fn filter(lie: Lie, kind: Arc<str>, told: Arc<AtomicBool>) -> Filter {
    let mut bytes = Vec::new();
    let mut frames = false;
    let mut events = 0;
    let mut held = None;
    Box::new(move |more| {
        bytes.extend_from_slice(more);
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
        while frames && let Ok(Some((_, length))) = client::read(&bytes, usize::MAX) {
            let frame: Vec<u8> = bytes.drain(..length).collect();
            let event = String::from_utf8_lossy(&frame).contains(&*kind);
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
        out
    })
}
