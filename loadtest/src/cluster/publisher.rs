//! Requests over one connection that is kept open, as backends make them: one after the other, with as little
//! as that needs, because the machine is shared with what is measured.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// The longest answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Somebody who makes requests.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// `host:port`.
    host: String,
    token: String,
    connection: Option<http1::SendRequest<Full<Bytes>>>,
}

impl Publisher {
    /// To a node at `http://host:port`. Connects with the first request, and again after a failure.
    pub(crate) fn new(http: &str, token: String) -> Self {
        let host = http.strip_prefix("http://").unwrap_or(http).to_owned();
        Self { host, token, connection: None }
    }

    /// Posts JSON; returns the status and the JSON that came back.
    ///
    /// # Errors
    /// When no answer comes; then it is unknown whether it was done.
    pub(crate) async fn post(&mut self, path: &str, body: String) -> Result<(u16, Value)> {
        let token = self.token.clone();
        self.request("POST", path, &token, None, body).await
    }

    /// Any request, in anybody's name, with an idempotency key. Otherwise as [`Publisher::post`].
    pub(crate) async fn request(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        key: Option<u64>,
        body: String,
    ) -> Result<(u16, Value)> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.host)
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Full::from(body))?;
        let answer = timeout(ANSWER_WAIT, self.exchange(request)).await.context("no answer in time");
        let answer = answer.and_then(|answer| answer);
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<(u16, Value)> {
        // A connection takes the next request only once it has noticed the end of the last answer.
        let usable = match &mut self.connection {
            Some(connection) => connection.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            let host = &self.host;
            let address = if host.contains(':') { host.clone() } else { format!("{host}:80") };
            let stream = TcpStream::connect(&address).await.with_context(|| format!("reach {address}"))?;
            stream.set_nodelay(true)?;
            let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Ends with the sender; what goes wrong is told to whoever waits for the answer.
            tokio::spawn(connection);
            self.connection = Some(sender);
        }
        let connection = self.connection.as_mut().context("no connection")?;
        let answer = connection.send_request(request).await?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| anyhow!("an answer that breaks off or is too long: {error}"))?;
        Ok((status, serde_json::from_slice(&body.to_bytes()).unwrap_or_default()))
    }
}
