//! The part of a trace that the group commit sees.

use std::sync::Arc;

use common::{Event, Seq, TraceContext, trace::Span};

use super::job::Waiting;
use crate::store::{Committed, Done, Refusal, Write};

/// Records how long each write of a trace took, from when it was queued until it was committed, and puts its events
/// below that.
pub(super) fn trace(writes: &[Write], waiting: &[Waiting], committed: &mut Committed) {
    for ((write, waiting), answer) in writes.iter().zip(waiting).zip(&committed.answers) {
        let Some(parent) = waiting.trace else { continue };
        if matches!(answer, Err(Refusal::Locked(_))) {
            // It is tried again.
            continue;
        }
        let stream = write.stream();
        let mut span = Span::ending(parent, rand::random(), "commit", waiting.since.elapsed())
            .with("draftwire.stream", &stream)
            .with("draftwire.batch", writes.len());
        span.failed = answer.is_err();
        let below = span.context;
        if let Ok(done) = answer {
            put_below(below, write, done, &mut committed.events);
            if let Some(seq) = done.seq() {
                span = span.with("draftwire.seq", seq.0);
            }
        }
        span.record();
    }
}

/// The events of a write. What was committed under its key before has none here.
fn put_below(below: TraceContext, write: &Write, done: &Done, events: &mut [Arc<Event>]) {
    let Some(last) = done.seq() else { return };
    let first = Seq((last.0 + 1).saturating_sub(done.events()));
    let stream = write.stream();
    let own = events.iter_mut().filter(|event| event.stream == stream && (first..=last).contains(&event.seq));
    // Whoever else has them already does not get the trace.
    own.filter_map(Arc::get_mut).for_each(|event| event.set_trace(below));
}
