//! What the load generator needs to know of a message, without parsing it: of an event its stream, its
//! number and when it was sent. Nothing is allocated.
//!
//! The members of a message may stand in any order, and what is inside of a payload is never taken for
//! them.

mod json;
mod msgpack;

use common::message::Encoding;

/// The members of one message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    /// `type`.
    pub(crate) kind: &'a [u8],
    /// `stream`, or empty.
    pub(crate) stream: &'a [u8],
    /// `seq`.
    pub(crate) seq: Option<u64>,
    /// `timestamp`: when the node made it, Unix milliseconds.
    pub(crate) timestamp_ms: Option<u64>,
    /// When a load generator meant to send it: the first member of the payload, if that is `at`.
    pub(crate) at_us: Option<u64>,
}

/// Reads a message, or the messages of a batch, in their order. `None` when they are none.
pub(crate) fn read<'a>(
    encoding: Encoding,
    bytes: &'a [u8],
    mut each: impl FnMut(Head<'a>, &'a [u8]),
) -> Option<()> {
    let mut rest = bytes;
    match encoding {
        Encoding::Json => json::messages(&mut rest, &mut each)?,
        Encoding::MessagePack => msgpack::messages(&mut rest, &mut each)?,
    }
    rest.is_empty().then_some(())
}

/// What has been read of `all` once `rest` is left.
fn taken<'a>(all: &'a [u8], rest: &[u8]) -> &'a [u8] {
    &all[..all.len() - rest.len()]
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    let (first, others) = rest.split_first()?;
    *rest = others;
    Some(*first)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, others) = rest.split_at_checked(length)?;
    *rest = others;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    type Seen = (String, String, Option<u64>, Option<u64>, Option<u64>);

    fn heads(encoding: Encoding, bytes: &[u8]) -> Option<Vec<Seen>> {
        let mut found = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        read(encoding, bytes, |head, _| {
            found.push((text(head.kind), text(head.stream), head.seq, head.timestamp_ms, head.at_us));
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

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[ -~]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("(seq|type|at|[a-z\"\\\\]{1,3})", inner, 0..4)
                    .prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        /// Against the real parser.
        #[test]
        fn it_reads_what_a_parser_reads(seq: u64, kind in "[A-Z_]{1,8}", payload in value(), other in value()) {
            let message = json!({"type": kind, "seq": seq, "payload": payload, "zz": other, "aa": other});
            for seen in both(&message) {
                let seen = seen.expect("a message");
                prop_assert_eq!(&seen[0].0, &kind);
                prop_assert_eq!(seen[0].2, Some(seq));
            }
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = heads(Encoding::Json, &bytes);
            let _ = heads(Encoding::MessagePack, &bytes);
        }
    }
}
