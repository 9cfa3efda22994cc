//! The part of a trace that a request over HTTP is.

use std::time::Duration;

use axum::{extract::Request, http::StatusCode};
use common::{
    TraceContext,
    trace::{Span, SpanKind},
};

/// A request that belongs to a sampled trace.
pub(super) struct Traced {
    parent: TraceContext,
    span: u64,
}

impl Traced {
    /// Begins the span of a request with a sampled `traceparent`. What the request does finds its place in the trace as
    /// an extension of it.
    pub(super) fn begin(request: &mut Request) -> Option<Self> {
        let given = request.headers().get("traceparent")?.to_str().ok()?;
        let parent = TraceContext::of_traceparent(given)?;
        let span = rand::random();
        request.extensions_mut().insert(parent.child(span));
        Some(Self { parent, span })
    }

    /// Ends it with the answer. The answer's body may still be on its way, for hours where it is an event stream.
    pub(super) fn end(self, took: Duration, method: &str, route: &str, status: StatusCode) {
        let mut span = Span::ending(self.parent, self.span, format!("{method} {route}"), took)
            .with("http.request.method", method)
            .with("http.route", route)
            .with("http.response.status_code", status.as_u16());
        span.kind = SpanKind::Server;
        span.failed = status.is_server_error();
        span.record();
    }
}
