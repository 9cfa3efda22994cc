//! A WebSocket without manners: sends what it is told and keeps no rules of its own.

use std::{collections::HashMap, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpSocket, TcpStream, lookup_host},
    time::timeout,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self, Message,
        client::ClientRequestBuilder,
        http::Uri,
        protocol::{CloseFrame, Role, WebSocketConfig},
    },
};

use crate::contract;

/// The largest message that is taken: more than a server would ever send.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// A connection's read buffer. Tests open thousands of sockets, and messages are small.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// The port of `ws` URLs that name none (RFC 6455 section 3).
const WS_PORT: u16 = 80;

const CONNECT_WAIT: Duration = Duration::from_secs(10);

/// How a socket is opened.
#[derive(Debug, Clone)]
pub struct RawRequest {
    url: String,
    headers: Vec<(String, String)>,
    subprotocols: Vec<String>,
    receive_buffer_bytes: Option<u32>,
    wait: Duration,
}

/// Why a socket was not opened.
#[derive(Debug)]
pub enum NotOpened {
    /// The server answered, but not with an upgrade.
    Status(u16),
    /// No answer, or not one that makes sense.
    Failed(anyhow::Error),
}

impl RawRequest {
    /// To a URL, its query included.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            headers: Vec::new(),
            subprotocols: Vec::new(),
            receive_buffer_bytes: None,
            wait: CONNECT_WAIT,
        }
    }

    /// With a header field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Offers a subprotocol.
    #[must_use]
    pub fn subprotocol(mut self, name: &str) -> Self {
        self.subprotocols.push(name.to_owned());
        self
    }

    /// With the token as browsers send it, and the JSON subprotocol.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.bearer(token).subprotocol(common::protocol::SUBPROTOCOL_JSON)
    }

    /// With the token as browsers send it, and no subprotocol yet.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.subprotocol(&format!("{}{token}", common::protocol::SUBPROTOCOL_BEARER))
    }

    /// Lets the kernel hold only so much that was not read.
    #[must_use]
    pub fn receive_buffer_bytes(mut self, bytes: u32) -> Self {
        self.receive_buffer_bytes = Some(bytes);
        self
    }

    /// Gives up opening after `wait`; 10 seconds otherwise.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Opens the socket.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub async fn open(&self) -> Result<WebSocketStream<TcpStream>, NotOpened> {
        self.in_time(self.handshake()).await
    }

    /// Opens the socket and offers permessage-deflate (RFC 7692), without contexts.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub(crate) async fn open_deflate(&self) -> Result<yawc::WebSocket<TcpStream>, NotOpened> {
        self.in_time(self.deflate_handshake()).await
    }

    async fn in_time<T>(&self, handshake: impl Future<Output = Result<T>>) -> Result<T, NotOpened> {
        let error = match timeout(self.wait, handshake).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("no handshake within {:?}", self.wait),
        };
        if let Some(tungstenite::Error::Http(answer)) = error.downcast_ref() {
            return Err(NotOpened::Status(answer.status().as_u16()));
        }
        if let Some(yawc::WebSocketError::InvalidStatusCode(status)) = error.downcast_ref() {
            return Err(NotOpened::Status(*status));
        }
        Err(NotOpened::Failed(error))
    }

    /// Connects to the first of the host's addresses that takes a connection.
    async fn dial(&self, host: &str, port: u16) -> Result<TcpStream> {
        let mut last = anyhow::anyhow!("{host} has no address");
        for address in lookup_host((host, port)).await? {
            let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let Some(bytes) = self.receive_buffer_bytes {
                socket.set_recv_buffer_size(bytes)?;
            }
            match socket.connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    async fn connect(&self, uri: &Uri) -> Result<TcpStream> {
        let host = uri.host().context("a URL without host")?.trim_matches(['[', ']']);
        let stream = self.dial(host, uri.port_u16().unwrap_or(WS_PORT)).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    async fn deflate_handshake(&self) -> Result<yawc::WebSocket<TcpStream>> {
        let stream = self.connect(&self.url.parse()?).await?;
        let mut request = yawc::HttpRequest::builder();
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if !self.subprotocols.is_empty() {
            request = request.header("sec-websocket-protocol", self.subprotocols.join(", "));
        }
        let options = yawc::Options::default()
            .with_balanced_compression()
            .server_no_context_takeover()
            .client_no_context_takeover()
            .with_limits(MESSAGE_BYTES_MAX, 2 * MESSAGE_BYTES_MAX)
            .with_read_buffer_capacity(READ_BUFFER_BYTES);
        Ok(yawc::WebSocket::handshake_with_request(self.url.parse()?, stream, options, request).await?)
    }

    async fn handshake(&self) -> Result<WebSocketStream<TcpStream>> {
        let uri: Uri = self.url.parse()?;
        let stream = self.connect(&uri).await?;
        let mut request = ClientRequestBuilder::new(uri);
        for (name, value) in &self.headers {
            request = request.with_header(name, value);
        }
        for name in &self.subprotocols {
            request = request.with_sub_protocol(name);
        }
        let (socket, _) = client_async_with_config(request, stream, Some(config())).await?;
        Ok(socket)
    }
}

fn config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX))
}

/// An open socket. It reads, and so answers pings, only while one of its methods waits for a message.
#[derive(Debug)]
pub struct RawSocket {
    socket: WebSocketStream<TcpStream>,
    /// Commands without an answer, by their ids, for comparing those that are carried out with the API documents.
    commands: HashMap<String, Value>,
}

impl RawSocket {
    /// Opens a socket.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub async fn connect(request: &RawRequest) -> Result<Self, NotOpened> {
        Ok(Self::new(request.open().await?))
    }

    /// Takes a connection on which the handshake is done.
    pub async fn over(stream: TcpStream) -> Self {
        Self::new(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config())).await)
    }

    fn new(socket: WebSocketStream<TcpStream>) -> Self {
        Self { socket, commands: HashMap::new() }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send(&mut self, message: &Value) -> Result<()> {
        self.send_text(&message.to_string()).await
    }

    /// Sends any text.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_text(&mut self, text: &str) -> Result<()> {
        self.note(text);
        Ok(self.socket.send(Message::text(text)).await?)
    }

    /// Sends a binary message.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_binary(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.send(Message::binary(bytes.to_vec())).await?)
    }

    /// Sends a ping; the pong is not reported.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_ping(&mut self) -> Result<()> {
        Ok(self.socket.send(Message::Ping(tungstenite::Bytes::new())).await?)
    }

    /// Sends bytes that need not be a frame.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.socket.get_mut().write_all(bytes).await?)
    }

    /// Begins the closing handshake; `None` sends no code.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn send_close(&mut self, code: Option<u16>) -> Result<()> {
        let frame = code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
        Ok(self.socket.send(Message::Close(frame)).await?)
    }

    /// The next message. Pings are answered and passed over.
    ///
    /// # Errors
    /// When none comes in time, the connection ends, or it is not JSON.
    pub async fn next(&mut self, deadline: Duration) -> Result<Value> {
        match timeout(deadline, self.next_data()).await.context("no message in time")?? {
            Received::Text(text) => serde_json::from_str(&text).with_context(|| format!("not JSON: {text}")),
            Received::Binary(bytes) => bail!("a binary message of {} bytes", bytes.len()),
            Received::Closed(closed) => bail!("closed with {closed:?}"),
        }
    }

    /// The next text message, byte by byte as it came.
    ///
    /// # Errors
    /// When none comes in time, the connection ends, or something else comes.
    pub async fn next_text(&mut self, deadline: Duration) -> Result<String> {
        match timeout(deadline, self.next_data()).await.context("no message in time")?? {
            Received::Text(text) => Ok(text),
            Received::Binary(bytes) => bail!("a binary message of {} bytes", bytes.len()),
            Received::Closed(closed) => bail!("closed with {closed:?}"),
        }
    }

    /// The next message of a type; others are passed over.
    ///
    /// # Errors
    /// As [`RawSocket::next`]; the deadline is for all together.
    pub async fn next_of(&mut self, kind: &str, deadline: Duration) -> Result<Value> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let message = self.next(left).await.with_context(|| format!("while waiting for {kind}"))?;
            if message["type"] == kind {
                return Ok(message);
            }
        }
    }

    /// The answer (`ACK` or `ERROR`) to a command; others are passed over.
    ///
    /// # Errors
    /// As [`RawSocket::next`]; the deadline is for all together.
    pub async fn answer(&mut self, id: &str, deadline: Duration) -> Result<Value> {
        let end = tokio::time::Instant::now() + deadline;
        loop {
            let left = end.saturating_duration_since(tokio::time::Instant::now());
            let message = self.next(left).await.with_context(|| format!("while waiting for {id}"))?;
            if message["id"] == id {
                return Ok(message);
            }
        }
    }

    /// The next binary message; texts are passed over.
    ///
    /// # Errors
    /// When none comes in time, or the connection ends.
    pub async fn next_binary(&mut self, deadline: Duration) -> Result<Vec<u8>> {
        let next = async {
            loop {
                match self.next_data().await? {
                    Received::Binary(bytes) => return Ok(bytes),
                    Received::Text(_) => {}
                    Received::Closed(closed) => bail!("closed with {closed:?}"),
                }
            }
        };
        timeout(deadline, next).await.context("no binary message in time")?
    }

    /// The code that the server closes with; messages before it are passed over. `None` when it gave
    /// none, or the connection just ended.
    ///
    /// # Errors
    /// When it does not close in time.
    pub async fn close_code(&mut self, deadline: Duration) -> Result<Option<u16>> {
        Ok(self.closed(deadline).await?.map(|(code, _)| code))
    }

    /// The code that the server closes with, and its reason; otherwise as [`RawSocket::close_code`].
    ///
    /// # Errors
    /// When it does not close in time.
    pub async fn closed(&mut self, deadline: Duration) -> Result<Option<(u16, String)>> {
        let closed = async {
            loop {
                match self.next_data().await {
                    Ok(Received::Closed(closed)) => return closed,
                    Ok(_) => {}
                    Err(_) => return None,
                }
            }
        };
        timeout(deadline, closed).await.context("not closed in time")
    }

    /// Ends the connection without a word.
    pub fn drop_connection(self) {
        drop(self);
    }

    fn note(&mut self, text: &str) {
        if contract::is_enforced()
            && let Ok(command) = serde_json::from_str::<Value>(text)
            && let Some(id) = command["id"].as_str()
        {
            self.commands.insert(id.to_owned(), command);
        }
    }

    /// Compares messages of the server, and the commands that they say are carried out, with the API documents.
    ///
    /// # Panics
    /// When they say otherwise.
    fn check(&mut self, text: &str) {
        let Ok(value) = serde_json::from_str::<Value>(text) else { return };
        for message in value.as_array().map_or(std::slice::from_ref(&value), Vec::as_slice) {
            contract::check(contract::message_fault(message));
            let command = message["id"].as_str().and_then(|id| self.commands.remove(id));
            if let Some(command) = command.filter(|_| message["type"] != "ERROR") {
                contract::check(contract::command_fault(&command, message));
            }
        }
    }

    async fn next_data(&mut self) -> Result<Received> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    self.check(text.as_str());
                    return Ok(Received::Text(text.as_str().to_owned()));
                }
                Some(Ok(Message::Binary(bytes))) => return Ok(Received::Binary(bytes.to_vec())),
                Some(Ok(Message::Close(frame))) => {
                    // Reading on is what sends the answer to the close frame.
                    let _ = timeout(Duration::from_secs(1), self.socket.next()).await;
                    return Ok(Received::Closed(
                        frame.map(|frame| (frame.code.into(), frame.reason.as_str().to_owned())),
                    ));
                }
                Some(Ok(_)) => {}
                Some(Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed))
                | None => {
                    return Ok(Received::Closed(None));
                }
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }
}

enum Received {
    Text(String),
    Binary(Vec<u8>),
    /// With the code and the reason, if there were any.
    Closed(Option<(u16, String)>),
}
