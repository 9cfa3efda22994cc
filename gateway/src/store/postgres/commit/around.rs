//! A batch of which something is locked by another transaction: all else is committed, around it.
//!
//! Postgres can pass over rows that are locked (SKIP LOCKED), which tells the streams that are not to be had.
//! It cannot say which key an insertion waits for. So a part of the batch that meets a lock although its
//! streams are free is tried in halves, until what is left of it is the work of one device on one stream.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use common::{DeviceId, Epoch, Stream, UserId};
use sqlx::{Connection, PgConnection, Row};

use super::{
    locked::{self, Locked},
    statements::{LockWait, Statements, unless_locked},
    steps::{Attempt, create_streams},
};
use crate::{
    operations::Statement,
    store::{Committed, Done, Limits, Lock, Refusal, StoreError, Write, plan::Batch, rows, timing::timed},
};

/// How long a part of a batch waits for a lock. It only has to tell a lock that is kept from one that is held
/// for the time of a commit; who waits for the former does so elsewhere.
const WAIT_MAX: Duration = Duration::from_millis(5);

/// How long a batch is tried in parts, and how many parts are tried: all other writes of the shard wait for it.
/// Parts that have not been tried by then are answered as if they were locked, so that each stream is tried by
/// itself.
const PARTS_TIME_MAX: Duration = Duration::from_millis(200);
const PARTS_MAX: usize = 32;

/// Decides and commits what is not locked, and answers the rest [`Refusal::Locked`].
pub(super) async fn commit(
    connection: &mut PgConnection,
    sql: &Statements,
    writes: &[Write],
    limits: &Limits,
    lock_wait: Duration,
) -> Result<Committed, StoreError> {
    let lock_wait = LockWait(lock_wait.min(WAIT_MAX));
    let began = Instant::now();
    let mut results = Results::default();
    let mut parts: Vec<Vec<usize>> = vec![(0..writes.len()).collect()];
    for _ in 0..PARTS_MAX {
        let Some(part) = parts.pop() else { break };
        if began.elapsed() > PARTS_TIME_MAX {
            parts.push(part);
            break;
        }
        let mut attempt =
            Part { connection: &mut *connection, sql, writes, limits, lock_wait, results: &mut results };
        match attempt.commit(part).await {
            Ok(again) => parts.extend(again.into_iter().rev()),
            // Other parts are committed already, so the failure of this one must not be taken for theirs.
            Err((part, StoreError::Rejected(_) | StoreError::Failed(_))) if !results.committed.is_empty() => {
                results.refuse(&part, Lock::Key);
            }
            Err((_, error)) => return Err(error),
        }
    }
    for part in parts {
        results.refuse(&part, Lock::Key);
    }
    if results.epoch.is_none() {
        let epoch = sqlx::query(sql.epoch.clone());
        let epoch = timed(Statement::Epoch, epoch.fetch_one(connection)).await?;
        results.epoch = Some(rows::epoch(epoch.try_get(0)?)?);
    }
    results.into_committed(writes.len())
}

/// The results of the writes that were tried, by their index.
#[derive(Default)]
struct Results {
    answers: HashMap<usize, Result<Done, Refusal>>,
    committed: Vec<Committed>,
    /// The history as it was last seen.
    epoch: Option<Epoch>,
}

impl Results {
    fn refuse(&mut self, part: &[usize], lock: Lock) {
        self.answers.extend(part.iter().map(|index| (*index, Err(Refusal::Locked(lock)))));
    }

    fn into_committed(mut self, writes: usize) -> Result<Committed, StoreError> {
        let epoch = self.epoch.filter(|last| self.committed.iter().all(|committed| committed.epoch == *last));
        let Some(epoch) = epoch else {
            return Err(StoreError::Unavailable(
                "the history changed between two parts of a batch".to_owned(),
            ));
        };
        let mut events: Vec<_> = self.committed.into_iter().flat_map(|committed| committed.events).collect();
        events.sort_by(|one, other| (&one.stream, one.seq).cmp(&(&other.stream, other.seq)));
        let refused = Err(Refusal::Locked(Lock::Key));
        let answers = (0..writes).map(|index| self.answers.remove(&index).unwrap_or_else(|| refused.clone()));
        Ok(Committed { epoch, events, answers: answers.collect() })
    }
}

/// One attempt at a part of the batch.
struct Part<'a> {
    connection: &'a mut PgConnection,
    sql: &'a Statements,
    writes: &'a [Write],
    limits: &'a Limits,
    lock_wait: LockWait,
    results: &'a mut Results,
}

impl Part<'_> {
    /// Returns the parts that have to be tried again, in this order. An error comes with the part that failed.
    async fn commit(&mut self, part: Vec<usize>) -> Result<Vec<Vec<usize>>, (Vec<usize>, StoreError)> {
        match self.attempt(&part).await {
            Ok(again) => Ok(again),
            Err(error) => Err((part, error)),
        }
    }

    async fn attempt(&mut self, part: &[usize]) -> Result<Vec<Vec<usize>>, StoreError> {
        let batch = Batch::new(part.iter().map(|index| &self.writes[*index]));
        let mut transaction = self.connection.begin().await?;
        let names: Vec<String> = batch.streams().iter().map(Stream::key).collect();
        let lock = sqlx::query(self.sql.lock_free.clone()).bind(names).bind(self.lock_wait.setting());
        let rows = timed(Statement::LockFree, lock.fetch_all(&mut *transaction)).await;
        let Some(rows) = unless_locked(rows)? else {
            // Not a row: the whole table.
            transaction.rollback().await?;
            self.results.refuse(part, Lock::Stream);
            return Ok(Vec::new());
        };
        let (mut heads, mut new) = (HashMap::new(), HashSet::new());
        for row in &rows {
            let head: Option<i64> = row.try_get("head")?;
            let (stream, head_or_zero) = rows::position(row.try_get("name")?, head.unwrap_or(0))?;
            if head.is_some() {
                heads.insert(stream, head_or_zero);
            } else if !row.try_get::<bool, _>("exists")? {
                new.insert(stream);
            }
        }
        let Some(first) = rows.first() else { return Ok(Vec::new()) };
        let epoch = rows::epoch(first.try_get("epoch")?)?;
        self.results.epoch = Some(epoch.clone());
        if !new.is_empty() {
            transaction.rollback().await?;
            return self.create(part, new).await;
        }
        let stream_of = |index: &usize| self.writes[*index].stream();
        let (free, held): (Vec<usize>, Vec<usize>) =
            part.iter().partition(|index| heads.contains_key(&stream_of(index)));
        self.results.refuse(&held, Lock::Stream);
        if free.is_empty() {
            transaction.rollback().await?;
            return Ok(Vec::new());
        }
        let batch = Batch::new(free.iter().map(|index| &self.writes[*index]));
        let locked = Locked { epoch, heads };
        let attempt = locked::finish(transaction, self.sql, &batch, self.limits, locked, self.lock_wait);
        match attempt.await? {
            Attempt::Committed(mut committed) => {
                let answers = std::mem::take(&mut committed.answers);
                self.results.answers.extend(free.into_iter().zip(answers));
                self.results.committed.push(committed);
                Ok(Vec::new())
            }
            Attempt::Locked => Ok(self.halves(free)),
            Attempt::KeyTaken | Attempt::NeedsReads | Attempt::NeedsLocks | Attempt::NewStreams => {
                Ok(vec![free])
            }
        }
    }

    /// Makes the rows of streams, all together or else one half after the other.
    async fn create(&mut self, part: &[usize], new: HashSet<Stream>) -> Result<Vec<Vec<usize>>, StoreError> {
        let mut new: Vec<Stream> = new.into_iter().collect();
        new.sort_unstable();
        let mut parts: Vec<&[Stream]> = vec![&new];
        let mut held = HashSet::new();
        while let Some(part) = parts.pop() {
            let made = create_streams(self.connection, self.sql, part, self.lock_wait).await?;
            match part {
                [held_one] if !made => {
                    held.insert(held_one);
                }
                part if !made => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first, second]);
                }
                _ => {}
            }
        }
        let (held, rest): (Vec<usize>, Vec<usize>) =
            part.iter().partition(|index| held.contains(&self.writes[**index].stream()));
        self.results.refuse(&held, Lock::Stream);
        Ok(if rest.is_empty() { Vec::new() } else { vec![rest] })
    }

    /// Divides a part that has met a lock. What one device does to one stream stays together, in its order.
    fn halves(&mut self, part: Vec<usize>) -> Vec<Vec<usize>> {
        let unit = |index: &usize| -> (Stream, UserId, DeviceId) {
            let write = &self.writes[*index];
            (write.stream(), write.user.clone(), write.device.clone())
        };
        let mut units: HashMap<_, usize> = HashMap::new();
        for index in &part {
            let next = units.len();
            units.entry(unit(index)).or_insert(next);
        }
        if units.len() < 2 {
            self.results.refuse(&part, Lock::Key);
            return Vec::new();
        }
        let (first, second) = part.iter().partition(|index| units[&unit(index)] < units.len() / 2);
        vec![first, second]
    }
}
