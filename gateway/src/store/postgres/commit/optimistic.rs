//! Commits without a transaction around them: decide on what is known, and write if that still holds.
//!
//! Nothing is locked while the node decides. What is published depends on nothing but where its streams stand, which
//! the write finds out itself. A draft that this node has changed lately is known (`state_cache`), others are read:
//! one round trip or two, instead of five. That a command is new is seen when its key is written. Whoever was
//! overtaken, or has asked before, decides again on what is read, and after that under locks.

use common::{Epoch, Seq, Stream, time::unix_ms};
use sqlx::PgConnection;

use super::{
    super::state_cache::{self, StateCache},
    known::Known,
    statements::{LockWait, Statements},
    steps::{Attempt, Found, find},
    write::{Basis, Written, write},
};
use crate::store::{
    Committed, Limits, Op, StoreError,
    plan::{Batch, Lookup, State, decide},
    rows,
};

/// What a batch is decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecideOn {
    /// The states in memory, and the assumption that commands are new.
    Memory,
    /// What the database has just said.
    Database,
}

/// Decides and commits a batch.
pub(super) async fn commit(
    connection: &mut PgConnection,
    sql: &Statements,
    states: &StateCache,
    batch: &Batch<'_>,
    limits: &Limits,
    lock_wait: LockWait,
    decide_on: DecideOn,
) -> Result<Attempt, StoreError> {
    let known = Known::take(states, batch, decide_on == DecideOn::Memory);
    let mut lookups = batch.lookups();
    if decide_on == DecideOn::Memory {
        lookups.retain(|lookup| batch.write(lookup.index).is_some_and(|write| known.must_read(write)));
    }
    let mut state = State::default();
    let mut epoch = known.fill(batch, &mut state);
    if !lookups.is_empty() {
        match read(connection, sql, batch, &lookups, &mut state).await? {
            Ok(at) if epoch.as_ref().is_none_or(|epoch| *epoch == at) => epoch = Some(at),
            Ok(_) => return Ok(Attempt::NeedsReads),
            Err(obstacle) => return Ok(obstacle),
        }
    }
    let heads = state.heads.clone();
    let now = unix_ms();
    let mut plan = decide(batch, &mut state, limits, now);
    if decide_on == DecideOn::Memory && !known.decides(batch, &lookups, &plan) {
        known.put_back(states);
        return Ok(Attempt::NeedsReads);
    }
    if plan.changes_nothing() {
        // Appends that are refused leave nothing to ask for the epoch with.
        let Some(epoch) = epoch else { return Ok(Attempt::NeedsLocks) };
        known.replace(states, batch, &epoch, &heads, state);
        return Ok(Attempt::Committed(Committed { epoch, events: plan.events, answers: plan.answers }));
    }
    let basis = Basis { epoch, heads };
    match write(connection, sql, &plan, &basis, now, lock_wait).await? {
        Ok(Written { epoch, before }) => {
            let (hits, misses) = known.hits_and_misses(batch);
            state_cache::count(hits, misses);
            known.replace(states, batch, &epoch, &basis.heads, state);
            for (stream, events) in &plan.heads {
                if let (Stream::User(user), Some(before)) = (stream, before.get(stream)) {
                    states.advance(user, &epoch, *before, Seq(before.0 + events.0));
                }
            }
            plan.continue_from(batch, &before);
            Ok(Attempt::Committed(Committed { epoch, events: plan.events, answers: plan.answers }))
        }
        Err(Attempt::NeedsLocks) if known.is_used() => {
            known.put_back(states);
            Ok(Attempt::NeedsReads)
        }
        Err(obstacle) => Ok(obstacle),
    }
}

/// Reads what was not known, with the heads of the streams of drafts at the same moment. Returns the history that
/// all of it is of.
async fn read(
    connection: &mut PgConnection,
    sql: &Statements,
    batch: &Batch<'_>,
    lookups: &[Lookup<'_>],
    state: &mut State,
) -> Result<Result<Epoch, Attempt>, StoreError> {
    let mut epoch = None;
    let mut found = Vec::new();
    for Found { lookup, epoch: at, head } in find(connection, sql, lookups).await? {
        let write = batch.write(usize::try_from(lookup.ord).unwrap_or(usize::MAX));
        if let Some(write) = write.filter(|write| matches!(write.op, Op::Draft(_))) {
            let Some(head) = head else { return Ok(Err(Attempt::NewStreams)) };
            let head = Seq(rows::unsigned("the head", &write.user, head)?);
            state.heads.insert(Stream::User(write.user.clone()), head);
        }
        epoch = Some(at);
        found.push(lookup);
    }
    let Some(epoch) = epoch else {
        return Err(StoreError::Failed("nothing was found, not even where the streams stand".to_owned()));
    };
    rows::fill_state(found, batch, state)?;
    Ok(Ok(rows::epoch(&epoch)?))
}
