//! `GET /openapi.json`: the description of the HTTP API, compiled into the binary.

use std::sync::LazyLock;

use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use sha2::{Digest, Sha256};

use crate::edge::entity_tag::Condition;

/// docs/openapi.yaml with its schemas, as one document; a test holds the two equal.
const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// Bytes of the digest in the entity tag: enough to tell two versions of the server apart.
const TAG_BYTES: usize = 8;

/// What stands between the quotes of the entity tag.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let digest = Sha256::digest(DOCUMENT.as_bytes());
    digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect()
});

/// For whoever asks: it says nothing that the documentation does not.
pub(in crate::edge) async fn document(headers: HeaderMap) -> Response {
    let known = Condition::read(&headers, &header::IF_NONE_MATCH).ok().flatten();
    let known = known.and_then(|known| known.naming(&TAG));
    let tag = known.clone().unwrap_or_else(|| format!("\"{}\"", *TAG));
    // A new version of the server brings its own description.
    let caching = [(header::CACHE_CONTROL, "no-cache".to_owned()), (header::ETAG, tag)];
    if known.is_some() {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
