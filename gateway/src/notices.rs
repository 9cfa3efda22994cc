//! Notices: looks for events that applications have added with SQL, and tells the hub which streams they are in.
//!
//! Each node looks for itself. That costs the database one short read a node and interval, and saves an election,
//! a hand-over and a way over the bus: a node that lives learns of every event in time, whatever has become of
//! Redis and of the others.

use std::{sync::Arc, time::Duration};

use fanout::{Hub, supervise::catch_panic};
use metrics::{counter, histogram};
use tokio::{
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use tracing::debug;

use crate::store::{NoticeReader, Noticed, Store, StoreError};

/// The pause after a failure. Meanwhile the sweep finds what is new.
const RETRY: Duration = Duration::from_secs(1);

/// The look-out of a node. Dropping it ends it.
pub(crate) struct Notices {
    task: AbortHandle,
}

impl Notices {
    /// Starts it: a look every `every`.
    pub(crate) fn start(every: Duration, store: Arc<dyn Store>, hub: Arc<Hub>) -> Self {
        let task = tokio::spawn(async move {
            loop {
                match catch_panic("notices", look_until_failure(every, &*store, &hub)).await {
                    Ok(Ok(())) => return,
                    Ok(Err(error)) => debug!(%error, "notices cannot be read; trying again"),
                    Err(_) => {}
                }
                counter!("draftwire_notices_failures_total").increment(1);
                sleep(RETRY).await;
            }
        });
        Self { task: task.abort_handle() }
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Notices {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ends without an error where the store has no notices.
async fn look_until_failure(every: Duration, store: &dyn Store, hub: &Hub) -> Result<(), StoreError> {
    let Some(mut reader) = store.notices().await? else { return Ok(()) };
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let noticed = look(&mut *reader).await?;
        tell(hub, &noticed);
    }
}

async fn look(reader: &mut dyn NoticeReader) -> Result<Noticed, StoreError> {
    let began = Instant::now();
    let noticed = reader.next().await?;
    histogram!("draftwire_notices_seconds").record(began.elapsed().as_secs_f64());
    Ok(noticed)
}

fn tell(hub: &Hub, noticed: &Noticed) {
    if let Some(epoch) = &noticed.epoch {
        counter!("draftwire_notices_total").increment(noticed.streams.len() as u64);
        hub.observe_epoch(epoch);
        for (stream, seq) in &noticed.streams {
            hub.notice(epoch, stream, *seq);
        }
    }
    if !noticed.complete {
        counter!("draftwire_notices_incomplete_total").increment(1);
        hub.recheck_all();
    }
}
