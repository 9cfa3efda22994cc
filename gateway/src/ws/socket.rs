//! The WebSocket library, behind the few things that we need of it: receive a message, send messages
//! that are already encoded. The only file that names it.

use std::{future::Future, time::Duration};

use bytes::Bytes;
use common::close::{Close, HANDSHAKE_WAIT, fit_reason};
use futures_util::{SinkExt, StreamExt};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use metrics::counter;
use tokio::{io::AsyncReadExt, time::timeout};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Error, Message,
        protocol::{
            CloseFrame, Role, WebSocketConfig,
            frame::{
                Frame,
                coding::{CloseCode, Data, OpCode},
            },
        },
    },
};

/// A server's end of a WebSocket (RFC 6455) after the handshake.
pub(crate) struct Socket {
    stream: WebSocketStream<TokioIo<Upgraded>>,
}

/// What a client sent.
#[derive(Debug)]
pub(crate) enum Received {
    /// A text message.
    Text(String),
    /// A binary message; its content has no meaning in this subprotocol.
    Binary,
    /// The answer to a ping, or a ping (answered by the library): a sign of life.
    Alive,
}

/// Why nothing more comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The client closed, or the connection broke.
    #[error("the client has gone")]
    Gone,
    /// The client takes nothing any more.
    #[error("the client has stopped reading")]
    Stalled,
    /// A message over the limit.
    #[error("a message was larger than allowed")]
    TooLarge,
    /// Not a WebSocket frame, or text that is not UTF-8.
    #[error("{0}")]
    Misuse(String),
}

/// Taken per connection as long as it lives. The library's default of 128 KiB would make an idle
/// connection cost that much.
const READ_BUFFER_BYTES: usize = 4 * 1024;

/// What is written to the kernel at a time while messages are queued.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;

/// The largest frame that is sent. What the library buffers stays below twice this.
const FRAGMENT_BYTES: usize = 16 * 1024;

/// How long a client that sent nonsense may be silent before the connection is dropped.
const QUIET: Duration = Duration::from_millis(250);

/// The key of a handshake, answered (RFC 6455 section 4.2.2).
pub(crate) fn accept_key(key: &[u8]) -> String {
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key)
}

impl Socket {
    pub(crate) async fn new(upgraded: Upgraded, message_bytes_max: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(WRITE_BUFFER_BYTES)
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let io = TokioIo::new(upgraded);
        Self { stream: WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await }
    }

    /// Waits for the next message. Cancel-safe.
    pub(crate) async fn receive(&mut self) -> Result<Received, Ended> {
        loop {
            let message = match self.stream.next().await {
                None => return Err(Ended::Gone),
                Some(Err(Error::Capacity(_))) => return Err(Ended::TooLarge),
                Some(Err(error @ (Error::Utf8(_) | Error::Protocol(_)))) => {
                    use tokio_tungstenite::tungstenite::error::ProtocolError;
                    return Err(match error {
                        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ended::Gone,
                        error => Ended::Misuse(error.to_string()),
                    });
                }
                Some(Err(_)) => return Err(Ended::Gone),
                Some(Ok(message)) => message,
            };
            match message {
                Message::Text(text) => return Ok(Received::Text(text.as_str().to_owned())),
                Message::Binary(_) => return Ok(Received::Binary),
                Message::Pong(_) | Message::Ping(_) => return Ok(Received::Alive),
                // The library answers it and ends the stream at the next call.
                Message::Close(_) | Message::Frame(_) => {}
            }
        }
    }

    /// Sends text messages, together: what fits goes out in one write. Returns once the kernel has
    /// taken all, or nothing of it for `stall_max`. Not cancel-safe: what was not taken is lost.
    pub(crate) async fn send(&mut self, messages: &mut Vec<Bytes>, stall_max: Duration) -> Result<(), Ended> {
        for message in messages.drain(..) {
            let mut code = Data::Text;
            let mut rest = message;
            // A large message goes in fragments (RFC 6455 section 5.4): the library's buffer keeps the
            // size it once had, and each fragment that goes through shows that the client reads.
            while rest.len() > FRAGMENT_BYTES {
                let part = rest.split_to(FRAGMENT_BYTES);
                self.feed(Frame::message(part, OpCode::Data(code), false), stall_max).await?;
                code = Data::Continue;
            }
            self.feed(Frame::message(rest, OpCode::Data(code), true), stall_max).await?;
        }
        progress(stall_max, self.stream.flush()).await
    }

    /// Sends a ping.
    pub(crate) async fn ping(&mut self, stall_max: Duration) -> Result<(), Ended> {
        progress(stall_max, self.stream.send(Message::Ping(Bytes::new()))).await
    }

    async fn feed(&mut self, frame: Frame, stall_max: Duration) -> Result<(), Ended> {
        progress(stall_max, self.stream.feed(Message::Frame(frame))).await
    }

    /// Closes: counts it, says why, and waits a moment for the other side to have read it.
    pub(crate) async fn close(mut self, close: Close, reason: &str) {
        counter!("draftwire_closes_total", "code" => close.label()).increment(1);
        let frame =
            CloseFrame { code: CloseCode::from(close.code()), reason: fit_reason(reason).to_owned().into() };
        let goodbye = async {
            if self.stream.close(Some(frame)).await.is_err() {
                return;
            }
            loop {
                match self.stream.next().await {
                    None | Some(Err(Error::ConnectionClosed)) => return,
                    Some(Ok(_)) => {}
                    Some(Err(_)) => break,
                }
            }
            // What still comes cannot be read as frames. It is thrown away all the same: a socket
            // closed with unread bytes is reset, and a reset may overtake the close frame.
            let mut io = self.stream.into_inner();
            let mut rest = vec![0; READ_BUFFER_BYTES];
            while let Ok(Ok(1..)) = timeout(QUIET, io.read(&mut rest)).await {}
        };
        // A client that neither reads nor closes is dropped all the same.
        let _ = timeout(HANDSHAKE_WAIT, goodbye).await;
    }
}

/// Waits for a write to go on, at most so long.
async fn progress(stall_max: Duration, write: impl Future<Output = Result<(), Error>>) -> Result<(), Ended> {
    match timeout(stall_max, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ended::Gone),
        Err(_) => Err(Ended::Stalled),
    }
}
