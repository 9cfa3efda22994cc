//! What a batch of writes comes to: answers, events and rows. Pure, and shared by every store.
//!
//! A store locks the streams of a [`Batch`], reads what it looks up into a [`State`], has [`decide`]
//! make the [`Plan`], and writes that in the same transaction.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use common::{
    CommandId, DeviceId, DraftId, Event, Seq, Stream, UserId, Version,
    event::EventKind,
    ids::DraftKind,
    merge::{FieldVersions, Merge, Object, merge},
    protocol::{Draft, DraftAck},
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use sha2::{Digest, Sha256};

use super::{Base, Done, DraftLimits, DraftOp, Refusal, Write};

/// Writes that are decided together, and what has to be known for it.
#[derive(Debug)]
pub struct Batch<'a> {
    writes: &'a [Write],
    /// One per write; zero for those without an id, where nobody asks.
    fingerprints: Vec<i64>,
    streams: Vec<Stream>,
}

/// What one write needs to have read. Nothing is asked for twice in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// Whose.
    pub user: &'a UserId,
    /// Half of the key of a remembered command.
    pub device: &'a DeviceId,
    /// The command, if it is to be known again.
    pub id: Option<&'a CommandId>,
    /// The draft; `None` where an earlier write of the batch asks for it.
    pub draft_id: Option<&'a DraftId>,
    /// Whether the user's drafts that are not deleted are to be counted.
    pub count: bool,
}

impl<'a> Batch<'a> {
    /// Looks at the writes; the order stays.
    pub fn new(writes: &'a [Write]) -> Self {
        let streams: BTreeSet<Stream> = writes.iter().map(|write| Stream::User(write.user.clone())).collect();
        let fingerprints = writes.iter().map(|w| w.id.as_ref().map_or(0, |_| fingerprint(&w.op))).collect();
        Self { writes, fingerprints, streams: streams.into_iter().collect() }
    }

    /// The streams that the batch may write to, each once.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// One per write, in their order.
    pub fn lookups(&self) -> Vec<Lookup<'a>> {
        let mut drafts = HashSet::new();
        let mut counted = HashSet::new();
        let lookup = |write: &'a Write| Lookup {
            user: &write.user,
            device: &write.device,
            id: write.id.as_ref(),
            draft_id: Some(write.op.draft_id()).filter(|id| drafts.insert((&write.user, *id))),
            count: matches!(write.op, DraftOp::Create { .. }) && counted.insert(&write.user),
        };
        self.writes.iter().map(lookup).collect()
    }

    /// The write that the lookup at `index` is for.
    pub(super) fn write(&self, index: usize) -> Option<&'a Write> {
        self.writes.get(index)
    }
}

/// Tells apart what was asked for under one id: the first 8 bytes of SHA-256 over the change.
fn fingerprint(op: &DraftOp) -> i64 {
    let json = serde_json::to_vec(op).expect("a change consists of strings, numbers and JSON");
    let digest = Sha256::digest(json);
    i64::from_be_bytes(std::array::from_fn(|i| digest[i]))
}

impl DraftOp {
    /// The draft that the change is about.
    pub fn draft_id(&self) -> &DraftId {
        match self {
            Self::Create { draft_id, .. } | Self::Update { draft_id, .. } | Self::Delete { draft_id, .. } => {
                draft_id
            }
        }
    }
}

/// What the store held when the batch came, as far as the batch looks it up.
#[derive(Debug, Default)]
pub struct State {
    /// The position of each user's stream; zero when not named.
    pub heads: HashMap<UserId, Seq>,
    /// The drafts, tombstones included.
    pub drafts: HashMap<(UserId, DraftId), DraftRow>,
    /// The commands already carried out.
    pub commands: HashMap<(UserId, DeviceId, CommandId), Remembered>,
    /// How many drafts that are not deleted each user has; zero when not named.
    pub live: HashMap<UserId, u64>,
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

/// The content of a draft, with its text.
#[derive(Debug, Clone)]
pub struct Content {
    object: Object,
    json: Box<RawValue>,
}

impl Content {
    /// Reads it from its text, which is kept as it is.
    ///
    /// # Errors
    /// When the text is not a JSON object.
    pub fn parse(json: String) -> serde_json::Result<Self> {
        let object = common::json::object(&mut serde_json::Deserializer::from_str(&json))?;
        Ok(Self { object, json: RawValue::from_string(json)? })
    }

    fn of(object: Object) -> Self {
        Self { json: raw(&object), object }
    }

    /// The text.
    pub fn json(&self) -> &str {
        self.json.get()
    }
}

/// A command that was carried out.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// What was asked for.
    pub fingerprint: i64,
    /// What was answered.
    pub answer: Done,
}

/// What is to be answered, written and announced.
#[derive(Debug, Default)]
pub struct Plan {
    /// One per write, in their order.
    pub answers: Vec<Result<Done, Refusal>>,
    /// The drafts that changed, each once, as they stand after the batch.
    pub drafts: Vec<(UserId, DraftId, DraftRow)>,
    /// The commands to remember from now on.
    pub commands: Vec<(UserId, DeviceId, CommandId, Remembered)>,
    /// The new events, grouped by stream, ascending in each.
    pub events: Vec<Arc<Event>>,
    /// Where the streams with new events stand now.
    pub heads: Vec<(Stream, Seq)>,
}

impl Plan {
    /// Whether there is nothing to write: all was refused, or known already.
    pub fn changes_nothing(&self) -> bool {
        self.drafts.is_empty() && self.commands.is_empty() && self.events.is_empty()
    }
}

/// Decides the writes in their order, each on what those before it left. `now` is in Unix
/// milliseconds.
pub fn decide(batch: &Batch<'_>, state: State, limits: &DraftLimits, now: u64) -> Plan {
    let mut decision = Decision {
        state,
        limits,
        now,
        changed: BTreeSet::new(),
        events: BTreeMap::new(),
        commands: Vec::new(),
    };
    let answers = batch
        .writes
        .iter()
        .zip(&batch.fingerprints)
        .map(|(write, fingerprint)| decision.answer(write, *fingerprint))
        .collect();
    decision.into_plan(answers)
}

/// The state as the writes so far have left it, and what they have left to be written.
struct Decision<'a> {
    state: State,
    limits: &'a DraftLimits,
    now: u64,
    changed: BTreeSet<(UserId, DraftId)>,
    events: BTreeMap<Stream, Vec<Arc<Event>>>,
    commands: Vec<(UserId, DeviceId, CommandId, Remembered)>,
}

impl Decision<'_> {
    fn answer(&mut self, write: &Write, fingerprint: i64) -> Result<Done, Refusal> {
        let Some(id) = &write.id else { return self.apply(write) };
        let key = (write.user.clone(), write.device.clone(), id.clone());
        if let Some(known) = self.state.commands.get(&key) {
            return if known.fingerprint == fingerprint {
                Ok(known.answer.clone())
            } else {
                Err(Refusal::BadRequest("this id was already used for another command".to_owned()))
            };
        }
        let done = self.apply(write)?;
        let remembered = Remembered { fingerprint, answer: done.clone() };
        self.commands.push((key.0.clone(), key.1.clone(), key.2.clone(), remembered.clone()));
        self.state.commands.insert(key, remembered);
        Ok(done)
    }

    fn apply(&mut self, write: &Write) -> Result<Done, Refusal> {
        match &write.op {
            DraftOp::Create { draft_id, kind, content } => self.create(write, draft_id, kind, content),
            DraftOp::Update { draft_id, base, patch } => self.update(write, draft_id, *base, patch),
            DraftOp::Delete { draft_id, base } => self.delete(write, draft_id, *base),
        }
    }

    fn create(
        &mut self,
        write: &Write,
        draft_id: &DraftId,
        kind: &DraftKind,
        content: &Object,
    ) -> Result<Done, Refusal> {
        if let Some(row) = self.state.drafts.get(&(write.user.clone(), draft_id.clone())) {
            return Err(conflict(draft_id, row, Vec::new()));
        }
        let live = self.state.live.get(&write.user).copied().unwrap_or(0);
        let drafts_max = self.limits.drafts_per_user_max;
        if live >= drafts_max {
            return Err(Refusal::TooLarge(format!("a user may have {drafts_max} drafts")));
        }
        let content = self.sized(content.clone())?;
        let version = Version(1);
        let payload = raw(&Created { draft_id, version, kind, content: &content.json });
        let row = DraftRow {
            version,
            kind: kind.clone(),
            content: Some(content),
            fields: FieldVersions::default(),
            created_at: self.now,
            updated_at: self.now,
        };
        self.state.live.insert(write.user.clone(), live + 1);
        Ok(self.change(write, draft_id, row, "DRAFT_CREATED", payload))
    }

    fn update(
        &mut self,
        write: &Write,
        draft_id: &DraftId,
        base: Base,
        patch: &Object,
    ) -> Result<Done, Refusal> {
        let (row, content) = self.live(write, draft_id)?;
        let base = base.on(row.version)?;
        match merge(&content.object, &row.fields, base, row.version, patch) {
            Merge::Unchanged => {
                Ok(Done { ack: DraftAck { draft_id: draft_id.clone(), version: row.version }, seq: None })
            }
            Merge::Conflict { fields } => Err(conflict(draft_id, row, fields)),
            Merge::Merged { content, fields } => {
                let version = row.version.next();
                let payload = raw(&Updated { draft_id, version, base_version: row.version, patch });
                let row = DraftRow {
                    version,
                    kind: row.kind.clone(),
                    content: Some(self.sized(content)?),
                    fields,
                    created_at: row.created_at,
                    updated_at: self.now,
                };
                Ok(self.change(write, draft_id, row, "DRAFT_UPDATED", payload))
            }
        }
    }

    fn delete(&mut self, write: &Write, draft_id: &DraftId, base: Option<Base>) -> Result<Done, Refusal> {
        let (row, _) = self.live(write, draft_id)?;
        if let Some(base) = base
            && base.on(row.version)? < row.version
        {
            return Err(conflict(draft_id, row, Vec::new()));
        }
        let version = row.version.next();
        let payload = raw(&Deleted { draft_id, version, base_version: row.version });
        let tombstone = DraftRow {
            version,
            kind: row.kind.clone(),
            content: None,
            fields: FieldVersions::default(),
            created_at: row.created_at,
            updated_at: self.now,
        };
        // Known only where the batch also creates, which is where it matters.
        if let Some(live) = self.state.live.get_mut(&write.user) {
            *live = live.saturating_sub(1);
        }
        Ok(self.change(write, draft_id, tombstone, "DRAFT_DELETED", payload))
    }

    /// A draft that exists and is not deleted.
    fn live(&self, write: &Write, draft_id: &DraftId) -> Result<(&DraftRow, &Content), Refusal> {
        let row = self.state.drafts.get(&(write.user.clone(), draft_id.clone())).ok_or(Refusal::NotFound)?;
        let content = row.content.as_ref().ok_or(Refusal::NotFound)?;
        Ok((row, content))
    }

    fn sized(&self, content: Object) -> Result<Content, Refusal> {
        let content = Content::of(content);
        let (bytes, bytes_max) = (content.json().len(), self.limits.draft_bytes_max);
        if bytes > bytes_max {
            return Err(Refusal::TooLarge(format!("the draft would be {bytes} bytes, at most {bytes_max}")));
        }
        Ok(content)
    }

    /// Puts the new row in place and numbers the event that reports it.
    fn change(
        &mut self,
        write: &Write,
        draft_id: &DraftId,
        row: DraftRow,
        kind: &str,
        payload: Box<RawValue>,
    ) -> Done {
        let head = self.state.heads.entry(write.user.clone()).or_default();
        *head = head.next();
        let seq = *head;
        let stream = Stream::User(write.user.clone());
        let kind: EventKind = kind.parse().expect("our own event names are valid");
        let event = Event::new(stream.clone(), seq, kind, write.device.clone(), self.now, payload);
        self.events.entry(stream).or_default().push(Arc::new(event));
        let ack = DraftAck { draft_id: draft_id.clone(), version: row.version };
        let key = (write.user.clone(), draft_id.clone());
        self.changed.insert(key.clone());
        self.state.drafts.insert(key, row);
        Done { ack, seq: Some(seq) }
    }

    fn into_plan(mut self, answers: Vec<Result<Done, Refusal>>) -> Plan {
        let drafts = self
            .changed
            .into_iter()
            .filter_map(|key| self.state.drafts.remove(&key).map(|row| (key.0, key.1, row)))
            .collect();
        let heads = self
            .events
            .iter()
            .filter_map(|(stream, events)| events.last().map(|last| (stream.clone(), last.seq)))
            .collect();
        let events = self.events.into_values().flatten().collect();
        Plan { answers, drafts, commands: self.commands, events, heads }
    }
}

impl Base {
    /// The version that the change was made on, if the draft at `current` can take it at all.
    fn on(self, current: Version) -> Result<Version, Refusal> {
        match self {
            Self::Exact(version) if version != current => {
                Err(Refusal::PreconditionFailed { version: current })
            }
            Self::Merge(version) if version.0 == 0 || version > current => Err(Refusal::BadRequest(format!(
                "baseVersion {version} never was: the draft is at {current}"
            ))),
            Self::Exact(version) | Self::Merge(version) => Ok(version),
        }
    }
}

fn conflict(draft_id: &DraftId, row: &DraftRow, fields: Vec<String>) -> Refusal {
    let current = row.content.as_ref().map(|content| {
        Box::new(Draft {
            draft_id: draft_id.clone(),
            version: row.version,
            kind: row.kind.clone(),
            content: content.json.clone(),
            updated_at: row.updated_at,
        })
    });
    Refusal::Conflict { fields, current }
}

fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).expect("it consists of strings, numbers and JSON")
}

/// The payload of `DRAFT_CREATED`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    draft_id: &'a DraftId,
    version: Version,
    kind: &'a DraftKind,
    content: &'a RawValue,
}

/// The payload of `DRAFT_UPDATED`. The base is the version that a follower holds, which is not
/// necessarily the one that the client's patch was made on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated<'a> {
    draft_id: &'a DraftId,
    version: Version,
    base_version: Version,
    patch: &'a Object,
}

/// The payload of `DRAFT_DELETED`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    draft_id: &'a DraftId,
    version: Version,
    base_version: Version,
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
