//! Reading the bodies of requests.

use axum::{
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::StatusCode,
};
use bytes::Bytes;
use common::Code;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::failure::Failure;

/// The whole body; the router bounds it.
pub(super) async fn bytes(request: Request) -> Result<Bytes, Problem> {
    Bytes::from_request(request, &()).await.map_err(|error: BytesRejection| {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            Failure::new(Code::TooLarge, "the body is larger than MAX_MESSAGE_BYTES").into()
        } else {
            Problem::bad_request(error.body_text())
        }
    })
}

/// A JSON text, whatever the request says of its type.
pub(super) fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes)
        .map_err(|error| Problem::bad_request(format!("the body is not what this route takes: {error}")))
}
