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
use metrics::{counter, gauge, histogram};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use crate::{
    config::{self, Kept},
    store::{CONFIRM_INTERVAL_MAX, Chunk, Rule, Store, StoreError, StreamKind, Upkeep},
};

/// What one look at streams takes in. Most of them have nothing to give up, which costs one row of each.
const CHUNK: Chunk = Chunk { streams_max: 200, events_max: 500 };

/// Events, and commands, removed by one call: some milliseconds of work.
const REMOVED_MAX: u32 = 1000;

/// The pause after a call, in durations of the call.
const PAUSE: u32 = 9;

/// The longest pause. A database that is this slow has other sorrows, and the right to the upkeep must
/// not go unused for long.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How far the clocks of the store and of this node may be apart.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// The retention of a node. Dropping it ends it.
pub struct Retention {
    task: AbortHandle,
    held: Arc<Held>,
}

/// Since when this node has the right to the upkeep, or since its last complete round; `None` while
/// another node has it.
#[derive(Default)]
struct Held(Mutex<Option<Instant>>);

impl Held {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn get(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Retention {
    /// Starts it. `command_memory` is how long commands are remembered.
    pub fn start(settings: &config::Retention, command_memory: Duration, store: Arc<dyn Store>) -> Self {
        let held = Arc::<Held>::default();
        let job = Job { settings: settings.clone(), command_memory, held: held.clone() };
        let task = tokio::spawn(async move {
            loop {
                job.have_a_go(&*store).await;
                sleep(job.settings.interval).await;
            }
        });
        Self { task: task.abort_handle(), held }
    }

    /// Ends it; what is under way is given up.
    pub fn stop(&self) {
        self.task.abort();
        self.held.set(None);
    }

    /// Whether this node is the one that does it.
    pub fn is_held(&self) -> bool {
        self.held.get().is_some()
    }

    /// Brings the gauges up to date. Called when they are read: they change without anything happening.
    pub fn observe(&self) {
        let held = self.held.get();
        gauge!("draftwire_retention_holder").set(f64::from(u8::from(held.is_some())));
        let age = held.map_or(0.0, |since| since.elapsed().as_secs_f64());
        gauge!("draftwire_retention_age_seconds").set(age);
    }
}

impl Drop for Retention {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
enum GivenUp {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("the clocks of the store and of this node are {apart:?} apart")]
    Clocks { apart: Duration },
}

struct Job {
    settings: config::Retention,
    command_memory: Duration,
    held: Arc<Held>,
}

impl Job {
    /// Does rounds for as long as this node has the right to and the store answers.
    async fn have_a_go(&self, store: &dyn Store) {
        let mut upkeep = match store.claim_upkeep().await {
            Ok(Some(upkeep)) => upkeep,
            Ok(None) => return,
            Err(error) => {
                debug!(%error, "retention is tried again later");
                return;
            }
        };
        info!("retention is this node's from now on");
        self.held.set(Some(Instant::now()));
        let Err(error) = self.rounds(&mut *upkeep).await;
        self.held.set(None);
        counter!("draftwire_retention_failures_total").increment(1);
        warn!(%error, "retention is given up, and tried again later");
    }

    async fn rounds(&self, upkeep: &mut dyn Upkeep) -> Result<std::convert::Infallible, GivenUp> {
        loop {
            let began = Instant::now();
            self.round(upkeep).await?;
            self.held.set(Some(Instant::now()));
            histogram!("draftwire_retention_round_seconds").record(began.elapsed().as_secs_f64());
            let next = Instant::now() + self.settings.interval;
            loop {
                let left = next.saturating_duration_since(Instant::now());
                sleep(left.min(CONFIRM_INTERVAL_MAX)).await;
                upkeep.confirm().await?;
                if left <= CONFIRM_INTERVAL_MAX {
                    break;
                }
            }
        }
    }

    async fn round(&self, upkeep: &mut dyn Upkeep) -> Result<(), GivenUp> {
        // What a round that was given up has left behind.
        delete(upkeep).await?;
        let now = agreed(upkeep.now().await?, unix_ms())?;
        for kind in StreamKind::ALL {
            let Kept { age, events } = self.kept(kind);
            let before = age.map(|age| before(now, age));
            if before.is_none() && events.is_none() {
                continue;
            }
            let rule = Rule { kind, events_max: events, before };
            let mut after: Option<String> = None;
            loop {
                let trimmed = paced(upkeep.trim(&rule, after.as_deref(), CHUNK)).await?;
                counter!("draftwire_retention_skipped_total").increment(trimmed.skipped as u64);
                if trimmed.moved > 0 {
                    delete(upkeep).await?;
                }
                after = trimmed.next;
                if after.is_none() {
                    break;
                }
            }
        }
        let before = before(now, self.command_memory);
        loop {
            let forgotten = paced(upkeep.forget_commands(before, REMOVED_MAX)).await?;
            counter!("draftwire_commands_forgotten_total").increment(forgotten);
            if forgotten < u64::from(REMOVED_MAX) {
                return Ok(());
            }
        }
    }

    fn kept(&self, kind: StreamKind) -> Kept {
        match kind {
            StreamKind::All => self.settings.all,
            StreamKind::Topic => self.settings.topic,
            StreamKind::User => self.settings.user,
        }
    }
}

/// Deletes all that is below the floors.
async fn delete(upkeep: &mut dyn Upkeep) -> Result<(), StoreError> {
    loop {
        let deleted = paced(upkeep.delete(REMOVED_MAX)).await?;
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
fn agreed(store: u64, own: u64) -> Result<u64, GivenUp> {
    let apart = Duration::from_millis(store.abs_diff(own));
    if apart > CLOCKS_APART_MAX { Err(GivenUp::Clocks { apart }) } else { Ok(store) }
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
            assert!(matches!(agreed(store, own), Err(GivenUp::Clocks { .. })), "{store} {own}");
        }
    }
}
