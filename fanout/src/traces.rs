//! The part of a trace that the fan-out sees: the way of an event over the bus.

use std::{sync::Arc, time::Duration};

use common::{
    Event,
    ids::NodeId,
    trace::{Span, SpanKind},
};

/// Records the way of the events that belong to traces, which has just ended and took this long. What follows on this
/// node belongs below it. `events` are nobody else's yet.
pub(crate) fn trace_hop(events: &mut [Arc<Event>], sender: &NodeId, hop: Duration) {
    for event in events {
        let Some(trace) = event.trace() else { continue };
        let span = Span::ending(trace.context, rand::random(), "hop", hop);
        let below = span.context;
        let mut span = span
            .with("draftwire.stream", &event.stream)
            .with("draftwire.seq", event.seq.0)
            .with("draftwire.sender", sender);
        span.kind = SpanKind::Consumer;
        span.record();
        if let Some(event) = Arc::get_mut(event) {
            event.set_trace(below);
        }
    }
}
