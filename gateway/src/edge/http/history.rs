//! `GET /v1/topics/{topic}/events`: what the log holds of a topic.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::Uri,
    response::{IntoResponse, Response},
};
use common::{Code, Cursor, Epoch, Event, Seq, Stream, TopicName};
use fanout::log::Page;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::path::Named;
use crate::{
    commands::{failure::Failure, topics::Topics},
    edge::{identity::OptionalIdentity, problem::Problem, query::Parameters},
    store::History,
};

/// Events in an answer when no limit is given.
const LIMIT: u32 = 100;

/// Events in an answer at most. The log's bound on bytes may make it fewer.
const LIMIT_MAX: u32 = 1000;

#[derive(Serialize)]
struct Body<'a> {
    epoch: &'a Epoch,
    head: Seq,
    floor: Seq,
    events: Vec<&'a RawValue>,
    cursor: Cursor,
}

/// Where the topic stands, for a cursor that means nothing here.
#[derive(Serialize)]
struct Position<'a> {
    epoch: &'a Epoch,
    head: Seq,
    floor: Seq,
}

pub(in crate::edge) async fn of_topic(
    State(topics): State<Arc<Topics>>,
    OptionalIdentity(identity): OptionalIdentity,
    Named(topic): Named<TopicName>,
    uri: Uri,
) -> Result<Response, Problem> {
    let parameters = Parameters::of(&uri, &["cursor", "limit"])?;
    let cursor: Option<Cursor> = parameters.get("cursor")?;
    let limit = parameters.number("limit")?.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be 1 to {LIMIT_MAX}")));
    }
    topics.authorize_follow(identity.as_ref(), &topic).await?;
    let stream = Stream::Topic(topic);
    let mut after = cursor.as_ref().map_or(Seq(0), |cursor| cursor.seq);
    let mut history = topics.history(stream.clone(), after, limit).await?;
    check(cursor.as_ref(), &history)?;
    if history.page.floor > after {
        after = history.page.floor;
        history = topics.history(stream, after, limit).await?;
    }
    let History { page: Page { epoch, events, floor }, head } = &history;
    let seq = events.last().map_or(after, |last| last.seq);
    let events: Vec<&RawValue> = events.iter().filter_map(|event| raw(event)).collect();
    let cursor = Cursor { epoch: epoch.clone(), seq };
    Ok(Json(Body { epoch, head: *head, floor: *floor, events, cursor }).into_response())
}

/// Whether the cursor is a position in the history that was read.
fn check(cursor: Option<&Cursor>, history: &History) -> Result<(), Problem> {
    let History { page: Page { epoch, floor, .. }, head } = history;
    match cursor {
        Some(cursor) if cursor.epoch != *epoch || cursor.seq > *head => {
            let position = Position { epoch, head: *head, floor: *floor };
            let message = format!("the cursor {cursor} is no position in this history");
            let failure = Failure::new(Code::Conflict, message);
            Err(Failure { payload: to_raw_value(&position).ok(), ..failure }.into())
        }
        _ => Ok(()),
    }
}

/// The event as over the socket.
fn raw(event: &Event) -> Option<&RawValue> {
    serde_json::from_slice(event.json()).ok()
}
