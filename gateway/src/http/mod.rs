//! The HTTP side: every route, and what all answers share.

pub(crate) mod bearer;
mod body;
mod caller;
mod demo;
mod drafts;
mod health;
mod history;
mod path;
pub(crate) mod problem;
pub mod prometheus;
mod publish;
mod stream;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, HeaderValue, Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tower_http::cors::{AllowOrigin, CorsLayer};

pub(crate) use self::body::room as body_room;
use crate::{config::Origins, node::Node, ws};

/// Which node answered: for operators, and for checks of stickiness.
pub const NODE_HEADER: HeaderName = HeaderName::from_static("draftwire-node");

/// Every route of the public listener.
pub fn router(node: Arc<Node>) -> Router {
    let api = Router::new()
        .route("/v1/drafts", get(drafts::list).post(drafts::create))
        .route("/v1/drafts/{id}", get(drafts::get).patch(drafts::update).delete(drafts::delete))
        .route("/v1/topics/{topic}/events", get(history::of_topic).post(publish::to_topic))
        .route("/v1/users/{user}/events", post(publish::to_user))
        .route("/v1/broadcast", post(publish::to_all))
        .route("/v1/stream", get(stream::follow))
        .layer(cors(&node.settings.listen.origins));
    Router::new()
        .merge(api)
        .merge(demo::routes(node.settings.listen.demo))
        .route("/ws/realtime", get(ws::upgrade))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/livez", get(health::livez))
        .fallback(|| async { problem::Problem::no_route().into_response() })
        .method_not_allowed_fallback(|| async { problem::Problem::method_not_allowed().into_response() })
        .layer(middleware::from_fn_with_state(node.clone(), name_the_node))
        .with_state(node)
}

async fn name_the_node(State(node): State<Arc<Node>>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Ok(name) = HeaderValue::from_str(node.settings.listen.node.as_str()) {
        response.headers_mut().insert(NODE_HEADER, name);
    }
    response
}

/// Which pages of other origins may call the API (Fetch standard, CORS protocol).
fn cors(origins: &Origins) -> CorsLayer {
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([header::ETAG, header::LOCATION, NODE_HEADER]);
    match origins {
        Origins::Same => layer,
        Origins::Any => layer.allow_origin(AllowOrigin::any()),
        Origins::These(origins) => {
            let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
            layer.allow_origin(AllowOrigin::list(origins))
        }
    }
}
