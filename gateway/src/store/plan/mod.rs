//! Decides a batch of writes: its answers, events and rows. Pure, and shared by every store.
//!
//! A store locks the streams of a [`Batch`], reads what it looks up into a [`State`], has [`decide`]
//! make the [`Plan`], and writes that in the same transaction.

mod appends;
mod batch;
mod decision;
mod drafts;
mod state;

use std::collections::{BTreeMap, BTreeSet};

pub(crate) use self::appends::check_size;
use self::decision::Decision;
pub use self::{
    appends::APPEND_EVENTS_MAX,
    batch::{Batch, Lookup},
    decision::{NewCommand, Plan},
    state::{Content, DraftRow, Remembered, State},
};
use super::{Done, DraftOp, Limits, Op, Refusal, Write};

/// Decides the writes in their order, each on what those before it left. `now` is in Unix milliseconds.
///
/// A stream whose head the state does not name is numbered from 1, as if it were empty: the store that writes the
/// plan adds what it finds there, see `Plan::continue_from`. Afterwards `state` is as the plan leaves the store.
pub fn decide(batch: &Batch<'_>, state: &mut State, limits: &Limits, now: u64) -> Plan {
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
        let stream = write.stream();
        self.commands.push(NewCommand { key: key.clone(), stream, remembered: remembered.clone() });
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
}

#[cfg(test)]
mod tests;
