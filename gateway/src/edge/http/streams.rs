//! `GET /v1/admin/streams/{stream}`: where a stream stands, who follows it, and its newest events.

use std::sync::Arc;

use axum::{Json, extract::State, http::Uri};
use common::{Code, Epoch, Event, Priority, Seq, Stream, time::unix_ms};
use serde::Serialize;
use serde_json::value::RawValue;

use super::path::Named;
use crate::{
    cluster::{Cluster, StreamFollowers},
    commands::{failure::Failure, topics::Topics},
    edge::{
        identity::{RequiredIdentity, check_admin},
        problem::Problem,
        query::Parameters,
    },
    store::History,
};

/// Events in an answer when no limit is given.
const LIMIT: usize = 20;

/// How many of the newest events are looked at, and shown at most. Where they are large, a page of the log does not reach
/// the head: then fewer.
const LOOKED_AT: [u64; 3] = [100, 10, 1];

/// Over how long events are counted.
const RATE_MS: u64 = 60_000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::edge) struct Body {
    stream: String,
    epoch: Epoch,
    head: Seq,
    floor: Seq,
    events_per_second: f64,
    followers: Vec<Followers>,
    missing: Vec<String>,
    complete: bool,
    newest: Vec<Newest>,
}

#[derive(Serialize)]
struct Followers {
    node: String,
    count: u64,
}

/// An event. What it carries is shown only to those who may see it.
#[derive(Serialize)]
struct Newest {
    seq: Seq,
    #[serde(rename = "type")]
    kind: String,
    origin: String,
    timestamp: u64,
    priority: Priority,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Box<RawValue>>,
}

pub(in crate::edge) async fn show(
    RequiredIdentity(identity): RequiredIdentity,
    State(cluster): State<Arc<Cluster>>,
    State(topics): State<Arc<Topics>>,
    Named(stream): Named<Stream>,
    uri: Uri,
) -> Result<Json<Body>, Problem> {
    check_admin(&identity)?;
    let parameters = Parameters::of(&uri, &["payload", "limit"])?;
    let with_payload = parameters.flag("payload")?;
    if with_payload && !identity.scopes.may_see_payloads() {
        return Err(Failure::new(Code::Forbidden, "payloads need the scope admin:payload").into());
    }
    let limit = parameters.number("limit")?.unwrap_or(LIMIT);
    let max = LOOKED_AT[0];
    if limit == 0 || limit as u64 > max {
        return Err(Problem::bad_request(format!("limit must be 1 to {max}")));
    }
    let history = newest(&topics, &stream).await?;
    let followers = cluster.followers(&stream).await.map_err(|_| Problem::too_many_questions())?;
    let StreamFollowers { by_node, missing, complete } = followers;
    let events = &history.page.events;
    let shown = events.iter().rev().take(limit).rev();
    Ok(Json(Body {
        stream: stream.to_string(),
        epoch: history.page.epoch.clone(),
        head: history.head,
        floor: history.page.floor,
        events_per_second: rate(events.iter().map(|event| event.timestamp), unix_ms()),
        followers: by_node.into_iter().map(|(node, count)| Followers { node, count }).collect(),
        missing,
        complete,
        newest: shown.map(|event| Newest::of(event, with_payload)).collect(),
    }))
}

/// The newest events, up to the head.
async fn newest(topics: &Topics, stream: &Stream) -> Result<History, Problem> {
    let mut history = topics.history(stream.clone(), Seq(0), 1).await?;
    for count in LOOKED_AT {
        let after = Seq(history.head.0.saturating_sub(count)).max(history.page.floor);
        // More than it is asked for may have come meanwhile.
        let limit = u32::try_from(2 * LOOKED_AT[0]).unwrap_or(u32::MAX);
        history = topics.history(stream.clone(), after, limit).await?;
        if history.page.events.last().is_none_or(|last| last.seq >= history.head) {
            break;
        }
    }
    Ok(history)
}

/// Events in a second, of the newest ones: over the last minute, or over the time that they took where that is less.
fn rate(timestamps: impl Iterator<Item = u64>, now: u64) -> f64 {
    let recent: Vec<u64> = timestamps.filter(|at| now.saturating_sub(*at) < RATE_MS).collect();
    let all = recent.len() as u64 >= LOOKED_AT[0];
    let span = if all { now.saturating_sub(recent.first().copied().unwrap_or(now)).max(1) } else { RATE_MS };
    (recent.len() as f64 * 1_000_000.0 / span as f64).round() / 1000.0
}

impl Newest {
    fn of(event: &Event, with_payload: bool) -> Self {
        Self {
            seq: event.seq,
            kind: event.kind.to_string(),
            origin: event.origin.to_string(),
            timestamp: event.timestamp,
            priority: event.priority,
            bytes: event.payload.get().len(),
            payload: with_payload.then(|| event.payload.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_minute_or_of_as_many_events_as_are_looked_at() {
        let now = 1_000_000;
        assert_eq!(rate([].into_iter(), now), 0.0);
        assert_eq!(rate([now - 70_000, now - 30_000, now - 1].into_iter(), now), 0.033);
        assert_eq!(rate((0..100).rev().map(|n| now - 20 * n), now), 50.505);
    }
}
