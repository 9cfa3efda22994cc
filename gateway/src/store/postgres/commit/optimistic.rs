//! Changes of drafts without a transaction around them: read, decide, and write if nobody else has.
//!
//! A user's stream is written by one node nearly always, because Nginx sends a user's devices to the same one.
//! So nothing is locked while the node decides: two round trips instead of five, and whoever was overtaken
//! after all decides again, under locks.

use common::{Seq, Stream, time::unix_ms};
use sqlx::PgConnection;

use super::{
    statements::{LockWait, Statements},
    steps::{Attempt, Found, find, write},
};
use crate::store::{
    Committed, Limits, StoreError,
    plan::{Batch, State, decide},
    rows,
};

/// Decides and commits a batch of changes to drafts.
pub(super) async fn commit(
    connection: &mut PgConnection,
    sql: &Statements,
    batch: &Batch<'_>,
    limits: &Limits,
    lock_wait: LockWait,
) -> Result<Attempt, StoreError> {
    let mut state = State::default();
    let mut epoch = None;
    let mut found = Vec::new();
    for Found { lookup, epoch: at, head } in find(connection, sql, &batch.lookups()).await? {
        let Some(head) = head else { return Ok(Attempt::NewStreams) };
        if let Some(write) = batch.write(usize::try_from(lookup.ord).unwrap_or(usize::MAX)) {
            let head = Seq(rows::unsigned("the head", &write.user, head)?);
            state.heads.insert(Stream::User(write.user.clone()), head);
        }
        epoch = Some(at);
        found.push(lookup);
    }
    let Some(epoch) = epoch else {
        return Err(StoreError::Failed("nothing was found, not even where the streams stand".to_owned()));
    };
    let epoch = rows::epoch(&epoch)?;
    rows::fill_state(found, batch, &mut state)?;
    let before = state.heads.clone();
    let now = unix_ms();
    let plan = decide(batch, state, limits, now);
    if !plan.changes_nothing()
        && let Some(obstacle) = write(connection, sql, &plan, &before, &epoch, now, lock_wait).await?
    {
        return Ok(obstacle);
    }
    Ok(Attempt::Committed(Committed { epoch, events: plan.events, answers: plan.answers }))
}
