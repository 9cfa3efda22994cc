//! What the store holds, as far as a batch depends on it.

use std::{collections::HashMap, sync::Arc};

use common::{
    CommandId, DeviceId, DraftId, Seq, Stream, UserId, Version,
    ids::DraftKind,
    json::own_object,
    merge::{FieldVersions, Object},
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use tracing::error;

use crate::store::{Done, Refusal};

/// What the store held when the batch came, as far as the batch looks it up.
#[derive(Debug, Default)]
pub struct State {
    /// The position of each stream; one that is not named is numbered as if it were empty.
    pub heads: HashMap<Stream, Seq>,
    /// The drafts, tombstones included.
    pub drafts: HashMap<(UserId, DraftId), Arc<DraftRow>>,
    /// The commands already carried out.
    pub commands: HashMap<CommandKey, Remembered>,
    /// How many drafts that are not deleted each user has; zero when not named.
    pub live: HashMap<UserId, u64>,
}

/// What makes a command known again: who asked for it, from which device, and under which id.
pub type CommandKey = (UserId, DeviceId, CommandId);

/// A command that was carried out.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// What was asked for.
    pub fingerprint: i64,
    /// What was answered.
    pub answer: Done,
}

/// A draft as stored.
#[derive(Debug, Clone)]
pub struct DraftRow {
    /// Which change of it this is.
    pub version: Version,
    /// What it is.
    pub kind: DraftKind,
    /// The state; `None` makes it a tombstone.
    pub content: Option<Content>,
    /// When each field last changed.
    pub fields: FieldVersions,
    /// Unix milliseconds.
    pub created_at: u64,
    /// Unix milliseconds.
    pub updated_at: u64,
}

/// The content of a draft, as text: a batch has hundreds of them, and as a tree one takes up to a hundred
/// times the room.
#[derive(Debug, Clone)]
pub struct Content {
    pub(super) json: Box<RawValue>,
}

impl Content {
    /// Takes its text, which is kept as it is.
    ///
    /// # Errors
    /// When the text is not JSON.
    pub fn parse(json: String) -> serde_json::Result<Self> {
        Ok(Self { json: RawValue::from_string(json)? })
    }

    pub(super) fn of(object: &Object) -> Self {
        Self { json: raw(object) }
    }

    /// The text.
    pub fn json(&self) -> &str {
        self.json.get()
    }

    pub(super) fn object(&self) -> Result<Object, Refusal> {
        own_object(self.json()).map_err(|error| {
            error!(%error, "the store has a draft that is no JSON object");
            Refusal::BadRequest(format!("the draft that is stored cannot be changed: {error}"))
        })
    }
}

pub(super) fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("it consists of strings, numbers and JSON")
}
