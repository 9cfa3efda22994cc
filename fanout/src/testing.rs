//! Events for the tests of this crate.

use std::sync::Arc;

use common::{Event, Seq, Stream};
use serde_json::value::RawValue;

/// The stream of the events that [`event`] makes.
pub(crate) fn stream() -> Stream {
    "topic:t".parse().expect("a valid name")
}

/// Event number `seq` of [`stream`].
pub(crate) fn event(seq: u64) -> Arc<Event> {
    with_payload(seq, seq.to_string())
}

/// The same with a payload of so many bytes.
pub(crate) fn large_event(seq: u64, bytes: usize) -> Arc<Event> {
    with_payload(seq, format!("\"{}\"", "x".repeat(bytes - 2)))
}

fn with_payload(seq: u64, payload: String) -> Arc<Event> {
    Arc::new(Event::new(
        stream(),
        Seq(seq),
        "TEST".parse().expect("a valid name"),
        "device".parse().expect("a valid name"),
        0,
        RawValue::from_string(payload).expect("it is JSON"),
    ))
}
