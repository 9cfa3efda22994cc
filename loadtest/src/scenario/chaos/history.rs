//! What a run was: what was asked for, what was answered, what every follower saw, what was broken.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use testkit::device::{DraftState, digest};

use super::plan::{How, Part};
use crate::checks::Outcome;

/// Microseconds since the run began.
pub(super) type Moment = u64;

/// One change that was asked for. It becomes one event of its stream, or none.
#[derive(Debug, Clone)]
pub(super) struct Op {
    /// Another for each change of the run; the content carries it.
    pub(super) id: u64,
    /// Who asked, as stories name it.
    pub(super) client: String,
    pub(super) what: What,
    /// What its event must be.
    pub(super) content: Content,
    pub(super) invoked: Moment,
    pub(super) answered: Option<Moment>,
    pub(super) outcome: Outcome,
}

/// How it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// `DRAFT_CREATE`.
    Create { draft: String },
    /// `DRAFT_UPDATE`: the client's own field becomes the number of the change.
    Edit { draft: String, field: String },
    /// `PUBLISH`.
    Publish,
    /// `POST` with `Idempotency-Key`. `with` is the first change of the same request, when this is a further
    /// one: all of them happen, one right after the other, or none.
    Post { with: Option<u64> },
}

/// What is compared of an event, wherever it is seen: its type, its origin, and what its author gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Content {
    /// The change that it names; `None` when it names none.
    pub(super) op: Option<u64>,
    digest: u64,
}

impl Content {
    /// Of a change as it is asked for; `draft` is null where there is none.
    pub(super) fn new(kind: &str, origin: &str, draft: &Value, body: &Value) -> Self {
        let op = body.as_object().and_then(|fields| fields.values().find_map(Value::as_u64));
        Self { op, digest: digest(kind, &json!([origin, draft, body])) }
    }

    /// Of an event as it is sent.
    pub(super) fn of(event: &Value) -> Self {
        let kind = event["type"].as_str().unwrap_or_default();
        let payload = &event["payload"];
        let (draft, body) = match kind {
            "DRAFT_CREATED" => (&payload["draftId"], &payload["content"]),
            "DRAFT_UPDATED" => (&payload["draftId"], &payload["patch"]),
            _ => (&Value::Null, payload),
        };
        Self::new(kind, event["origin"].as_str().unwrap_or_default(), draft, body)
    }
}

/// What a follower was sent of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Saw {
    /// It follows for the first time: what comes is after this position.
    Start {
        epoch: Arc<str>,
        seq: u64,
    },
    Event {
        seq: u64,
        content: Content,
    },
    /// The state at this position instead of the events up to it.
    Snapshot {
        epoch: Arc<str>,
        seq: u64,
    },
    /// The events up to this position are gone (`missedBefore`).
    Skip {
        epoch: Arc<str>,
        seq: u64,
    },
    Synced {
        seq: u64,
    },
}

/// One device on one stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Follower {
    /// As stories name it.
    pub(super) device: String,
    pub(super) saw: Vec<(Moment, Saw)>,
    /// What it holds at the end; empty where the stream is not a user's.
    pub(super) drafts: BTreeMap<String, DraftState>,
}

impl Follower {
    /// Where its messages have led it: history and event. `None` before it followed.
    pub(super) fn position(&self) -> Option<(&str, u64)> {
        let mut position: Option<(&str, u64)> = None;
        for (_, saw) in &self.saw {
            match (saw, &mut position) {
                (
                    Saw::Start { epoch, seq } | Saw::Snapshot { epoch, seq } | Saw::Skip { epoch, seq },
                    position,
                ) => *position = Some((epoch, *seq)),
                (Saw::Event { seq, .. }, Some((_, at))) => *at = (*at).max(*seq),
                (Saw::Event { .. } | Saw::Synced { .. }, _) => {}
            }
        }
        position
    }
}

/// What the database has of a stream at the end.
#[derive(Debug, Clone, Default)]
pub(super) struct Stored {
    pub(super) epoch: String,
    pub(super) head: u64,
    /// The last event that retention has removed.
    pub(super) floor: u64,
    /// The events after the floor, where they can be read: those of topics.
    pub(super) log: Option<Vec<(u64, Content)>>,
    pub(super) drafts: BTreeMap<String, DraftState>,
}

/// All of one stream. Nothing is promised across streams.
#[derive(Debug, Clone)]
pub(super) struct StreamHistory {
    /// As stories name it.
    pub(super) name: String,
    pub(super) ops: Vec<Op>,
    pub(super) followers: Vec<Follower>,
    pub(super) stored: Stored,
}

/// What became of a device's connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// `WELCOME`, from this node.
    Up(Arc<str>),
    Down,
}

/// The connections of one device.
#[derive(Debug, Clone, Default)]
pub(super) struct Links {
    pub(super) device: String,
    pub(super) links: Vec<(Moment, Link)>,
}

/// Something that was broken, and mended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outage {
    pub(super) part: Part,
    pub(super) how: How,
    pub(super) began: Moment,
    pub(super) mended: Moment,
}
