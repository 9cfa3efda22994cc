//! Events: what a stream is made of.

use std::{fmt, sync::OnceLock};

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    ids::{DeviceId, InvalidId, Seq},
    stream::Stream,
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
    json: OnceLock<Bytes>,
}

impl Event {
    /// Puts an event together; it is encoded when first sent.
    pub fn new(
        stream: Stream,
        seq: Seq,
        kind: EventKind,
        origin: DeviceId,
        timestamp: u64,
        payload: Box<RawValue>,
    ) -> Self {
        Self { stream, seq, kind, origin, timestamp, payload, json: OnceLock::new() }
    }

    /// The event as a JSON message of the protocol, encoded at the first call and shared from then on.
    pub fn json(&self) -> &Bytes {
        #[derive(Serialize)]
        struct Message<'a> {
            #[serde(rename = "type")]
            kind: &'a str,
            stream: &'a str,
            seq: Seq,
            timestamp: u64,
            origin: &'a DeviceId,
            payload: &'a RawValue,
        }
        self.json.get_or_init(|| {
            let message = Message {
                kind: self.kind.as_str(),
                stream: &self.stream.wire_name(),
                seq: self.seq,
                timestamp: self.timestamp,
                origin: &self.origin,
                payload: &self.payload,
            };
            serde_json::to_vec(&message).map_or_else(|_| Bytes::new(), Bytes::from)
        })
    }

    /// About how much memory the event takes once encoded, in bytes. What bounds count by.
    pub fn weight(&self) -> usize {
        // The payload and its encoding, and the parts that surround both.
        2 * self.payload.get().len() + 400
    }
}

/// The type name of an event: `[A-Z0-9_]{1,64}`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventKind(std::sync::Arc<str>);

impl EventKind {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for EventKind {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let valid = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if text.is_empty() || text.len() > 64 || !text.bytes().all(valid) {
            return Err(InvalidId { what: "event", rule: "1 to 64 characters of A-Z 0-9 _" });
        }
        Ok(Self(text.into()))
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
    }
}
