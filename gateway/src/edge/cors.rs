//! Which pages of other origins may use the API (Fetch standard, CORS protocol).

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::{NODE_HEADER, request_id::REQUEST_ID};
use crate::config::Origins;

/// How long a browser may remember the answer to a preflight. Chromium keeps none for longer.
const MAX_AGE: Duration = Duration::from_secs(2 * 3600);

/// The layer of the API; `None` where only pages of this very origin may use it, which need no permission.
pub(super) fn layer(origins: &Origins) -> Option<CorsLayer> {
    let allowed = match origins {
        Origins::Same => return None,
        Origins::Any => AllowOrigin::any(),
        Origins::These(origins) => {
            AllowOrigin::list(origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()))
        }
    };
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers([
                header::AUTHORIZATION,
                header::CONTENT_TYPE,
                header::IF_MATCH,
                header::IF_NONE_MATCH,
                HeaderName::from_static("idempotency-key"),
                HeaderName::from_static("last-event-id"),
                REQUEST_ID,
            ])
            .expose_headers([
                header::ETAG,
                header::LOCATION,
                header::RETRY_AFTER,
                header::WWW_AUTHENTICATE,
                NODE_HEADER,
                REQUEST_ID,
            ])
            .max_age(MAX_AGE),
    )
}
