//! Decides a batch of writes: its answers, events and rows. Pure, and shared by every store.
//!
//! A store gathers what a [`Batch`] depends on in a [`State`], has [`decide`] make the [`Plan`], and writes that if the
//! state still holds: because its streams are locked meanwhile, or by comparing their heads.

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
    state::{CommandKey, Content, DraftRow, Remembered, State},
};
use super::{Done, DraftOp, Limits, Op, Refusal, Write};

/// Decides the writes in their order, each on what those before it left. `now` is in Unix milliseconds.
///
/// A stream whose head the state does not name is numbered from 1, as if it were empty: the store that writes the
/// plan adds what it finds there, see `Plan::continue_from`. Afterwards the heads, drafts and counts of `state` are as the
/// plan leaves the store.
pub fn decide(batch: &Batch<'_>, state: &mut State, limits: &Limits, now: u64) -> Plan {
    let mut decision = Decision {
        state,
        limits,
        now,
        changed: BTreeSet::new(),
        events: BTreeMap::new(),
        commands: BTreeMap::new(),
        answered_before: BTreeSet::new(),
    };
    let answers = batch
        .writes
        .iter()
        .zip(&batch.fingerprints)
        .enumerate()
        .map(|(index, (write, fingerprint))| decision.answer(index, write, *fingerprint))
        .collect();
    decision.into_plan(answers)
}

impl Decision<'_> {
    fn answer(&mut self, index: usize, write: &Write, fingerprint: i64) -> Result<Done, Refusal> {
        let Some(id) = &write.id else { return self.apply(write) };
        let key = (write.user.clone(), write.device.clone(), id.clone());
        let new = self.commands.get(&key).map(|(_, remembered)| remembered);
        if let Some(known) = new.or_else(|| self.state.commands.get(&key)) {
            if new.is_none() {
                self.answered_before.insert(index);
            }
            return if known.fingerprint == fingerprint {
                Ok(known.answer.clone())
            } else {
                Err(Refusal::BadRequest("this id was already used for another command".to_owned()))
            };
        }
        let done = self.apply(write)?;
        let remembered = Remembered { fingerprint, answer: done.clone() };
        self.commands.insert(key, (write.stream(), remembered));
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
