//! The part of a trace that the delivery to a connection is.

use common::trace::Span;
use fanout::Deliveries;

/// Records the first delivery of each event that belongs to a trace, from when it was in order on this node.
pub(super) fn trace(due: &[Deliveries]) {
    for delivery in due.iter().flat_map(Deliveries::as_slice) {
        let event = &delivery.event;
        let Some(parent) = event.trace().and_then(|trace| trace.first_delivery()) else { continue };
        Span::ending(parent, rand::random(), "deliver", delivery.sequenced.elapsed())
            .with("draftwire.stream", &event.stream)
            .with("draftwire.seq", event.seq.0)
            .record();
    }
}
