//! A batch of writes, and what has to be looked up to decide it.

use std::collections::{BTreeSet, HashSet};

use common::{CommandId, DeviceId, DraftId, Stream, UserId, json, protocol::NewEvent};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::store::{Append, DraftOp, Op, Write};

/// Writes that are decided together, and what has to be known for it.
#[derive(Debug)]
pub struct Batch<'a> {
    pub(super) writes: Vec<&'a Write>,
    /// One per write; zero for those without an id, where nobody asks.
    pub(super) fingerprints: Vec<i64>,
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
    pub(crate) fn lookups(&self) -> Vec<Lookup<'a>> {
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

    /// The writes, in their order.
    pub(crate) fn writes(&self) -> impl Iterator<Item = &'a Write> {
        self.writes.iter().copied()
    }

    /// The write that a lookup's `index` is for.
    pub(crate) fn write(&self, index: usize) -> Option<&'a Write> {
        self.writes.get(index).copied()
    }
}

/// Tells apart what was asked for under one id: the first 8 bytes of SHA-256 over the change. A client
/// that repeats it may write its JSON in another order, its numbers in another notation, or all of it in another
/// encoding.
pub(super) fn fingerprint(op: &Op) -> i64 {
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
