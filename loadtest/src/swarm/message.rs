//! What the load generator needs to know of a message: of an event its stream, its number and when it was
//! sent.

use std::borrow::Cow;

use common::message::Encoding;
use serde::Deserialize;
use serde_json::value::RawValue;

/// The members of one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head<'a> {
    /// `type`.
    pub(super) kind: Cow<'a, str>,
    /// `stream`, or empty.
    pub(super) stream: Cow<'a, str>,
    /// `seq`.
    pub(super) seq: Option<u64>,
    /// `timestamp`: when the node made it, Unix milliseconds.
    pub(super) timestamp_ms: Option<u64>,
    /// When a load generator meant to send it: the first member of the payload, if that is `at`.
    pub(super) at_us: Option<u64>,
}

#[derive(Deserialize)]
struct Members<'a> {
    #[serde(rename = "type", default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    stream: Cow<'a, str>,
    seq: Option<u64>,
    timestamp: Option<u64>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// Reads a message, or the messages of a batch, in their order; `each` is given its text, too. Returns
/// whether it was a batch, or `None` when it is neither.
pub(super) fn read(encoding: Encoding, bytes: &[u8], mut each: impl FnMut(Head<'_>, &str)) -> Option<bool> {
    let text = match encoding {
        Encoding::Json => Cow::Borrowed(std::str::from_utf8(bytes).ok()?),
        Encoding::MessagePack => Cow::Owned(common::msgpack::to_json(bytes).ok()?),
    };
    let batch = text.trim_ascii_start().starts_with('[');
    if !batch {
        each(head(&text)?, &text);
        return Some(batch);
    }
    for message in serde_json::from_str::<Vec<&RawValue>>(&text).ok()? {
        each(head(message.get())?, message.get());
    }
    Some(batch)
}

fn head(text: &str) -> Option<Head<'_>> {
    let Members { kind, stream, seq, timestamp, payload } = serde_json::from_str(text).ok()?;
    let at = payload.and_then(|payload| payload.get().strip_prefix("{\"at\":"));
    let at_us = at.and_then(|at| at.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
    Some(Head { kind, stream, seq, timestamp_ms: timestamp, at_us })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    type Seen = (String, String, Option<u64>, Option<u64>, Option<u64>);

    fn heads(encoding: Encoding, bytes: &[u8]) -> Option<Vec<Seen>> {
        let mut found = Vec::new();
        read(encoding, bytes, |head, _| {
            let (kind, stream) = (head.kind.into_owned(), head.stream.into_owned());
            found.push((kind, stream, head.seq, head.timestamp_ms, head.at_us));
        })?;
        Some(found)
    }

    fn both(message: &Value) -> [Option<Vec<Seen>>; 2] {
        let text = message.to_string();
        [
            heads(Encoding::Json, text.as_bytes()),
            heads(Encoding::MessagePack, &common::msgpack::from_json(text.as_bytes())),
        ]
    }

    #[test]
    fn an_event_is_read_in_both_encodings() {
        let event = json!({"type": "GOAL", "stream": "topic:m", "seq": 17, "timestamp": 1_767_225_600_300_u64,
            "origin": "a\"b", "payload": {"at": 5_000_000_000_u64, "pad": "x"}});
        let seen =
            ("GOAL".to_owned(), "topic:m".to_owned(), Some(17), Some(1_767_225_600_300), Some(5_000_000_000));
        assert_eq!(both(&event), [Some(vec![seen.clone()]), Some(vec![seen])]);
    }

    #[test]
    fn what_is_inside_of_a_payload_is_not_the_messages() {
        let event = json!({"origin": "\"seq\":9", "payload": {"seq": 3, "type": "X", "a": [{"seq": 4}]},
            "seq": 1, "type": "T"});
        let seen = ("T".to_owned(), String::new(), Some(1), None, None);
        assert_eq!(both(&event), [Some(vec![seen.clone()]), Some(vec![seen])]);
    }

    #[test]
    fn a_batch_is_its_messages() {
        let batch = json!([{"type": "A", "seq": 1}, {"type": "B", "seq": 2, "payload": null}]);
        for seen in both(&batch) {
            let seqs: Vec<Option<u64>> = seen.unwrap_or_default().into_iter().map(|head| head.2).collect();
            assert_eq!(seqs, [Some(1), Some(2)]);
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for text in
            ["", "{", "[1]", "{\"seq\":-1}", "{\"seq\":\"1\"}", "{} x", "{\"a\":}", "[{}", "{\"a\" 1}"]
        {
            assert_eq!(heads(Encoding::Json, text.as_bytes()), None, "{text}");
        }
        for bytes in [&b""[..], b"\x81\xA3seq", b"\xDF\xFF\xFF\xFF\xFF", b"\x81\xA1a\xC1", b"\x80\x80"] {
            assert_eq!(heads(Encoding::MessagePack, bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = heads(Encoding::Json, &bytes);
            let _ = heads(Encoding::MessagePack, &bytes);
        }
    }
}
