//! Publishing: `POST` to a topic, to a user, to all.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Query, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use common::{Code, DeviceId, Seq, Stream, TopicName, UserId, protocol::NewEvent};
use serde::{Deserialize, Serialize};

use super::{bearer, body, caller::caller, path::Named, problem::Problem};
use crate::{auth::Identity, caller::Caller, failure::Failure, node::Node, topics::Published};

/// Query parameters of the routes. Unknown ones are refused, as everywhere.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Parameters {
    device: Option<DeviceId>,
    /// Read by [`bearer`].
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// Who publishes.
pub(super) struct Publisher {
    identity: Identity,
    caller: Caller,
}

impl FromRequestParts<Arc<Node>> for Publisher {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Problem> {
        let bearer::Caller(identity) = bearer::Caller::from_request_parts(parts, node).await?;
        let Query(Parameters { device, .. }) = Query::from_request_parts(parts, node)
            .await
            .map_err(|error| Problem::bad_request(error.body_text()))?;
        let caller = caller(identity.clone(), device, &parts.headers)?;
        Ok(Self { identity, caller })
    }
}

/// The media type of JSON texts, one per line.
const NDJSON: &str = "application/x-ndjson";

pub(super) async fn to_topic(
    State(node): State<Arc<Node>>,
    publisher: Publisher,
    Named(topic): Named<TopicName>,
    request: Request,
) -> Result<Response, Problem> {
    node.topics.check_publish(&publisher.identity, &topic)?;
    publish(&node, publisher.caller, Stream::Topic(topic), request).await
}

pub(super) async fn to_user(
    State(node): State<Arc<Node>>,
    publisher: Publisher,
    Named(user): Named<UserId>,
    request: Request,
) -> Result<Response, Problem> {
    check_service(&publisher.identity)?;
    publish(&node, publisher.caller, Stream::User(user), request).await
}

pub(super) async fn to_all(
    State(node): State<Arc<Node>>,
    publisher: Publisher,
    request: Request,
) -> Result<Response, Problem> {
    check_service(&publisher.identity)?;
    publish(&node, publisher.caller, Stream::All, request).await
}

fn check_service(identity: &Identity) -> Result<(), Problem> {
    if identity.scopes.is_service() {
        return Ok(());
    }
    Err(Failure::new(Code::Forbidden, "this needs the scope service").into())
}

async fn publish(node: &Node, caller: Caller, stream: Stream, request: Request) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Numbers {
        seq: Seq,
        first: Seq,
    }
    let by_line = is_ndjson(request.headers());
    let bytes = body::bytes(node, request).await?;
    let events = if by_line { lines(&bytes)? } else { one_or_many(&bytes)? };
    Ok(match node.topics.publish(caller, stream, events).await? {
        Published::Events { first, seq } => {
            (StatusCode::CREATED, Json(Numbers { seq, first })).into_response()
        }
        Published::Signals => StatusCode::ACCEPTED.into_response(),
    })
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type =
        media_type.map(|value| value.split_once(';').map_or(value, |(media_type, _)| media_type));
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(NDJSON))
}

fn one_or_many(bytes: &[u8]) -> Result<Vec<NewEvent>, Problem> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        body::json(bytes)
    } else {
        body::json(bytes).map(|event| vec![event])
    }
}

fn lines(bytes: &[u8]) -> Result<Vec<NewEvent>, Problem> {
    let mut events = Vec::new();
    for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let event = serde_json::from_slice(line)
            .map_err(|error| Problem::bad_request(format!("line {}: {error}", number + 1)))?;
        events.push(event);
    }
    Ok(events)
}
