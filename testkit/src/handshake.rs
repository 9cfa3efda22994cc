//! A WebSocket handshake written by hand: with any headers, and whatever is answered.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::contract::{self, Exchange};

/// No handshake takes longer.
const WAIT: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// What the server answered, and the connection as it stands behind the answer's headers.
#[derive(Debug)]
pub struct Answered {
    /// The status code.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The connection; after 101 a WebSocket.
    pub stream: TcpStream,
}

impl Answered {
    /// A header field, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// The headers of a handshake that every server takes.
pub const HEADERS: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    // RFC 6455 section 1.3.
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// What a server answers to the key in [`HEADERS`] (RFC 6455 section 1.3).
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// GETs `path` from `addr` (`<ip>:<port>`) with these header fields and a `Host`.
///
/// # Errors
/// When no answer comes, or not one that is HTTP.
pub async fn get(addr: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answered> {
    timeout(WAIT, exchange(addr, path, headers)).await.context("no answer in time")?
}

async fn exchange(addr: &str, path: &str, headers: &[(&str, &str)]) -> Result<Answered> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: {addr}\r\n");
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    // Byte by byte: what follows the headers belongs to the WebSocket.
    while !head.ends_with(b"\r\n\r\n") {
        anyhow::ensure!(head.len() < ANSWER_BYTES_MAX, "headers without end");
        head.push(stream.read_u8().await.context("the connection ended within the headers")?);
    }
    let head = String::from_utf8(head)?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?.parse()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect::<Vec<_>>();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let exchange = Exchange { method: "GET", path, query, sent: None, status, headers: &headers, body: None };
    contract::check(contract::exchange_fault(&exchange));
    Ok(Answered { status, headers, stream })
}
