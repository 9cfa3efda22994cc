//! Every route of the public listener, and what all answers share.

use std::time::Instant;

use axum::{
    Router,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, Method, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use common::{
    operations::{Outcome, Tally},
    trace,
};
use tower::util::option_layer;
use tracing::warn;

use super::{
    NODE_HEADER, content_coding, cors,
    http::{
        cluster, console, demo, disconnect, drafts, health, history, live, openapi,
        operations as admin_operations, presence, publish, settings, webhooks,
    },
    problem::Problem,
    request_id::{REQUEST_ID, RequestId},
    sse,
    state::EdgeState,
    traced::Traced,
    ws,
};
use crate::operations::{self, SlowKind};

/// Every route of the public listener.
pub fn router(state: EdgeState) -> Router {
    // With fallbacks of its own, below its layers: what refuses a request is an answer of the API too.
    let api = with_fallbacks(
        Router::new()
            .route("/drafts", get(drafts::list).post(drafts::create))
            .route("/drafts/{id}", get(drafts::get).patch(drafts::update).delete(drafts::delete))
            .route("/topics/{topic}/events", get(history::of_topic).post(publish::to_topic))
            .route("/topics/{topic}/presence", get(presence::of_topic))
            .route("/users/{user}/events", post(publish::to_user))
            .route("/broadcast", post(publish::to_all))
            .route("/stream", get(sse::follow))
            .route("/admin/users/{user}/disconnect", post(disconnect::user))
            .route("/admin/cluster", get(cluster::show))
            .route("/admin/cluster/history", get(cluster::history))
            .route("/admin/live", get(live::follow))
            .route("/admin/operations", get(admin_operations::show))
            .route("/admin/settings", get(settings::list))
            .route("/admin/settings/history", get(settings::history))
            .route("/admin/settings/{name}", get(settings::get).put(settings::set).delete(settings::unset))
            .route("/admin/webhooks", get(webhooks::list).post(webhooks::create))
            .route("/admin/webhooks/{id}", get(webhooks::get).patch(webhooks::edit).delete(webhooks::remove))
            .route("/admin/webhooks/{id}/replay", post(webhooks::replay))
            .route("/admin/webhooks/{id}/secret", post(webhooks::rotate)),
    )
    .layer(option_layer(cors::layer(&state.context().listen.origins)));
    with_fallbacks(
        Router::new()
            .nest("/v1", api)
            .merge(demo::routes(state.context().listen.demo))
            .merge(console::routes())
            .route("/ws/realtime", get(ws::upgrade))
            .route("/openapi.json", get(openapi::document))
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .route("/livez", get(health::livez)),
    )
    .layer(content_coding::layer())
    .layer(middleware::from_fn(content_coding::tag_compressed))
    .layer(middleware::from_fn_with_state(state.clone(), add_headers))
    .layer(middleware::from_fn(observe))
    .with_state(state)
}

/// Answers what no route takes.
fn with_fallbacks(router: Router<EdgeState>) -> Router<EdgeState> {
    router
        .fallback(|| async { Problem::no_route() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
}

/// Names every request, and measures it by its route.
async fn observe(mut request: Request, next: Next) -> Response {
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
    let (took, status) = (began.elapsed(), response.status());
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

/// Adds what all answers have in common: who answers, and, unless an answer says for itself how caches may
/// keep it, that none may.
async fn add_headers(State(state): State<EdgeState>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Ok(name) = HeaderValue::from_str(state.context().listen.node.as_str()) {
        headers.insert(NODE_HEADER, name);
    }
    response
}
