//! A message that many connections are sent, and the forms in which they take it.

use std::sync::OnceLock;

use bytes::Bytes;
use serde::Serialize;

use crate::msgpack;

/// How a connection reads and writes messages: its subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Encoding {
    /// JSON in text frames.
    #[default]
    Json,
    /// MessagePack in binary frames.
    MessagePack,
}

/// Everything in which the bytes that connections are sent can differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Form {
    /// How it is written.
    pub encoding: Encoding,
    /// Whether the connection takes deflated messages (RFC 7692).
    pub deflate: bool,
}

impl Form {
    /// How many there are.
    pub const COUNT: usize = 4;

    /// Its number, below [`Form::COUNT`].
    pub fn index(self) -> usize {
        let encoding = match self.encoding {
            Encoding::Json => 0,
            Encoding::MessagePack => 2,
        };
        encoding + usize::from(self.deflate)
    }
}

/// A message that never changes. Each form of it is made when the first connection needs it, and
/// shared from then on: a thousand followers cost one encoding, and one compression.
#[derive(Debug)]
pub struct Message {
    json: Bytes,
    message_pack: OnceLock<Bytes>,
    frames: [OnceLock<Bytes>; Form::COUNT],
}

impl Message {
    /// A message from its JSON text.
    pub fn new(json: Bytes) -> Self {
        Self { json, message_pack: OnceLock::new(), frames: Default::default() }
    }

    /// A message from what serialises to it.
    pub fn of(message: &impl Serialize) -> Self {
        // Only a map with keys that are not strings, or a failing `Serialize`, can fail: no message has
        // either.
        Self::new(serde_json::to_vec(message).map_or_else(|_| Bytes::new(), Bytes::from))
    }

    /// The JSON text.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// The message's type. It stands first in everything that is sent.
    pub fn kind(&self) -> &str {
        let text = std::str::from_utf8(&self.json).unwrap_or_default();
        let after = text.strip_prefix(r#"{"type":""#).unwrap_or_default();
        after.split('"').next().unwrap_or_default()
    }

    /// The message in an encoding, without a frame.
    pub fn encoded(&self, encoding: Encoding) -> &Bytes {
        match encoding {
            Encoding::Json => &self.json,
            Encoding::MessagePack => self.message_pack.get_or_init(|| msgpack::from_json(&self.json)),
        }
    }

    /// The message as it goes over the wire in a form; `frame` makes that of the encoded message when
    /// it is asked for first. Every caller must make it alike.
    pub fn frame(&self, form: Form, frame: impl FnOnce(&Bytes) -> Bytes) -> &Bytes {
        self.frames[form.index()].get_or_init(|| frame(self.encoded(form.encoding)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_stands_first() {
        let pong = crate::protocol::Pong { server_time: 0 };
        let message = crate::protocol::ServerMessage::Pong { id: None, payload: pong }.message();
        assert_eq!(message.kind(), "PONG");
        assert_eq!(Message::new(Bytes::new()).kind(), "");
    }

    #[test]
    fn each_form_is_made_once() {
        let message = Message::new(Bytes::from_static(b"{\"a\":1}"));
        let form = Form { encoding: Encoding::MessagePack, deflate: true };
        let made = message.frame(form, |bytes| [b"!", &bytes[..]].concat().into());
        assert_eq!(made, &b"!\x81\xa1a\x01"[..]);
        assert_eq!(message.frame(form, |_| Bytes::new()).as_ptr(), made.as_ptr());
        assert_eq!(message.frame(Form::default(), Bytes::clone), message.json());
    }
}
