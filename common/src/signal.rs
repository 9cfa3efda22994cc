//! Signals: what is said once to whoever listens, and kept nowhere.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{event::EventKind, ids::DeviceId, message::Message, stream::Stream};

/// Something that is true only now (typing, a pointer's place): no number, never stored, sent at most
/// once, and not at all to a follower that is behind.
#[derive(Debug)]
pub struct Signal {
    /// The stream whose followers it is for.
    pub stream: Stream,
    /// What it says (`TYPING`), a publisher's word.
    pub kind: EventKind,
    /// The device that said it.
    pub origin: DeviceId,
    /// The body, JSON.
    pub payload: Box<RawValue>,
    message: Message,
}

impl Signal {
    /// Puts a signal together and encodes it.
    pub fn new(stream: Stream, kind: EventKind, origin: DeviceId, payload: Box<RawValue>) -> Self {
        #[derive(Serialize)]
        struct Text<'a> {
            r#type: &'a str,
            stream: &'a str,
            event: &'a str,
            origin: &'a DeviceId,
            payload: &'a RawValue,
        }
        let message = Message::of(&Text {
            r#type: "SIGNAL",
            stream: &stream.wire_name(),
            event: kind.as_str(),
            origin: &origin,
            payload: &payload,
        });
        Self { stream, kind, origin, payload, message }
    }

    /// The signal as clients are sent it.
    pub fn message(&self) -> &Message {
        &self.message
    }
}
