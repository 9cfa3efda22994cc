//! How long requests take, by their route; and what slow ones are called in the log.

use std::time::{Duration, Instant};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    middleware::Next,
    response::Response,
};
use common::{
    operations::{Outcome, Tally},
    trace,
};
use tracing::warn;

use super::{
    request_id::{REQUEST_ID, RequestId},
    traced::Traced,
};
use crate::operations::{self, SlowKind};

/// How long an answer was held back on purpose: an extension of the response. It does not count as time that the request
/// took, because nothing was slow.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeldBack(pub(super) Duration);

/// Names every request, and measures it by its route.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = RequestId::of(request.headers());
    request.extensions_mut().insert(id.clone());
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map(MatchedPath::as_str);
    // Clients may send any word as a method.
    let method = match request.method() {
        method @ (&Method::GET
        | &Method::HEAD
        | &Method::POST
        | &Method::PATCH
        | &Method::DELETE
        | &Method::PUT) => method.clone(),
        _ => Method::OPTIONS,
    };
    let meter = operations::of_route(method.as_str(), path);
    if !method.is_safe() && path.is_some_and(|path| path.starts_with("/v1/")) {
        Tally::MessagesIn.add(1);
    }
    let traced = if trace::is_on() { Traced::begin(&mut request) } else { None };
    let mut response = next.run(request).await;
    let held_back = response.extensions().get::<HeldBack>().map_or(Duration::ZERO, |held_back| held_back.0);
    let (took, status) = (began.elapsed().saturating_sub(held_back), response.status());
    if let Some(traced) = traced {
        traced.end(took, method.as_str(), path.unwrap_or_default(), status);
    }
    let outcome = if status.is_server_error() { Outcome::Error } else { Outcome::Ok };
    meter.record(outcome, took);
    if let Some(left) = operations::may_report(SlowKind::Request, took) {
        warn!(
            request = id.as_str(),
            trace = id.trace(),
            %method,
            route = path.unwrap_or_default(),
            status = status.as_u16(),
            took_ms = took.as_millis() as u64,
            left_out = left.0,
            "slow request"
        );
    }
    response.headers_mut().insert(REQUEST_ID, id.header());
    response
}
