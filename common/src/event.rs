//! Events: what a stream is made of.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    ids::{DeviceId, InvalidId, Seq, text_id},
    json::{self, Field, Invalid},
    message::Message,
    stream::Stream,
    trace::{EventTrace, TraceContext},
};

/// One committed entry of a stream. It never changes, so one copy of it, and one encoding of it,
/// serves every follower on a node.
#[derive(Debug)]
pub struct Event {
    /// The stream that it belongs to.
    pub stream: Stream,
    /// Its number in the stream.
    pub seq: Seq,
    /// What happened (`DRAFT_UPDATED`, or a publisher's own word).
    pub kind: EventKind,
    /// The device that caused it.
    pub origin: DeviceId,
    /// When it was committed, Unix milliseconds, by the clock of the node that committed it.
    pub timestamp: u64,
    /// The body, JSON, exactly as it was committed.
    pub payload: Box<RawValue>,
    /// How soon it should be sent where sending is delayed on purpose.
    pub priority: Priority,
    /// Its trace, where it has one. It is no part of the event: the log does not have it.
    trace: Option<Box<EventTrace>>,
    message: OnceLock<Message>,
}

/// How urgent an event is. It changes when an event is sent, never the order: what waits before an
/// urgent one is sent with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// May wait in a follower's batch window.
    #[default]
    Normal,
    /// Ends every window.
    High,
    /// Ends every window. Told apart from `high` for the clients' sake.
    Critical,
}

impl Priority {
    /// Whether it ends batch windows.
    pub fn is_urgent(self) -> bool {
        self > Self::Normal
    }

    /// The number under which it is stored and sent between nodes.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Reads a [`Priority::number`]. One of a newer version that is not known here is urgent too.
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Normal,
            1 => Self::High,
            _ => Self::Critical,
        }
    }

    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

impl Field for Priority {
    fn read(json: &str) -> Result<Self, Invalid> {
        match &*json::text(json)? {
            "normal" => Ok(Self::Normal),
            "high" => Ok(Self::High),
            "critical" => Ok(Self::Critical),
            _ => Err(Invalid::new("must be normal, high or critical")),
        }
    }
}

impl Event {
    /// Puts an event of normal priority together; it is encoded when first sent.
    pub fn new(
        stream: Stream,
        seq: Seq,
        kind: EventKind,
        origin: DeviceId,
        timestamp: u64,
        payload: Box<RawValue>,
    ) -> Self {
        let priority = Priority::Normal;
        let (trace, message) = (None, OnceLock::new());
        Self { stream, seq, kind, origin, timestamp, payload, priority, trace, message }
    }

    /// Returns whether the other one, of the same stream and number, is this event.
    pub fn is_same(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.origin == other.origin
            && self.timestamp == other.timestamp
            && self.payload.get() == other.payload.get()
    }

    /// The same event with a priority.
    #[must_use]
    pub fn with_priority(self, priority: Priority) -> Self {
        Self { priority, message: OnceLock::new(), ..self }
    }

    /// Returns the trace that the event belongs to, if there is one.
    pub fn trace(&self) -> Option<&EventTrace> {
        self.trace.as_deref()
    }

    /// Puts the event into a trace, below this span.
    pub fn set_trace(&mut self, context: TraceContext) {
        self.trace = Some(Box::new(EventTrace::new(context)));
    }

    /// The event as clients are sent it, put together at the first call and shared from then on.
    pub fn message(&self) -> &Message {
        #[derive(Serialize)]
        struct Text<'a> {
            r#type: &'a str,
            stream: &'a str,
            seq: Seq,
            timestamp: u64,
            origin: &'a DeviceId,
            #[serde(skip_serializing_if = "Priority::is_normal")]
            priority: Priority,
            payload: &'a RawValue,
        }
        self.message.get_or_init(|| {
            Message::of(&Text {
                r#type: self.kind.as_str(),
                stream: &self.stream.wire_name(),
                seq: self.seq,
                timestamp: self.timestamp,
                origin: &self.origin,
                priority: self.priority,
                payload: &self.payload,
            })
        })
    }

    /// The event as a JSON message.
    pub fn json(&self) -> &Bytes {
        self.message().json()
    }

    /// About how much memory the event takes once encoded, in bytes. What bounds count by.
    pub fn weight(&self) -> usize {
        // The payload, its encoding and the frame of that, and the parts that surround them.
        3 * self.payload.get().len() + 800
    }
}

text_id! {
    /// The type name of an event: `[A-Z0-9_]{1,64}`.
    EventKind, "event", 64, is_kind, "1 to 64 characters of A-Z 0-9 _"
}

fn is_kind(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}

/// What the server itself says. A publisher's event of such a name would be taken for the server's.
const RESERVED: [&str; 17] = [
    "ACK",
    "DRAFT_CREATED",
    "DRAFT_DELETED",
    "DRAFT_UPDATED",
    "ERROR",
    "JOIN",
    "LEAVE",
    "PONG",
    "PRESENCE",
    "RECONNECT",
    "SIGNAL",
    "SNAPSHOT",
    "SYNCED",
    "TOKEN_EXPIRING",
    "UNSUBSCRIBED",
    "WELCOME",
    "PING",
];

impl EventKind {
    /// Whether only the server may use the name.
    pub(crate) fn is_reserved(&self) -> bool {
        RESERVED.contains(&self.as_str())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_encoded_as_the_protocol_writes_it() {
        let event = Event::new(
            "user:alice".parse().unwrap(),
            Seq(7),
            "DRAFT_UPDATED".parse().unwrap(),
            "phone".parse().unwrap(),
            1_700_000_000_000,
            RawValue::from_string(r#"{"b":1,"a":2}"#.to_owned()).unwrap(),
        );
        assert_eq!(
            std::str::from_utf8(event.json()).unwrap(),
            r#"{"type":"DRAFT_UPDATED","stream":"user","seq":7,"timestamp":1700000000000,"origin":"phone","payload":{"b":1,"a":2}}"#
        );
        assert_eq!(event.json().as_ptr(), event.json().as_ptr(), "encoded once");
        let urgent = event.with_priority(Priority::Critical);
        assert!(std::str::from_utf8(urgent.json()).unwrap().contains(r#""priority":"critical","payload""#));
    }

    #[test]
    fn priorities_read_back() {
        for priority in [Priority::Normal, Priority::High, Priority::Critical] {
            assert_eq!(Priority::from_number(priority.number()), priority);
        }
    }
}
