//! Where a request carries its token.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, header, request::Parts},
};
use common::time::unix_ms;
use metrics::counter;

use super::problem::Problem;
use crate::{
    auth::{AuthError, Identity},
    commands::failure::Failure,
    node::Node,
};

/// The token: the first of `Authorization: Bearer` (RFC 6750 section 2.1), a subprotocol entry, the
/// query parameter `token`.
fn token<'a>(
    headers: &'a HeaderMap,
    subprotocol: Option<&'a str>,
    query: &'a HashMap<String, String>,
) -> Result<&'a str, AuthError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        // The scheme's name has no case (RFC 9110 section 11.1).
        let (scheme, token) =
            value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(AuthError::Malformed)?;
        return if scheme.eq_ignore_ascii_case("bearer") {
            Ok(token.trim())
        } else {
            Err(AuthError::Malformed)
        };
    }
    subprotocol.or_else(|| query.get("token").map(String::as_str)).ok_or(AuthError::Missing)
}

/// Who a request speaks for: `None` for one that shows no token where there are topics open to
/// everybody. Refusals are counted here, for handshakes and for the API.
pub(crate) async fn identify(
    node: &Node,
    headers: &HeaderMap,
    subprotocol: Option<&str>,
    query: &HashMap<String, String>,
) -> Result<Option<Identity>, AuthError> {
    let verified = match token(headers, subprotocol, query) {
        Ok(token) => node.verifier.verify(token, unix_ms()).await.map(Some),
        Err(AuthError::Missing) if node.topics.any_public() => Ok(None),
        Err(error) => Err(error),
    };
    verified.inspect_err(|error| {
        counter!("draftwire_tokens_refused_total", "why" => error.label()).increment(1);
    })
}

/// The caller of an API route, if it shows a token; with a bad one the answer is 401.
pub(crate) struct Visitor(pub(crate) Option<Identity>);

impl FromRequestParts<Arc<Node>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Problem> {
        let Query(query) = Query::<HashMap<String, String>>::from_request_parts(parts, node)
            .await
            .map_err(|_| Problem::bad_request("the query cannot be read"))?;
        let identified = identify(node, &parts.headers, None, &query).await;
        identified.map(Self).map_err(|error| Failure::from(error).into())
    }
}

/// The caller of an API route; without a valid token the answer is 401.
pub(crate) struct Caller(pub(crate) Identity);

impl FromRequestParts<Arc<Node>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Problem> {
        let Visitor(identity) = Visitor::from_request_parts(parts, node).await?;
        identity.map(Self).ok_or_else(|| Failure::from(AuthError::Missing).into())
    }
}
