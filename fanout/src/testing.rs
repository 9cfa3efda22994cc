//! Events for the tests of this crate.

use std::sync::Arc;

use common::{Event, Priority, Seq, Signal, Stream};
use serde_json::value::RawValue;

/// The stream of the events that [`event`] makes.
pub(crate) fn stream() -> Stream {
    "topic:t".parse().expect("a valid name")
}

/// Event number `seq` of [`stream`].
pub(crate) fn event(seq: u64) -> Arc<Event> {
    with_payload(seq, seq.to_string())
}

/// The same with a payload of `bytes` bytes.
pub(crate) fn large_event(seq: u64, bytes: usize) -> Arc<Event> {
    with_payload(seq, format!("\"{}\"", "x".repeat(bytes - 2)))
}

/// The same with high priority.
pub(crate) fn urgent_event(seq: u64) -> Arc<Event> {
    Arc::new(new(seq, seq.to_string()).with_priority(Priority::High))
}

/// A signal of [`stream`].
pub(crate) fn signal(payload: &str) -> Arc<Signal> {
    Arc::new(Signal::new(
        stream(),
        "TYPING".parse().expect("a valid name"),
        "device".parse().expect("a valid name"),
        RawValue::from_string(payload.to_owned()).expect("it is JSON"),
    ))
}

fn with_payload(seq: u64, payload: String) -> Arc<Event> {
    Arc::new(new(seq, payload))
}

fn new(seq: u64, payload: String) -> Event {
    Event::new(
        stream(),
        Seq(seq),
        "TEST".parse().expect("a valid name"),
        "device".parse().expect("a valid name"),
        0,
        RawValue::from_string(payload).expect("it is JSON"),
    )
}
