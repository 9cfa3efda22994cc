//! The plan, and how it comes about write by write.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use common::{
    DeviceId, DraftId, Event, Seq, Stream, UserId,
    event::{EventKind, Priority},
};
use serde_json::value::RawValue;

use super::{
    batch::Batch,
    state::{CommandKey, DraftRow, Remembered, State},
};
use crate::store::{Done, Limits, Refusal};

/// What is to be answered, written and announced.
#[derive(Debug, Default)]
pub struct Plan {
    /// One per write, in their order.
    pub answers: Vec<Result<Done, Refusal>>,
    /// The writes, counted from zero, that the store knows already: their answers are remembered ones, and say
    /// where their events are.
    pub answered_before: BTreeSet<usize>,
    /// The drafts that changed, each once, as they stand after the batch.
    pub drafts: Vec<(UserId, DraftId, Arc<DraftRow>)>,
    /// The commands to remember from now on, sorted by their keys: no lock of a stream keeps two
    /// batches from the same key, so they must come to it in one order.
    pub commands: Vec<NewCommand>,
    /// The new events, grouped by stream, ascending in each.
    pub events: Vec<Arc<Event>>,
    /// Where the streams with new events stand now.
    pub heads: Vec<(Stream, Seq)>,
}

/// A command to remember.
#[derive(Debug)]
pub struct NewCommand {
    /// Under which it is remembered.
    pub key: CommandKey,
    /// The stream that it is about.
    pub stream: Stream,
    /// What is remembered.
    pub remembered: Remembered,
}

impl Plan {
    /// Whether there is nothing to write: all was refused, or known already.
    pub(crate) fn changes_nothing(&self) -> bool {
        self.drafts.is_empty() && self.commands.is_empty() && self.events.is_empty()
    }

    /// Moves what was numbered as if its stream were empty behind the head that the store found there while it
    /// wrote. `before` names these streams and no others.
    pub(crate) fn continue_from(&mut self, batch: &Batch<'_>, before: &HashMap<Stream, Seq>) {
        let before = |stream: &Stream| before.get(stream).copied().unwrap_or_default().0;
        for event in &mut self.events {
            let moved = event.seq.0 + before(&event.stream);
            Arc::get_mut(event).expect("nobody else has it before it is committed").seq = Seq(moved);
        }
        for (stream, head) in &mut self.heads {
            head.0 += before(stream);
        }
        for (index, (write, answer)) in batch.writes.iter().zip(&mut self.answers).enumerate() {
            if let Ok(Done::Appended { first, seq }) = answer
                && !self.answered_before.contains(&index)
            {
                let by = before(&write.stream());
                (first.0, seq.0) = (first.0 + by, seq.0 + by);
            }
        }
    }
}

/// The state as the writes so far have left it, and what they have left to be written.
pub(super) struct Decision<'a> {
    pub(super) state: &'a mut State,
    pub(super) limits: &'a Limits,
    pub(super) now: u64,
    pub(super) changed: BTreeSet<(UserId, DraftId)>,
    pub(super) events: BTreeMap<Stream, Vec<Arc<Event>>>,
    pub(super) commands: BTreeMap<CommandKey, (Stream, Remembered)>,
    pub(super) answered_before: BTreeSet<usize>,
}

impl Decision<'_> {
    /// Adds an event at the end of a stream and returns its number.
    pub(super) fn event(
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

    pub(super) fn into_plan(self, answers: Vec<Result<Done, Refusal>>) -> Plan {
        let drafts = self
            .changed
            .into_iter()
            .filter_map(|key| self.state.drafts.get(&key).cloned().map(|row| (key.0, key.1, row)))
            .collect();
        let heads = self
            .events
            .iter()
            .filter_map(|(stream, events)| events.last().map(|last| (stream.clone(), last.seq)))
            .collect();
        let events = self.events.into_values().flatten().collect();
        let new_command = |(key, (stream, remembered))| NewCommand { key, stream, remembered };
        let commands = self.commands.into_iter().map(new_command).collect();
        Plan { answers, answered_before: self.answered_before, drafts, commands, events, heads }
    }
}
