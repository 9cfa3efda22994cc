//! What a run was: what was asked for, what was answered, what every follower saw.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use serde_json::{Value, json};
use testkit::{
    Ack, Refused,
    device::{DraftState, digest},
};

/// Microseconds since the run began.
pub(crate) type Moment = u64;

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged, with the number of its event.
    Acked(Option<u64>),
    /// Refused with a code: nothing was changed.
    Refused(String),
    /// Without an answer: it may have been carried out, once.
    Unknown,
}

impl Outcome {
    /// Of a device's command.
    pub(crate) fn of(answer: &Result<Ack, Refused>) -> Self {
        match answer {
            Ok(ack) => Self::Acked(ack.seq),
            // The device's own words for not knowing.
            Err(refused) if matches!(refused.code.as_str(), "timeout" | "closed") => Self::Unknown,
            Err(refused) => Self::Refused(refused.code.clone()),
        }
    }
}

/// One change that was asked for. It becomes one event of its stream, or none.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    /// Another for each change of the run; the content carries it.
    pub(crate) id: u64,
    /// Who asked, as stories name it.
    pub(crate) client: String,
    pub(crate) what: What,
    /// What its event must be.
    pub(crate) content: Content,
    /// When it was to be sent; before `invoked` when the load is behind.
    pub(crate) intended: Moment,
    pub(crate) invoked: Moment,
    pub(crate) answered: Option<Moment>,
    pub(crate) outcome: Outcome,
}

/// How it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
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
pub(crate) struct Content {
    /// The change that it names; `None` when it names none.
    pub(crate) op: Option<u64>,
    digest: u64,
}

impl Content {
    /// Of a change as it is asked for; `draft` is null where there is none.
    pub(crate) fn new(kind: &str, origin: &str, draft: &Value, body: &Value) -> Self {
        let op = body.as_object().and_then(|fields| fields.values().find_map(Value::as_u64));
        Self { op, digest: digest(kind, &json!([origin, draft, body])) }
    }

    /// Of an event as it is sent.
    pub(crate) fn of(event: &Value) -> Self {
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
pub(crate) enum Saw {
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
pub(crate) struct Follower {
    /// As stories name it.
    pub(crate) device: String,
    pub(crate) saw: Vec<(Moment, Saw)>,
    /// What it holds at the end; empty where the stream is not a user's.
    pub(crate) drafts: BTreeMap<String, DraftState>,
}

impl Saw {
    /// Where it puts the follower, when it stands for the events before: history and event.
    pub(crate) fn reset(&self) -> Option<(&str, u64)> {
        match self {
            Self::Start { epoch, seq } | Self::Snapshot { epoch, seq } | Self::Skip { epoch, seq } => {
                Some((epoch, *seq))
            }
            Self::Event { .. } | Self::Synced { .. } => None,
        }
    }
}

impl Follower {
    /// Where its messages have led it: history and event. `None` before it followed.
    pub(crate) fn position(&self) -> Option<(&str, u64)> {
        let mut position: Option<(&str, u64)> = None;
        for (_, saw) in &self.saw {
            if let (Saw::Event { seq, .. }, Some((_, at))) = (saw, &mut position) {
                *at = (*at).max(*seq);
            }
            position = saw.reset().or(position);
        }
        position
    }
}

/// What the database has of a stream at the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub(crate) epoch: String,
    pub(crate) head: u64,
    /// The last event that retention has removed.
    pub(crate) floor: u64,
    /// The events after the floor, where they can be read: those of topics.
    pub(crate) log: Option<Vec<(u64, Content)>>,
    pub(crate) drafts: BTreeMap<String, DraftState>,
}

/// All of one stream. Nothing is promised across streams.
#[derive(Debug, Clone)]
pub(crate) struct StreamHistory {
    /// As reports name it.
    pub(crate) name: String,
    pub(crate) ops: Vec<Op>,
    pub(crate) followers: Vec<Follower>,
    pub(crate) stored: Stored,
}

impl StreamHistory {
    /// Whether every follower is at the head and holds what the database holds.
    pub(crate) fn is_settled(&self) -> bool {
        let agrees = |follower: &Follower| {
            let head = follower.position().is_some_and(|(_, seq)| seq == self.stored.head);
            head && follower.drafts == self.stored.drafts
        };
        self.followers.iter().all(agrees)
    }

    /// Whether its history began anew during the run (another epoch), so that numbers before and after mean
    /// different events.
    pub(crate) fn began_anew(&self) -> bool {
        let saw = self.followers.iter().flat_map(|follower| &follower.saw);
        let epochs: HashSet<&str> = saw.filter_map(|(_, saw)| Some(saw.reset()?.0)).collect();
        epochs.len() > 1
    }
}
