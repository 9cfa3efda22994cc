//! Every route of the public listener, and what all answers share.

use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use tower::util::option_layer;

use super::{
    NODE_HEADER, content_coding, cors,
    http::{
        cluster, connections, console, demo, disconnect, drafts, health, history, live, openapi,
        operations as admin_operations, presence, publish, settings, streams, webhooks,
    },
    identity::PrivateListener,
    measure,
    problem::Problem,
    sse,
    state::EdgeState,
    ws,
};

/// The routes of operators, below `/v1`.
fn admin() -> Router<EdgeState> {
    Router::new()
        .route("/admin/users/{user}/disconnect", post(disconnect::user))
        .route("/admin/cluster", get(cluster::show))
        .route("/admin/cluster/history", get(cluster::history))
        .route("/admin/connections", get(connections::list))
        .route("/admin/streams/{stream}", get(streams::show))
        .route("/admin/live", get(live::follow))
        .route("/admin/operations", get(admin_operations::show))
        .route("/admin/settings", get(settings::list))
        .route("/admin/settings/history", get(settings::history))
        .route("/admin/settings/{name}", get(settings::get).put(settings::set).delete(settings::unset))
        .route("/admin/webhooks", get(webhooks::list).post(webhooks::create))
        .route("/admin/webhooks/{id}", get(webhooks::get).patch(webhooks::edit).delete(webhooks::remove))
        .route("/admin/webhooks/{id}/replay", post(webhooks::replay))
        .route("/admin/webhooks/{id}/secret", post(webhooks::rotate))
}

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
            .merge(admin()),
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
    .layer(middleware::from_fn(measure::observe))
    .with_state(state)
}

/// The routes of operators for the private listener: whoever reaches that one needs no token.
pub(crate) fn private(state: EdgeState) -> Router {
    Router::new()
        .nest("/v1", with_fallbacks(admin()))
        .layer(middleware::from_fn_with_state(state.clone(), add_headers))
        .layer(middleware::from_fn(measure::observe))
        .layer(Extension(PrivateListener))
        .with_state(state)
}

/// Answers what no route takes.
fn with_fallbacks(router: Router<EdgeState>) -> Router<EdgeState> {
    router
        .fallback(|| async { Problem::no_route() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
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
