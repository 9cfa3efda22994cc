//! Requests over one connection that is kept open (RFC 9112), as backends make them: as little as that
//! needs, because the machine is shared with what is measured.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Lines of headers in an answer.
const HEADERS_MAX: usize = 100;

/// Somebody who publishes, one request after the other.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// `host:port`.
    host: String,
    token: String,
    connection: Option<BufReader<TcpStream>>,
    request: Vec<u8>,
}

impl Publisher {
    /// To a node at `http://host:port`. Connects with the first request, and again after a failure.
    pub(crate) fn new(http: &str, token: String) -> Self {
        let host = http.strip_prefix("http://").unwrap_or(http).to_owned();
        Self { host, token, connection: None, request: Vec::new() }
    }

    /// Posts JSON; answers with the status and the JSON that came back.
    ///
    /// # Errors
    /// When no answer comes; then it is unknown whether it was done.
    pub(crate) async fn post(&mut self, path: &str, body: &str) -> Result<(u16, Value)> {
        let token = std::mem::take(&mut self.token);
        let answer = self.request(&format!("POST {path}"), &token, "", body).await;
        self.token = token;
        answer
    }

    /// Any request, in anybody's name; `headers` end with a line break each. Otherwise as
    /// [`Publisher::post`].
    ///
    /// # Errors
    /// As [`Publisher::post`].
    pub(crate) async fn request(
        &mut self,
        what: &str,
        token: &str,
        headers: &str,
        body: &str,
    ) -> Result<(u16, Value)> {
        let answer = timeout(ANSWER_WAIT, self.exchange(what, token, headers, body)).await;
        let answer = answer.context("no answer in time");
        let answer = answer.and_then(|answer| answer);
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn exchange(&mut self, what: &str, token: &str, headers: &str, body: &str) -> Result<(u16, Value)> {
        if self.connection.is_none() {
            let address =
                if self.host.contains(':') { self.host.clone() } else { format!("{}:80", self.host) };
            let stream = TcpStream::connect(&address).await.with_context(|| format!("reach {address}"))?;
            stream.set_nodelay(true)?;
            self.connection = Some(BufReader::new(stream));
        }
        let connection = self.connection.as_mut().context("no connection")?;
        self.request.clear();
        let head = format!(
            "{what} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
            self.host,
            body.len(),
        );
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(body.as_bytes());
        connection.write_all(&self.request).await?;
        let (status, length) = read_head(connection).await?;
        ensure!(length <= ANSWER_BYTES_MAX, "an answer of {length} bytes");
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}

/// The status, and the length of the body.
async fn read_head(connection: &mut BufReader<TcpStream>) -> Result<(u16, usize)> {
    let mut line = String::new();
    let mut status = None;
    let mut length = None;
    for _ in 0..HEADERS_MAX {
        line.clear();
        ensure!(connection.read_line(&mut line).await? > 0, "the connection ended");
        let text = line.trim_end();
        if status.is_none() {
            status = Some(text.split(' ').nth(1).unwrap_or_default().parse().context("no status")?);
        } else if text.is_empty() {
            return Ok((status.context("no status")?, length.context("an answer without length")?));
        } else if let Some((name, value)) = text.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse().context("the length is no number")?);
        }
    }
    anyhow::bail!("headers without end")
}
