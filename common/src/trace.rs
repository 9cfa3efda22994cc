//! Traces: which change belongs to which trace (W3C Trace Context), and the spans that are recorded of it.
//!
//! Only what came with a sampled `traceparent` has a context, and spans are recorded only where the process has
//! said who takes them. Whoever else is met pays one comparison.

use std::{
    borrow::Cow,
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::time::unix_micros;

/// A place in a trace: the trace, and the span that what follows belongs below. It exists only where the trace is
/// sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The id of the trace.
    pub trace: [u8; 16],
    /// The id of the span.
    pub span: [u8; 8],
}

impl TraceContext {
    /// Reads a `traceparent`. `None` where it is malformed, or the trace is not sampled.
    pub fn of_traceparent(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let [version] = hex(version)?;
        // Later versions may have more parts.
        if version == 0xff || (version == 0 && parts.next().is_some()) {
            return None;
        }
        let (trace, span, [flags]): ([u8; 16], [u8; 8], [u8; 1]) = (hex(trace)?, hex(span)?, hex(flags)?);
        let sampled = flags & 1 == 1;
        (sampled && trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span })
    }

    /// The place below it, of a span with this id.
    #[must_use]
    pub fn child(&self, span: u64) -> Self {
        // Zero is the id of no span.
        Self { trace: self.trace, span: span.max(1).to_be_bytes() }
    }
}

/// Reads lower-case hexadecimal digits.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(bytes)
}

/// The trace of an event in memory.
#[derive(Debug)]
pub struct EventTrace {
    /// The span that the event comes from: its commit, or its way over the bus.
    pub context: TraceContext,
    delivered: AtomicBool,
}

impl EventTrace {
    /// Of an event that no connection was handed yet.
    pub fn new(context: TraceContext) -> Self {
        Self { context, delivered: AtomicBool::new(false) }
    }

    /// Returns the context at the first call alone: a topic with ten thousand followers has one span for each node.
    pub fn first_delivery(&self) -> Option<TraceContext> {
        (!self.delivered.swap(true, Ordering::Relaxed)).then_some(self.context)
    }
}

/// Where a span stands between the parts of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// A request is answered.
    Server,
    /// A message of another node is taken.
    Consumer,
    /// Anything else.
    Internal,
}

/// A part of a trace, over.
#[derive(Debug)]
pub struct Span {
    /// Its own place.
    pub context: TraceContext,
    /// The span that it is a part of.
    pub parent: [u8; 8],
    /// What was done.
    pub name: Cow<'static, str>,
    /// Where it stands.
    pub kind: SpanKind,
    /// When it began and ended, Unix microseconds.
    pub time: (u64, u64),
    /// Whether it failed.
    pub failed: bool,
    /// What else is known of it.
    pub attributes: Vec<(&'static str, String)>,
}

impl Span {
    /// A span that ends now, after so long; `span` is its id.
    pub fn ending(
        parent: TraceContext,
        span: u64,
        name: impl Into<Cow<'static, str>>,
        took: Duration,
    ) -> Self {
        let now = unix_micros();
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        Self {
            context: parent.child(span),
            parent: parent.span,
            name: name.into(),
            kind: SpanKind::Internal,
            time: (now.saturating_sub(took), now),
            failed: false,
            attributes: Vec::new(),
        }
    }

    /// Says something of it.
    #[must_use]
    pub fn with(mut self, attribute: &'static str, value: impl fmt::Display) -> Self {
        self.attributes.push((attribute, value.to_string()));
        self
    }

    /// Hands it to whoever takes the spans of this process.
    pub fn record(self) {
        if let Some(sink) = SINK.get() {
            sink(self);
        }
    }
}

type Sink = Box<dyn Fn(Span) + Send + Sync>;

static SINK: OnceLock<Sink> = OnceLock::new();

/// Says who takes the spans of this process; it must not block. The first one stays.
pub fn install(sink: impl Fn(Span) + Send + Sync + 'static) {
    // There is one already.
    let _ = SINK.set(Box::new(sink));
}

/// Returns whether spans are taken.
pub fn is_on() -> bool {
    SINK.get().is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_sampled_traceparent_is_a_context_and_nothing_else_is() {
        let context = TraceContext::of_traceparent(&format!("00-{TRACE}-00f067aa0ba902b7-01")).unwrap();
        assert_eq!(context.span, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
        assert_eq!(context.trace[..2], [0x4b, 0xf9]);
        assert_eq!(context.child(0).span, 1_u64.to_be_bytes());
        // Of a version to come.
        assert!(TraceContext::of_traceparent(&format!("01-{TRACE}-00f067aa0ba902b7-03-more")).is_some());
        for none in [
            String::new(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-00"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "é".repeat(16)),
        ] {
            assert_eq!(TraceContext::of_traceparent(&none), None, "{none}");
        }
    }

    #[test]
    fn an_event_is_delivered_for_the_first_time_once() {
        let context = TraceContext { trace: [1; 16], span: [2; 8] };
        let event = EventTrace::new(context);
        assert_eq!(event.first_delivery(), Some(context));
        assert_eq!(event.first_delivery(), None);
    }
}
