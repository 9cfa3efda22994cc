//! Messages on a socket, in any of the encodings. What reads and compresses them here is others' code,
//! not the server's: nothing is checked with itself.

use std::io::Cursor;

use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};
use yawc::{Frame, OpCode};

use crate::raw_socket::{NotOpened, RawRequest};

/// The code of a connection that was closed without one (RFC 6455 section 7.1.5).
const NO_CODE: u16 = 1005;

/// What goes over the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// JSON in text frames.
    #[default]
    Json,
    /// MessagePack in binary frames.
    MessagePack,
    /// JSON, with permessage-deflate (RFC 7692) offered.
    JsonDeflate,
    /// MessagePack, with permessage-deflate offered.
    MessagePackDeflate,
}

impl Encoding {
    /// The subprotocol that stands for it.
    pub fn subprotocol(self) -> &'static str {
        if self.is_binary() {
            common::protocol::SUBPROTOCOL_MSGPACK
        } else {
            common::protocol::SUBPROTOCOL_JSON
        }
    }

    fn is_binary(self) -> bool {
        matches!(self, Self::MessagePack | Self::MessagePackDeflate)
    }

    fn is_deflated(self) -> bool {
        matches!(self, Self::JsonDeflate | Self::MessagePackDeflate)
    }
}

/// What came over the socket.
pub(super) enum Incoming {
    /// One message; or several, which came as an array in one frame.
    Messages(Vec<Value>, Framing),
    /// A frame that holds no message.
    Malformed(String),
    /// A sign of life.
    Nothing,
    /// The server has closed, with this code.
    Closed(u16),
    /// The connection is gone.
    Lost,
}

/// How messages stood in their frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Alone,
    Array,
}

/// A socket that carries messages.
pub(super) struct Wire {
    socket: Socket,
    binary: bool,
}

enum Socket {
    Plain(Box<WebSocketStream<TcpStream>>),
    Deflate(Box<yawc::WebSocket<TcpStream>>),
}

/// The connection is gone.
pub(super) struct Gone;

impl Wire {
    /// Opens a socket; the subprotocol is added to the request.
    ///
    /// # Errors
    /// [`NotOpened`].
    pub(super) async fn open(request: RawRequest, encoding: Encoding) -> Result<Self, NotOpened> {
        let request = request.subprotocol(encoding.subprotocol());
        let socket = if encoding.is_deflated() {
            Socket::Deflate(Box::new(request.open_deflate().await?))
        } else {
            Socket::Plain(Box::new(request.open().await?))
        };
        Ok(Self { socket, binary: encoding.is_binary() })
    }

    /// What comes next. Nothing is lost when the call is dropped.
    pub(super) async fn next(&mut self) -> Incoming {
        match &mut self.socket {
            Socket::Plain(socket) => match socket.next().await {
                Some(Ok(Message::Text(text))) => self.text(text.as_str()),
                Some(Ok(Message::Binary(bytes))) => self.bytes(&bytes),
                Some(Ok(Message::Close(frame))) => {
                    Incoming::Closed(frame.map_or(NO_CODE, |frame| frame.code.into()))
                }
                Some(Ok(_)) => Incoming::Nothing,
                Some(Err(_)) | None => Incoming::Lost,
            },
            Socket::Deflate(socket) => match socket.next_frame().await {
                Ok(frame) => match frame.opcode() {
                    OpCode::Text => match std::str::from_utf8(frame.payload()) {
                        Ok(text) => self.text(text),
                        Err(error) => Incoming::Malformed(error.to_string()),
                    },
                    OpCode::Binary => self.bytes(frame.payload()),
                    OpCode::Close => Incoming::Closed(frame.close_code().map_or(NO_CODE, u16::from)),
                    _ => Incoming::Nothing,
                },
                Err(_) => Incoming::Lost,
            },
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`Gone`].
    pub(super) async fn send(&mut self, message: &Value) -> Result<(), Gone> {
        // A value of JSON can be written as either.
        let bytes = if self.binary { rmp_serde::to_vec(message).unwrap_or_default() } else { Vec::new() };
        match &mut self.socket {
            Socket::Plain(socket) => {
                let message =
                    if self.binary { Message::binary(bytes) } else { Message::text(message.to_string()) };
                socket.send(message).await.map_err(|_| Gone)
            }
            Socket::Deflate(socket) => {
                let frame = if self.binary { Frame::binary(bytes) } else { Frame::text(message.to_string()) };
                socket.send(frame).await.map_err(|_| Gone)
            }
        }
    }

    /// Begins the closing handshake.
    pub(super) async fn close(&mut self) {
        match &mut self.socket {
            Socket::Plain(socket) => {
                let _ = SinkExt::close(socket.as_mut()).await;
            }
            Socket::Deflate(socket) => {
                let _ = SinkExt::close(socket.as_mut()).await;
            }
        }
    }

    fn text(&self, text: &str) -> Incoming {
        if self.binary {
            return Incoming::Malformed(format!("a text frame: {text}"));
        }
        serde_json::from_str(text).map_or_else(|_| Incoming::Malformed(text.to_owned()), messages)
    }

    fn bytes(&self, bytes: &[u8]) -> Incoming {
        if !self.binary {
            return Incoming::Malformed(format!("a binary frame of {} bytes", bytes.len()));
        }
        match message_pack(bytes) {
            Ok(value) => messages(value),
            Err(error) => Incoming::Malformed(format!("{error}: {}", bytes.escape_ascii())),
        }
    }
}

fn messages(value: Value) -> Incoming {
    match value {
        Value::Array(messages) => Incoming::Messages(messages, Framing::Array),
        message => Incoming::Messages(vec![message], Framing::Alone),
    }
}

/// Reads one MessagePack value, and nothing behind it.
///
/// # Errors
/// When the bytes are something else.
pub fn message_pack(bytes: &[u8]) -> anyhow::Result<Value> {
    let mut reader = rmp_serde::Deserializer::new(Cursor::new(bytes));
    let value = Value::deserialize(&mut reader)?;
    let read = reader.position();
    anyhow::ensure!(read == bytes.len() as u64, "the value ends after {read} of {} bytes", bytes.len());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn message_pack_is_one_value() {
        let value = json!({ "a": [1, -1, 2.5, null, "é"], "b": { "c": u64::MAX } });
        let bytes = rmp_serde::to_vec(&value).unwrap_or_default();
        assert_eq!(message_pack(&bytes).ok(), Some(value));
        assert!(message_pack(&[&bytes[..], b"\xc0"].concat()).is_err(), "something follows");
        assert!(message_pack(&bytes[1..]).is_err());
        assert!(message_pack(b"\xc4\x01a").is_err(), "binary data is no JSON");
    }
}
