//! What a copy of an event looks like between nodes.
//!
//! Version 1, all numbers big-endian; the stream is the channel's and is not repeated:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version |
//! | 1 + n | node that sent the copy: length, text |
//! | 1 + n | epoch: length, text |
//! | 8 | seq |
//! | 8 | timestamp, Unix milliseconds |
//! | 1 + n | event type: length, text |
//! | 2 + n | origin: length, UTF-8 |
//! | rest | payload, JSON |
//!
//! A node that meets a version it does not know drops the copy and counts it: its followers get the
//! event by the sweep. So nodes of different versions can run side by side, slower but right.

use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use common::{
    Epoch, Event, Seq, Stream,
    ids::{InvalidId, NodeId},
};
use serde_json::value::RawValue;

/// The version that this node writes, and the only one that it reads.
pub const VERSION: u8 = 1;

/// An event on its way between nodes.
#[derive(Debug)]
pub struct Envelope {
    /// The node that sent the copy.
    pub node: NodeId,
    /// The history that the event's `seq` counts in.
    pub epoch: Epoch,
    /// The event.
    pub event: Event,
}

/// Why bytes are no envelope. The copy is dropped; the sweep finds what it would have said.
#[derive(Debug, thiserror::Error)]
pub enum BadEnvelope {
    /// Written by a node of another version.
    #[error("version {0} is not known here")]
    Version(u8),
    /// It ends too early.
    #[error("truncated")]
    Truncated,
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Utf8(#[from] std::str::Utf8Error),
    /// A text breaks the rule of what it names.
    #[error(transparent)]
    Id(#[from] InvalidId),
    /// Events are numbered from 1.
    #[error("seq is zero")]
    Seq,
    /// The payload is not JSON.
    #[error("the payload is not JSON: {0}")]
    Payload(#[source] serde_json::Error),
}

impl BadEnvelope {
    /// The metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Version(_) => "version",
            Self::Truncated | Self::Utf8(_) | Self::Id(_) | Self::Seq | Self::Payload(_) => "malformed",
        }
    }
}

/// Writes a copy of the event.
pub fn encode(node: &NodeId, epoch: &Epoch, event: &Event) -> Bytes {
    let (node, epoch, kind) = (node.as_str(), epoch.as_str(), event.kind.as_str());
    let (origin, payload) = (event.origin.as_str(), event.payload.get());
    // Version, three short lengths, two numbers, one long length.
    let fixed = 1 + 3 + 8 + 8 + 2;
    let texts = node.len() + epoch.len() + kind.len() + origin.len() + payload.len();
    let mut out = BytesMut::with_capacity(fixed + texts);
    out.put_u8(VERSION);
    put_short(&mut out, node);
    put_short(&mut out, epoch);
    out.put_u64(event.seq.0);
    out.put_u64(event.timestamp);
    put_short(&mut out, kind);
    // 64 characters of up to 4 bytes do not fit the one-byte length.
    out.put_u16(u16::try_from(origin.len()).expect("a device id is at most 256 bytes"));
    out.put_slice(origin.as_bytes());
    out.put_slice(payload.as_bytes());
    out.freeze()
}

/// Reads what [`encode`] wrote, as a copy that arrived on the stream's channel. Any bytes may be given.
pub fn decode(bytes: &[u8], stream: &Stream) -> Result<Envelope, BadEnvelope> {
    let mut rest = Reader(bytes);
    rest.version()?;
    let node = rest.short_id()?;
    let epoch = rest.short_id()?;
    let seq = Seq(rest.u64()?);
    if seq == Seq(0) {
        return Err(BadEnvelope::Seq);
    }
    let timestamp = rest.u64()?;
    let kind = rest.short_id()?;
    let origin_len = u16::from_be_bytes(rest.array()?);
    let origin = std::str::from_utf8(rest.take(origin_len.into())?)?.parse()?;
    let payload = std::str::from_utf8(rest.0)?.to_owned();
    let payload = RawValue::from_string(payload).map_err(BadEnvelope::Payload)?;
    let event = Event::new(stream.clone(), seq, kind, origin, timestamp, payload);
    Ok(Envelope { node, epoch, event })
}

/// Who sent the copy, without reading the rest: a node skips its own. `None` when that cannot be told.
pub fn sender(bytes: &[u8]) -> Option<&str> {
    let mut rest = Reader(bytes);
    rest.version().ok()?;
    std::str::from_utf8(rest.short().ok()?).ok()
}

fn put_short(out: &mut BytesMut, text: &str) {
    out.put_u8(u8::try_from(text.len()).expect("names between nodes are at most 64 ASCII characters"));
    out.put_slice(text.as_bytes());
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], BadEnvelope> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(BadEnvelope::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadEnvelope> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(BadEnvelope::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u64(&mut self) -> Result<u64, BadEnvelope> {
        self.array().map(u64::from_be_bytes)
    }

    fn version(&mut self) -> Result<(), BadEnvelope> {
        match self.array()? {
            [VERSION] => Ok(()),
            [other] => Err(BadEnvelope::Version(other)),
        }
    }

    fn short(&mut self) -> Result<&'a [u8], BadEnvelope> {
        let [len] = self.array()?;
        self.take(len.into())
    }

    fn short_id<T: FromStr<Err = InvalidId>>(&mut self) -> Result<T, BadEnvelope> {
        Ok(std::str::from_utf8(self.short()?)?.parse()?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use common::event::EventKind;
    use proptest::prelude::*;

    use super::*;

    fn event(seq: u64, kind: &str, origin: &str, timestamp: u64, payload: &str) -> Event {
        let payload = RawValue::from_string(payload.to_owned()).unwrap();
        let kind: EventKind = kind.parse().unwrap();
        Event::new(stream(), Seq(seq), kind, origin.parse().unwrap(), timestamp, payload)
    }

    fn stream() -> Stream {
        "topic:match:1".parse().unwrap()
    }

    const GOLDEN: &[u8] = b"\x01\x06node-a\x06epoch1\
        \0\0\0\0\0\0\0\x07\0\0\x01\x8b\xcf\xe5\x68\0\x04GOAL\0\x06t\xc3\xa9l 1\
        {\"b\":1, \"a\":2}";

    fn golden_event() -> Event {
        event(7, "GOAL", "tél 1", 1_700_000_000_000, r#"{"b":1, "a":2}"#)
    }

    #[test]
    fn version_1_stays_what_it_is() {
        let bytes = encode(&"node-a".parse().unwrap(), &"epoch1".parse().unwrap(), &golden_event());
        assert_eq!(bytes.escape_ascii().to_string(), GOLDEN.escape_ascii().to_string());
        let read = decode(GOLDEN, &stream()).unwrap();
        assert_eq!(read.event.json(), golden_event().json());
        assert_eq!((read.node.as_str(), read.epoch.as_str()), ("node-a", "epoch1"));
    }

    #[test]
    fn the_sender_is_seen_without_reading_the_rest() {
        assert_eq!(sender(GOLDEN), Some("node-a"));
        assert_eq!(sender(&GOLDEN[..8]), Some("node-a"));
        assert_eq!(sender(&GOLDEN[..7]), None);
        assert_eq!(sender(b""), None);
        assert_eq!(sender(b"\x02\x01a"), None);
    }

    #[test]
    fn another_version_is_told_from_garbage() {
        let mut newer = GOLDEN.to_vec();
        newer[0] = 2;
        assert_eq!(decode(&newer, &stream()).unwrap_err().label(), "version");
        assert_eq!(decode(b"", &stream()).unwrap_err().label(), "malformed");
    }

    #[test]
    fn every_truncation_is_refused() {
        for end in 0..GOLDEN.len() {
            assert!(decode(&GOLDEN[..end], &stream()).is_err(), "{end} bytes were taken");
        }
    }

    #[test]
    fn texts_must_keep_their_rules() {
        let replace = |at: usize, with: &[u8]| {
            let mut bytes = GOLDEN.to_vec();
            bytes[at..at + with.len()].copy_from_slice(with);
            decode(&bytes, &stream())
        };
        assert!(matches!(replace(2, b"\xff"), Err(BadEnvelope::Utf8(_))));
        assert!(matches!(replace(2, b" "), Err(BadEnvelope::Id(_))));
        assert!(matches!(replace(15, &[0; 8]), Err(BadEnvelope::Seq)));
        assert!(matches!(replace(GOLDEN.len() - 1, b"]"), Err(BadEnvelope::Payload(_))));
        assert!(matches!(replace(GOLDEN.len() - 1, b"\xff"), Err(BadEnvelope::Utf8(_))));
    }

    #[test]
    fn the_longest_names_fit() {
        let longest = event(u64::MAX, &"K".repeat(64), &"\u{1F600}".repeat(64), u64::MAX, "null");
        let bytes = encode(&"n".repeat(64).parse().unwrap(), &"e".repeat(64).parse().unwrap(), &longest);
        assert_eq!(decode(&bytes, &stream()).unwrap().event.json(), longest.json());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            node in "[A-Za-z0-9:_.-]{1,64}",
            epoch in "[A-Za-z0-9_.-]{1,64}",
            seq in 1_u64..,
            kind in "[A-Z0-9_]{1,64}",
            origin in "[^\\p{Cc}]{1,64}",
            timestamp: u64,
            text in ".*",
        ) {
            let payload = serde_json::to_string(&serde_json::json!({ "text": text })).unwrap();
            let event = event(seq, &kind, &origin, timestamp, &payload);
            let (node, epoch): (NodeId, Epoch) = (node.parse().unwrap(), epoch.parse().unwrap());
            let bytes = encode(&node, &epoch, &event);
            prop_assert_eq!(sender(&bytes), Some(node.as_str()));
            let read = decode(&bytes, &stream()).unwrap();
            prop_assert_eq!(read.node, node);
            prop_assert_eq!(read.epoch, epoch);
            prop_assert_eq!(read.event.json(), event.json());
            prop_assert_eq!(read.event.timestamp, timestamp);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = sender(&bytes);
            let _ = decode(&bytes, &stream());
        }

        #[test]
        fn a_damaged_envelope_is_survived(at in 0..GOLDEN.len(), byte: u8, cut in 0..GOLDEN.len()) {
            let mut bytes = GOLDEN.to_vec();
            bytes[at] = byte;
            let _ = decode(&bytes, &stream());
            let _ = decode(&bytes[..cut], &stream());
        }
    }
}
