//! Content codings (RFC 9110 section 8.4): none in requests, gzip in answers to those who ask for it.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use tower_http::{
    CompressionLevel,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
};

use super::{entity_tag, problem::Problem};

/// The smallest answer that is compressed, in bytes: below it nothing is won.
const COMPRESSED_BYTES_MIN: u64 = 1024;

/// Compresses answers, but never an event stream: its events would wait in the compressor.
pub(super) fn layer() -> CompressionLayer<impl Predicate> {
    // A list of drafts may have many megabytes, and is compressed on a thread that serves others too.
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(COMPRESSED_BYTES_MIN).and(NotForContentType::SSE))
}

/// Gives a compressed answer an entity tag of its own.
pub(super) async fn tag_compressed(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if headers.contains_key(header::CONTENT_ENCODING) {
        let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let own = tag.and_then(entity_tag::compressed);
        if let Some(own) = own.and_then(|tag| HeaderValue::try_from(tag).ok()) {
            headers.insert(header::ETAG, own);
        }
    }
    response
}

/// Refuses a body that is coded in any way.
pub(super) fn check(headers: &HeaderMap) -> Result<(), Problem> {
    let fields = headers.get_all(header::CONTENT_ENCODING).iter();
    let plain = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b',')).all(|coding| {
        let coding = coding.trim_ascii();
        coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
    });
    if plain { Ok(()) } else { Err(Problem::coded_content()) }
}
