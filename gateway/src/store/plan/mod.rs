//! What a batch of writes comes to: answers, events and rows. Pure, and shared by every store.
//!
//! A store locks the streams of a [`Batch`], reads what it looks up into a [`State`], has [`decide`]
//! make the [`Plan`], and writes that in the same transaction.

mod appends;
mod drafts;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use common::{
    CommandId, DeviceId, DraftId, Event, Seq, Stream, UserId,
    event::{EventKind, Priority},
    json,
    protocol::NewEvent,
};
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

pub use self::{
    appends::{APPEND_EVENTS_MAX, check_size},
    drafts::{Content, DraftRow},
};
use super::{Append, Done, DraftOp, Limits, Op, Refusal, Write};

/// Writes that are decided together, and what has to be known for it.
#[derive(Debug)]
pub struct Batch<'a> {
    writes: Vec<&'a Write>,
    /// One per write; zero for those without an id, where nobody asks.
    fingerprints: Vec<i64>,
    streams: Vec<Stream>,
}

/// What one write needs to have read. Nothing is asked for twice in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookup<'a> {
    /// Which write of the batch, counted from zero.
    pub index: usize,
    /// Whose.
    pub user: &'a UserId,
    /// Half of the key of a remembered command.
    pub device: &'a DeviceId,
    /// The command, if it is to be known again.
    pub id: Option<&'a CommandId>,
    /// The draft; `None` where an earlier write of the batch asks for it, and for appends.
    pub draft_id: Option<&'a DraftId>,
    /// Whether the user's drafts that are not deleted are to be counted.
    pub count: bool,
}

impl<'a> Batch<'a> {
    /// Looks at the writes; the order stays.
    pub fn new(writes: impl IntoIterator<Item = &'a Write>) -> Self {
        let writes: Vec<&Write> = writes.into_iter().collect();
        let streams: BTreeSet<Stream> = writes.iter().map(|write| write.stream()).collect();
        let fingerprints = writes.iter().map(|w| w.id.as_ref().map_or(0, |_| fingerprint(&w.op))).collect();
        Self { writes, fingerprints, streams: streams.into_iter().collect() }
    }

    /// The streams that the batch may write to, each once.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// One for each write that depends on more than its stream's head, in their order. Appends without
    /// an id do not: a batch of them has nothing to look up.
    pub fn lookups(&self) -> Vec<Lookup<'a>> {
        let mut drafts = HashSet::new();
        let mut counted = HashSet::new();
        let lookup = |(index, write): (usize, &'a Write)| {
            let draft_id = write.op.draft_id().filter(|id| drafts.insert((&write.user, *id)));
            let creates = matches!(write.op, Op::Draft(DraftOp::Create { .. }));
            let count = creates && counted.insert(&write.user);
            let id = write.id.as_ref();
            (id.is_some() || draft_id.is_some() || count).then_some(Lookup {
                index,
                user: &write.user,
                device: &write.device,
                id,
                draft_id,
                count,
            })
        };
        self.writes.iter().copied().enumerate().filter_map(lookup).collect()
    }

    /// Whether it depends on drafts, and nothing else: then there is a lookup for each of its streams.
    pub fn changes_drafts_only(&self) -> bool {
        !self.writes.is_empty() && self.writes.iter().all(|write| matches!(write.op, Op::Draft(_)))
    }

    /// The write that a lookup's `index` is for.
    pub(super) fn write(&self, index: usize) -> Option<&'a Write> {
        self.writes.get(index).copied()
    }
}

/// Tells apart what was asked for under one id: the first 8 bytes of SHA-256 over the change. A client
/// that repeats it may write its JSON in another order, its numbers in another notation, or all of it in another
/// encoding.
fn fingerprint(op: &Op) -> i64 {
    #[derive(Serialize)]
    struct Appended<'a> {
        stream: String,
        events: &'a [NewEvent],
    }
    #[derive(Serialize)]
    #[serde(transparent)]
    struct Equal(#[serde(serialize_with = "json::canonical")] json::Object);
    let text = match op {
        Op::Draft(op) => serde_json::to_string(op),
        Op::Append(Append { stream, events }) => {
            serde_json::to_string(&Appended { stream: stream.key(), events }).and_then(|text| {
                // What could not be read once more would stand for itself.
                json::own_object(&text).map_or(Ok(text), |object| serde_json::to_string(&Equal(object)))
            })
        }
    };
    let digest = Sha256::digest(text.expect("a change consists of strings, numbers and JSON"));
    i64::from_be_bytes(std::array::from_fn(|i| digest[i]))
}

/// What the store held when the batch came, as far as the batch looks it up.
#[derive(Debug, Default)]
pub struct State {
    /// The position of each stream; zero when not named.
    pub heads: HashMap<Stream, Seq>,
    /// The drafts, tombstones included.
    pub drafts: HashMap<(UserId, DraftId), DraftRow>,
    /// The commands already carried out.
    pub commands: HashMap<(UserId, DeviceId, CommandId), Remembered>,
    /// How many drafts that are not deleted each user has; zero when not named.
    pub live: HashMap<UserId, u64>,
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
    /// The commands to remember from now on, sorted by their keys: no lock of a stream keeps two
    /// batches from the same key, so they must come to it in one order.
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

    /// Moves what was decided for empty streams to where they stood, as the store found out while it wrote:
    /// only for a batch that looks nothing up, where nothing else depends on that.
    pub(super) fn continue_from(&mut self, batch: &Batch<'_>, before: &HashMap<Stream, Seq>) {
        let before = |stream: &Stream| before.get(stream).copied().unwrap_or_default().0;
        for event in &mut self.events {
            let moved = event.seq.0 + before(&event.stream);
            Arc::get_mut(event).expect("nobody else has it before it is committed").seq = Seq(moved);
        }
        for (stream, head) in &mut self.heads {
            head.0 += before(stream);
        }
        for (write, answer) in batch.writes.iter().zip(&mut self.answers) {
            if let Ok(Done::Appended { first, seq }) = answer {
                let by = before(&write.stream());
                (first.0, seq.0) = (first.0 + by, seq.0 + by);
            }
        }
    }
}

/// Decides the writes in their order, each on what those before it left. `now` is in Unix
/// milliseconds.
pub fn decide(batch: &Batch<'_>, state: State, limits: &Limits, now: u64) -> Plan {
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
    limits: &'a Limits,
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
            Op::Draft(DraftOp::Create { draft_id, kind, content }) => {
                self.create(write, draft_id, kind, content)
            }
            Op::Draft(DraftOp::Update { draft_id, base, patch }) => self.update(write, draft_id, base, patch),
            Op::Draft(DraftOp::Delete { draft_id, base }) => self.delete(write, draft_id, base.as_ref()),
            Op::Append(append) => self.append(write, append),
        }
    }

    /// Adds an event at the end of a stream and returns its number.
    fn event(
        &mut self,
        stream: &Stream,
        kind: EventKind,
        origin: &DeviceId,
        payload: Box<RawValue>,
        priority: Priority,
    ) -> Seq {
        let head = self.state.heads.entry(stream.clone()).or_default();
        *head = head.next();
        let seq = *head;
        let event = Event::new(stream.clone(), seq, kind, origin.clone(), self.now, payload);
        let event = Arc::new(event.with_priority(priority));
        self.events.entry(stream.clone()).or_default().push(event);
        seq
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
        self.commands.sort_unstable_by(|a, b| (&a.0, &a.1, &a.2).cmp(&(&b.0, &b.1, &b.2)));
        Plan { answers, drafts, commands: self.commands, events, heads }
    }
}

#[cfg(test)]
mod tests;
