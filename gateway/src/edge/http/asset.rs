//! Files of the pages that are compiled into the binary.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

/// What a page may load: its own files and streams of events, and sockets (CSP level 3).
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// A file of a page.
pub(super) struct Asset {
    /// Where it is served.
    pub(super) path: &'static str,
    /// What is in it.
    pub(super) text: &'static str,
}

/// A file below `gateway/`, served at a path.
macro_rules! asset {
    ($path:literal, $file:literal) => {
        crate::edge::http::asset::Asset {
            path: $path,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file)),
        }
    };
}
pub(super) use asset;

impl Asset {
    fn media_type(&self) -> &'static str {
        match self.path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/html; charset=utf-8",
        }
    }

    fn answer(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, self.media_type()),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // A new version of the server brings its own page.
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, self.text).into_response()
    }
}

/// Serves them.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(assets: &'static [Asset]) -> Router<S> {
    assets
        .iter()
        .fold(Router::new(), |router, asset| router.route(asset.path, get(|| async { asset.answer() })))
}
