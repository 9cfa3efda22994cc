//! Retention: one node at a time removes what has grown old, a little at a time.
//!
//! A round goes over the streams by their names and cuts their logs to what the settings keep, then
//! forgets old commands. It is made of small calls of the store, each followed by a pause nine times as
//! long: however much there is to remove and however slow the database, it is busy with this for a tenth
//! of one connection's time. Rounds may take long for that reason; nobody waits for them.
//!
//! What is old is decided by the store's clock. Where this node's differs by much, one of them is wrong,
//! and nothing tells which: the node removes nothing then, and leaves it to another.

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::time::unix_ms;
use fanout::supervise::catch_panic;
use metrics::{counter, gauge, histogram};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use crate::{
    config::{Kept, Live},
    store::{CONFIRM_INTERVAL_MAX, Chunk, RetentionStore, Rule, Store, StoreError, StreamKind},
};

/// What one look at streams takes in. Most of them have nothing to give up, which costs one row of each.
const CHUNK: Chunk = Chunk { streams_max: 200, events_max: 500 };

/// Events, and commands, removed by one call: some milliseconds of work.
const REMOVED_MAX: u32 = 1000;

/// The pause after a call, in durations of the call.
const PAUSE: u32 = 9;

/// Upper bound on the pause: the advisory lock must be confirmed at least every [`CONFIRM_INTERVAL_MAX`], and
/// every call confirms it.
const PAUSE_MAX: Duration = Duration::from_secs(5);

const _: () = assert!(PAUSE_MAX.as_nanos() < CONFIRM_INTERVAL_MAX.as_nanos());

/// How far the clocks of the store and of this node may be apart.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// The retention of a node. Dropping it ends it.
pub struct Retention {
    task: AbortHandle,
    leadership: Arc<Leadership>,
}

/// Since when this node leads retention, or since its last complete round; `None` while another node leads.
#[derive(Default)]
struct Leadership(Mutex<Option<Instant>>);

impl Leadership {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Retention {
    /// Starts it.
    pub fn start(live: Arc<Live>, store: Arc<dyn Store>) -> Self {
        let leadership = Arc::<Leadership>::default();
        let job = Job { live, leadership: leadership.clone() };
        let task = tokio::spawn(async move {
            loop {
                if catch_panic("retention", job.run_if_elected(&*store)).await.is_err() {
                    job.leadership.set(None);
                    counter!("draftwire_retention_failures_total").increment(1);
                }
                job.pause(Instant::now(), Duration::MAX).await;
            }
        });
        Self { task: task.abort_handle(), leadership }
    }

    /// Ends it; what is under way is given up.
    pub fn stop(&self) {
        self.task.abort();
        self.leadership.set(None);
    }

    /// Returns whether this node is the one that does it.
    pub fn is_leader(&self) -> bool {
        self.leadership.get().is_some()
    }

    /// Brings the gauges up to date. Called when they are read: they change without anything happening.
    pub fn observe(&self) {
        let leads_since = self.leadership.get();
        gauge!("draftwire_retention_holder").set(f64::from(u8::from(leads_since.is_some())));
        let age = leads_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        gauge!("draftwire_retention_age_seconds").set(age);
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why a round was not completed.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the clocks of the store and of this node are {apart:?} apart")]
    Clocks { apart: Duration },
}

struct Job {
    live: Arc<Live>,
    leadership: Arc<Leadership>,
}

impl Job {
    /// Claims the leadership and, where no other node has it, does rounds until one fails.
    async fn run_if_elected(&self, store: &dyn Store) {
        let mut retention = match store.claim_retention().await {
            Ok(Some(retention)) => retention,
            Ok(None) => return,
            Err(error) => {
                debug!(%error, "the leadership of retention cannot be claimed; it is tried again later");
                return;
            }
        };
        info!("this node leads retention from now on");
        self.leadership.set(Some(Instant::now()));
        let Err(error) = self.rounds(&mut *retention).await;
        self.leadership.set(None);
        counter!("draftwire_retention_failures_total").increment(1);
        warn!(%error, "a round of retention failed; the leadership is given up, and claimed again later");
    }

    async fn rounds(
        &self,
        retention: &mut dyn RetentionStore,
    ) -> Result<std::convert::Infallible, RoundError> {
        loop {
            let began = Instant::now();
            self.round(retention).await?;
            self.leadership.set(Some(Instant::now()));
            histogram!("draftwire_retention_round_seconds").record(began.elapsed().as_secs_f64());
            let ended = Instant::now();
            while !self.pause(ended, CONFIRM_INTERVAL_MAX).await {
                retention.confirm().await?;
            }
            retention.confirm().await?;
        }
    }

    async fn round(&self, retention: &mut dyn RetentionStore) -> Result<(), RoundError> {
        // What a round that was given up has left behind.
        delete(retention).await?;
        let now = agreed(retention.now().await?, unix_ms())?;
        for kind in StreamKind::ALL {
            let Kept { age, events } = self.kept(kind);
            let before = age.map(|age| before(now, age));
            if before.is_none() && events.is_none() {
                continue;
            }
            let rule = Rule { kind, events_max: events, before };
            let mut after: Option<String> = None;
            loop {
                let trimmed = paced(retention.trim(&rule, after.as_deref(), CHUNK)).await?;
                counter!("draftwire_retention_skipped_total").increment(trimmed.skipped as u64);
                if trimmed.moved > 0 {
                    delete(retention).await?;
                }
                after = trimmed.next;
                if after.is_none() {
                    break;
                }
            }
        }
        let before = before(now, self.live.node().writes.command_memory);
        loop {
            let forgotten = paced(retention.forget_commands(before, REMOVED_MAX)).await?;
            counter!("draftwire_commands_forgotten_total").increment(forgotten);
            if forgotten < u64::from(REMOVED_MAX) {
                return Ok(());
            }
        }
    }

    /// Waits until `RETENTION_INTERVAL` has passed since then, or for at most `wait_max`. Returns whether it has.
    async fn pause(&self, since: Instant, wait_max: Duration) -> bool {
        let began = Instant::now();
        let mut changed = self.live.subscribe();
        loop {
            let interval = self.live.node().retention.interval;
            let left = interval.saturating_sub(since.elapsed());
            let may_wait = wait_max.saturating_sub(began.elapsed());
            if left.is_zero() || may_wait.is_zero() {
                return left.is_zero();
            }
            tokio::select! {
                () = sleep(left.min(may_wait)) => {}
                // It may be a shorter one now.
                Ok(()) = changed.changed() => {}
            }
        }
    }

    fn kept(&self, kind: StreamKind) -> Kept {
        let settings = &self.live.node().retention;
        match kind {
            StreamKind::All => settings.all,
            StreamKind::Control => settings.control,
            StreamKind::Topic => settings.topic,
            StreamKind::User => settings.user,
        }
    }
}

/// Deletes all that is below the floors.
async fn delete(retention: &mut dyn RetentionStore) -> Result<(), StoreError> {
    loop {
        let deleted = paced(retention.delete(REMOVED_MAX)).await?;
        if deleted.streams == 0 {
            return Ok(());
        }
        for kind in StreamKind::ALL {
            let events = deleted.of(kind);
            if events > 0 {
                counter!("draftwire_retention_events_removed_total", "stream" => kind.as_str())
                    .increment(events);
            }
        }
    }
}

/// The time by the store's clock, if this node's is about the same.
fn agreed(store: u64, own: u64) -> Result<u64, RoundError> {
    let apart = Duration::from_millis(store.abs_diff(own));
    if apart > CLOCKS_APART_MAX { Err(RoundError::Clocks { apart }) } else { Ok(store) }
}

fn before(now: u64, age: Duration) -> u64 {
    now.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
}

/// A call, and the pause after it.
async fn paced<T>(call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let began = Instant::now();
    let answer = call.await?;
    sleep((began.elapsed() * PAUSE).min(PAUSE_MAX)).await;
    Ok(answer)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_old_is_decided_by_clocks_that_agree() {
        assert_eq!(agreed(1_000_000, 1_000_000).unwrap(), 1_000_000);
        assert_eq!(agreed(1_000_000, 1_060_000).unwrap(), 1_000_000);
        assert_eq!(agreed(1_060_000, 1_000_000).unwrap(), 1_060_000);
        for (store, own) in [(1_000_000, 1_060_001), (1_060_001, 1_000_000), (0, u64::MAX)] {
            assert!(matches!(agreed(store, own), Err(RoundError::Clocks { .. })), "{store} {own}");
        }
    }
}
