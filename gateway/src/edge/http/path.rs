//! Names in paths.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use common::ids::InvalidId;

use crate::edge::problem::Problem;

/// What the path names: its one variable part, decoded (RFC 3986 section 2.1) before it is compared with
/// the rules of its kind, so that no encoding gets around them.
pub(in crate::edge) struct Named<T>(pub(in crate::edge) T);

impl<S: Send + Sync, T: FromStr<Err = InvalidId>> FromRequestParts<S> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Problem::bad_request("the name in the path is not UTF-8"))?;
        name.parse().map(Self).map_err(|error: InvalidId| Problem::bad_request(error.to_string()))
    }
}
