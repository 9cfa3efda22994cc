//! Errors over HTTP: problem details (RFC 9457), with the same codes as over the socket.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::Code;
use metrics::counter;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::commands::failure::Failure;

/// An error response.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    failure: Failure,
}

#[derive(Serialize)]
struct Body<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: Code,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
}

/// What a client should wait before it repeats something that was unavailable, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

impl Problem {
    fn with_status(status: StatusCode, code: Code, message: &str) -> Self {
        Self { status, failure: Failure::new(code, message) }
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Failure::new(Code::BadRequest, message).into()
    }

    pub(crate) fn unavailable(message: &str) -> Self {
        Failure::new(Code::Unavailable, message).into()
    }

    /// Whether it is trouble that passes by itself.
    pub(crate) fn is_unavailable(&self) -> bool {
        self.failure.code == Code::Unavailable
    }

    /// What was refused, and why.
    pub(super) fn failure(&self) -> &Failure {
        &self.failure
    }

    /// This node asks the others as many questions as it may.
    pub(crate) fn too_many_questions() -> Self {
        let message = "this node waits for the answers of other nodes too often; come back in a moment";
        Failure::new(Code::RateLimited, message).into()
    }

    pub(crate) fn no_route() -> Self {
        Self::with_status(StatusCode::NOT_FOUND, Code::NotFound, "there is nothing at this path")
    }

    pub(crate) fn method_not_allowed() -> Self {
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self::with_status(status, Code::BadRequest, "this path does not take this method")
    }

    /// RFC 6455 section 4.2.1 and RFC 9110 section 15.5.22.
    pub(crate) fn upgrade_required() -> Self {
        let status = StatusCode::UPGRADE_REQUIRED;
        Self::with_status(status, Code::BadRequest, "this path takes WebSocket handshakes, version 13")
    }

    /// RFC 9110 section 15.5.16.
    pub(crate) fn coded_content() -> Self {
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Self::with_status(status, Code::BadRequest, "send the body as it is, without Content-Encoding")
    }

    /// RFC 9110 section 15.6.2.
    pub(crate) fn not_implemented(message: &str) -> Self {
        Self::with_status(StatusCode::NOT_IMPLEMENTED, Code::BadRequest, message)
    }

    /// RFC 6585 section 3.
    pub(crate) fn precondition_required(message: &str) -> Self {
        Self::with_status(StatusCode::PRECONDITION_REQUIRED, Code::BadRequest, message)
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = StatusCode::from_u16(failure.code.http_status());
        let mut status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if failure.precondition {
            status = StatusCode::PRECONDITION_FAILED;
        }
        Self { status, failure }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, failure } = self;
        counter!("draftwire_errors_total", "code" => failure.code.as_str()).increment(1);
        let body = Body {
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: &failure.message,
            code: failure.code,
            payload: failure.payload.as_deref(),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER);
            }
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            }
            StatusCode::UPGRADE_REQUIRED => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            }
            _ => {}
        }
        response
    }
}
