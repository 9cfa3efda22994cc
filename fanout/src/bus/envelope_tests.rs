#![allow(clippy::unwrap_used)]

use common::event::EventKind;
use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn new_event(seq: u64, kind: &str, origin: &str, timestamp: u64, payload: &str) -> Event {
    let payload = RawValue::from_string(payload.to_owned()).unwrap();
    let kind: EventKind = kind.parse().unwrap();
    Event::new(stream(), Seq(seq), kind, origin.parse().unwrap(), timestamp, payload)
}

fn new_signal(kind: &str, origin: &str, payload: &str) -> Signal {
    let payload = RawValue::from_string(payload.to_owned()).unwrap();
    Signal::new(stream(), kind.parse().unwrap(), origin.parse().unwrap(), payload)
}

fn stream() -> Stream {
    "topic:match:1".parse().unwrap()
}

fn as_events(bytes: &[u8]) -> (NodeId, Epoch, Vec<Arc<Event>>) {
    match decode(bytes, &stream()).unwrap() {
        Envelope { sender, epoch, body: Body::Events { events, committed_at } } => {
            assert_eq!(committed_at, Some(COMMITTED_AT));
            (sender, epoch, events)
        }
        other => panic!("{other:?}"),
    }
}

fn as_event(bytes: &[u8]) -> (NodeId, Epoch, Arc<Event>) {
    let (sender, epoch, events) = as_events(bytes);
    assert_eq!(events.len(), 1);
    (sender, epoch, events[0].clone())
}

/// The one copy of one event.
fn event(sender: &NodeId, epoch: &Epoch, event: Event) -> Bytes {
    let events = [Arc::new(event)];
    let mut copies = copies_of(sender, epoch, &events);
    assert_eq!(copies.len(), 1);
    copies.remove(0)
}

fn copies_of(sender: &NodeId, epoch: &Epoch, of: &[Arc<Event>]) -> Vec<Bytes> {
    events(sender, epoch, COMMITTED_AT, of).collect()
}

fn as_signal(bytes: &[u8]) -> (NodeId, Epoch, u64, Arc<Signal>) {
    match decode(bytes, &stream()).unwrap() {
        Envelope { sender, epoch, body: Body::Signal { number, signal } } => (sender, epoch, number, signal),
        other => panic!("{other:?}"),
    }
}

const COMMITTED_AT: u64 = 0x0102_0304_0506_0708;

const GOLDEN_EVENT: &[u8] = b"\x04\x06node-a\x06epoch1\x01\
    \0\0\0\0\0\0\0\x07\x01\x02\x03\x04\x05\x06\x07\x08\0\0\x01\x8b\xcf\xe5\x68\0\x01\x04GOAL\0\x06t\xc3\xa9l 1\
    \0\0\0\x0e{\"b\":1, \"a\":2}";

const GOLDEN_SIGNAL: &[u8] =
    b"\x04\x06node-a\x06epoch1\x02\0\0\0\0\0\0\x01\x09\x06TYPING\0\x05phone{\"at\":3}";

const GOLDEN_PRESENCE: &[u8] = b"\x04\x06node-a\x06epoch1\x03whatever";

/// As nodes of the version before have written them.
const RECORDED_EVENT_3: &[u8] = b"\x03\x06node-a\x06epoch1\x01\
    \0\0\0\0\0\0\0\x07\0\0\x01\x8b\xcf\xe5\x68\0\x01\x04GOAL\0\x06t\xc3\xa9l 1\
    \0\0\0\x0e{\"b\":1, \"a\":2}";

const RECORDED_SIGNAL_3: &[u8] =
    b"\x03\x06node-a\x06epoch1\x02\0\0\0\0\0\0\x01\x09\x06TYPING\0\x05phone{\"at\":3}";

const RECORDED_PRESENCE_3: &[u8] = b"\x03\x06node-a\x06epoch1\x03whatever";

fn golden_event() -> Event {
    new_event(7, "GOAL", "tél 1", 1_700_000_000_000, r#"{"b":1, "a":2}"#).with_priority(Priority::High)
}

fn golden_signal() -> Signal {
    new_signal("TYPING", "phone", r#"{"at":3}"#)
}

#[test]
fn version_4_stays_what_it_is() {
    let sender: NodeId = "node-a".parse().unwrap();
    let bytes = event(&sender, &"epoch1".parse().unwrap(), golden_event());
    assert_eq!(bytes.escape_ascii().to_string(), GOLDEN_EVENT.escape_ascii().to_string());
    let (from, epoch, read) = as_event(GOLDEN_EVENT);
    assert_eq!((from.as_str(), epoch.as_str()), ("node-a", "epoch1"));
    assert_eq!(read.json(), golden_event().json());
    assert_eq!(read.priority, Priority::High);

    let bytes = signal(&sender, &"epoch1".parse().unwrap(), 265, &golden_signal());
    assert_eq!(bytes.escape_ascii().to_string(), GOLDEN_SIGNAL.escape_ascii().to_string());
    let (from, epoch, number, read) = as_signal(GOLDEN_SIGNAL);
    assert_eq!((from.as_str(), epoch.as_str(), number), ("node-a", "epoch1", 265));
    assert_eq!(read.message().json(), golden_signal().message().json());

    let read = decode(GOLDEN_PRESENCE, &stream()).unwrap();
    assert_eq!(read.epoch.as_str(), "epoch1");
    assert!(matches!(read.body, Body::Presence(b"whatever")));
}

#[test]
fn what_nodes_of_the_version_before_have_written_is_read() {
    for recorded in [RECORDED_EVENT_3, RECORDED_SIGNAL_3, RECORDED_PRESENCE_3] {
        assert_eq!(sender(recorded), Some("node-a"));
        for end in 0..15 {
            assert!(decode(&recorded[..end], &stream()).is_err(), "{end} bytes were taken");
        }
    }
    match decode(RECORDED_EVENT_3, &stream()).unwrap().body {
        Body::Events { events, committed_at: None } => {
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].json(), golden_event().json());
        }
        other => panic!("{other:?}"),
    }
    let (.., number, read) = as_signal(RECORDED_SIGNAL_3);
    assert_eq!((number, read.message().json()), (265, golden_signal().message().json()));
    let read = decode(RECORDED_PRESENCE_3, &stream()).unwrap();
    assert!(matches!(read.body, Body::Presence(b"whatever")));
}

#[test]
fn the_sender_is_seen_without_reading_the_rest() {
    for golden in [GOLDEN_EVENT, GOLDEN_SIGNAL, GOLDEN_PRESENCE] {
        assert_eq!(sender(golden), Some("node-a"));
        assert_eq!(sender(&golden[..8]), Some("node-a"));
        assert_eq!(sender(&golden[..7]), None);
    }
    assert_eq!(sender(b""), None);
    assert_eq!(sender(b"\x02\x01a"), None);
}

#[test]
fn another_version_or_kind_is_told_from_garbage() {
    for version in [2, 5] {
        let mut other = GOLDEN_EVENT.to_vec();
        other[0] = version;
        assert_eq!(decode(&other, &stream()).unwrap_err().label(), "version");
    }
    for kind in [0, 6, 255] {
        let mut other = GOLDEN_EVENT.to_vec();
        other[15] = kind;
        assert_eq!(decode(&other, &stream()).unwrap_err().label(), "kind");
    }
    assert_eq!(decode(b"", &stream()).unwrap_err().label(), "malformed");
}

#[test]
fn every_truncation_is_refused() {
    for golden in [GOLDEN_EVENT, GOLDEN_SIGNAL] {
        for end in 0..golden.len() {
            assert!(decode(&golden[..end], &stream()).is_err(), "{end} bytes were taken");
        }
    }
}

#[test]
fn texts_must_keep_their_rules() {
    let replace = |golden: &[u8], at: usize, with: &[u8]| {
        let mut bytes = golden.to_vec();
        bytes[at..at + with.len()].copy_from_slice(with);
        decode(&bytes, &stream()).map(|_| ())
    };
    let event = |at, with| replace(GOLDEN_EVENT, at, with);
    assert!(matches!(event(2, b"\xff"), Err(EnvelopeError::Utf8(_))));
    assert!(matches!(event(2, b" "), Err(EnvelopeError::Id(_))));
    assert!(matches!(event(16, &[0; 8]), Err(EnvelopeError::Seq)));
    assert!(matches!(event(GOLDEN_EVENT.len() - 1, b"]"), Err(EnvelopeError::Payload(_))));
    assert!(matches!(event(GOLDEN_EVENT.len() - 1, b"\xff"), Err(EnvelopeError::Utf8(_))));
    let signal = |at, with| replace(GOLDEN_SIGNAL, at, with);
    assert!(matches!(signal(25, b"t"), Err(EnvelopeError::Id(_))));
    assert!(matches!(signal(33, b"\n"), Err(EnvelopeError::Id(_))));
    assert!(matches!(signal(GOLDEN_SIGNAL.len() - 1, b"]"), Err(EnvelopeError::Payload(_))));
}

#[test]
fn events_share_copies_up_to_a_size() {
    let (sender, epoch) = ("n".parse().unwrap(), "e".parse().unwrap());
    let body = format!("\"{}\"", "x".repeat(COPY_BYTES_MAX / 3));
    let all: Vec<_> = (5..25)
        .map(|seq| Arc::new(new_event(seq, "A", "d", seq, if seq < 15 { "1" } else { &body })))
        .collect();
    let copies = copies_of(&sender, &epoch, &all);
    let read: Vec<Vec<_>> = copies.iter().map(|copy| as_events(copy).2).collect();
    // The last one of a copy may reach over its size; no copy is without any.
    assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [13, 3, 3, 1]);
    let read: Vec<_> = read.iter().flatten().map(|event| event.json()).collect();
    assert_eq!(read, all.iter().map(|event| event.json()).collect::<Vec<_>>());
    let mut last = copies_of(&sender, &epoch, &all[..2]).remove(0).to_vec();
    last[6..14].copy_from_slice(&[0xff; 8]);
    assert!(matches!(decode(&last, &stream()), Err(EnvelopeError::Seq)), "beyond the last number");
}

#[test]
fn the_longest_names_fit() {
    let (kind, origin) = ("K".repeat(64), "\u{1F600}".repeat(64));
    let longest = || new_event(u64::MAX, &kind, &origin, u64::MAX, "null");
    let (sender, epoch) = ("n".repeat(64).parse().unwrap(), "e".repeat(64).parse().unwrap());
    let (.., read) = as_event(&event(&sender, &epoch, longest()));
    assert_eq!(read.json(), longest().json());
    let longest = new_signal(&kind, &origin, "null");
    let (.., number, read) = as_signal(&signal(&sender, &epoch, u64::MAX, &longest));
    assert_eq!(number, u64::MAX);
    assert_eq!(read.message().json(), longest.message().json());
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        node in "[A-Za-z0-9:_.-]{1,64}",
        epoch in "[A-Za-z0-9_.-]{1,64}",
        number in 1_u64..,
        kind in "[A-Z0-9_]{1,64}",
        origin in "[\\p{L}\\p{N}]([^\\p{C}]{0,62}[\\p{L}\\p{N}])?",
        timestamp: u64,
        priority in 0_u8..3,
        text in ".*",
    ) {
        let payload = serde_json::to_string(&serde_json::json!({ "text": text })).unwrap();
        let (node, epoch): (NodeId, Epoch) = (node.parse().unwrap(), epoch.parse().unwrap());
        let priority = Priority::from_number(priority);
        let sent = || new_event(number, &kind, &origin, timestamp, &payload).with_priority(priority);
        let bytes = event(&node, &epoch, sent());
        prop_assert_eq!(sender(&bytes), Some(node.as_str()));
        let (read_node, read_epoch, read) = as_event(&bytes);
        prop_assert_eq!((&read_node, &read_epoch), (&node, &epoch));
        prop_assert_eq!(read.json().clone(), sent().json().clone());
        prop_assert_eq!((read.timestamp, read.priority), (timestamp, priority));

        let sent = new_signal(&kind, &origin, &payload);
        let (read_node, read_epoch, read_number, read) = as_signal(&signal(&node, &epoch, number, &sent));
        prop_assert_eq!((read_node, read_epoch, read_number), (node, epoch, number));
        prop_assert_eq!(read.message().json(), sent.message().json());
    }

    #[test]
    fn any_bytes_are_survived(bytes: Vec<u8>, kind in 0_u8..5) {
        let _ = sender(&bytes);
        let _ = decode(&bytes, &stream());
        let with_start = [b"\x04\x01a\x01e", &[kind][..], &bytes[..]].concat();
        let _ = decode(&with_start, &stream());
    }

    #[test]
    fn a_damaged_envelope_is_survived(at: usize, byte: u8, cut: usize) {
        for golden in [GOLDEN_EVENT, GOLDEN_SIGNAL] {
            let mut bytes = golden.to_vec();
            bytes[at % golden.len()] = byte;
            let _ = decode(&bytes, &stream());
            let _ = decode(&bytes[..cut % golden.len()], &stream());
        }
    }
}

#[test]
fn traces_travel_with_the_events_that_have_one() {
    let (sender, epoch): (NodeId, Epoch) = ("node-1".parse().unwrap(), "7-1".parse().unwrap());
    let plain = || Arc::new(new_event(7, "GOAL", "http", 1, "{}"));
    let context = TraceContext { trace: *b"0123456789abcdef", span: *b"ABCDEFGH" };
    let mut traced = new_event(8, "GOAL", "http", 1, "{}");
    traced.set_trace(context);
    let (traced, untraced) =
        (copies_of(&sender, &epoch, &[plain(), Arc::new(traced)]), copies_of(&sender, &epoch, &[plain()]));
    let kind = |copy: &Bytes| copy[1 + 1 + "node-1".len() + 1 + "7-1".len()];
    assert_eq!(
        (kind(&traced[0]), kind(&untraced[0])),
        (TRACED_EVENTS, EVENTS),
        "what has none is written as before"
    );
    let (_, _, events) = as_events(&traced[0]);
    let contexts: Vec<_> = events.iter().map(|event| event.trace().map(|trace| trace.context)).collect();
    assert_eq!(contexts, [None, Some(context)]);
    assert!(events[0].is_same(&plain()));
    let inside_of_a_trace = traced[0].len() - size(&events[1]) - 3;
    assert!(matches!(decode(&traced[0][..inside_of_a_trace], &stream()), Err(EnvelopeError::Truncated)));
}
