//! Publishing: `POST` to a topic, to a user, to all.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use common::{
    Code, Seq, Stream, TopicName, UserId,
    json::{DEPTH_MAX, Invalid, elements},
    protocol::NewEvent,
};
use serde::Serialize;

use super::{caller::caller, path::Named};
use crate::{
    auth::Identity,
    commands::{
        caller::Caller,
        failure::Failure,
        topics::{Published, Topics},
    },
    edge::{
        body::{self, BodyReader},
        identity::{Authenticator, RequiredIdentity},
        problem::Problem,
        query::Parameters,
    },
};

/// Who publishes.
pub(in crate::edge) struct PublishRequest {
    pub(super) identity: Identity,
    pub(super) caller: Caller,
}

impl<S: Send + Sync> FromRequestParts<S> for PublishRequest
where
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let RequiredIdentity(identity) = RequiredIdentity::from_request_parts(parts, state).await?;
        let parameters = Parameters::of(&parts.uri, &["device"])?;
        let caller = caller(identity.clone(), parameters.get("device")?, parts)?;
        Ok(Self { identity, caller })
    }
}

/// The media type of JSON texts, one per line.
const NDJSON: &str = "application/x-ndjson";

pub(in crate::edge) async fn to_topic(
    State(topics): State<Arc<Topics>>,
    State(bodies): State<BodyReader>,
    publisher: PublishRequest,
    Named(topic): Named<TopicName>,
    request: Request,
) -> Result<Response, Problem> {
    topics.check_publish(&publisher.identity, &topic)?;
    publish(&topics, &bodies, publisher.caller, Stream::Topic(topic), request).await
}

pub(in crate::edge) async fn to_user(
    State(topics): State<Arc<Topics>>,
    State(bodies): State<BodyReader>,
    publisher: PublishRequest,
    Named(user): Named<UserId>,
    request: Request,
) -> Result<Response, Problem> {
    check_service(&publisher.identity)?;
    publish(&topics, &bodies, publisher.caller, Stream::User(user), request).await
}

pub(in crate::edge) async fn to_all(
    State(topics): State<Arc<Topics>>,
    State(bodies): State<BodyReader>,
    publisher: PublishRequest,
    request: Request,
) -> Result<Response, Problem> {
    check_service(&publisher.identity)?;
    publish(&topics, &bodies, publisher.caller, Stream::All, request).await
}

fn check_service(identity: &Identity) -> Result<(), Problem> {
    if identity.scopes.is_service() {
        return Ok(());
    }
    Err(Failure::new(Code::Forbidden, "this needs the scope service").into())
}

async fn publish(
    topics: &Topics,
    bodies: &BodyReader,
    caller: Caller,
    stream: Stream,
    request: Request,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Numbers {
        seq: Seq,
        first: Seq,
    }
    let by_line = is_ndjson(request.headers());
    let bytes = bodies.bytes(request).await?;
    let events = if by_line { lines(&bytes)? } else { one_or_many(&bytes)? };
    Ok(match topics.publish(caller, stream, events).await? {
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
    let text = body::text(bytes)?;
    if !text.trim_ascii_start().starts_with('[') {
        return NewEvent::from_json(text).map(|event| vec![event]).map_err(|error| body::invalid(&error));
    }
    // One more level than what an event carries.
    let texts = elements(text, DEPTH_MAX + 1).map_err(|error| body::invalid(&error))?;
    let event = |(index, text)| NewEvent::from_json(text).map_err(|error| numbered("event", index, &error));
    texts.into_iter().enumerate().map(event).collect()
}

fn lines(bytes: &[u8]) -> Result<Vec<NewEvent>, Problem> {
    let lines = body::text(bytes)?.split('\n').enumerate();
    let event = |(index, line)| NewEvent::from_json(line).map_err(|error| numbered("line", index, &error));
    lines.filter(|(_, line)| !line.trim_ascii().is_empty()).map(event).collect()
}

/// Refuses a part of a body; people count from one.
fn numbered(part: &str, index: usize, error: &Invalid) -> Problem {
    let part = format!("{part} {}", index + 1);
    let sentence = error.sentence(&part);
    // A field's path does not name the part.
    Problem::bad_request(if sentence.starts_with(&part) { sentence } else { format!("{part}: {sentence}") })
}
