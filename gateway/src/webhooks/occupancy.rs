//! Writes which topics are attended through this node, where a webhook asks for that.
//!
//! Presence is soft state without a log, so webhooks are told of it by level and not by edge: each node keeps the
//! topics that are attended through it in the store, under a lease, and whoever holds a webhook compares all of them
//! with what the webhook was told last. A change that nobody has written down in time shows at the next comparison.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use common::{Stream, TopicName, json::Field};
use fanout::{Hub, supervise::catch_panic};
use metrics::{counter, gauge};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tracing::debug;

use super::filter::Filter;
use crate::store::{
    Store, StoreError,
    occupancy::{OCCUPANCY_CHANGES_MAX, OccupancyStore},
};

/// How often a node compares what is attended with what it has written, where anybody asks.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a node knows of the leases in the store.
#[derive(Default)]
pub(super) struct Steadiness(AtomicBool);

impl Steadiness {
    /// Returns whether the nodes have had the time to renew their leases. After an outage of the store, or a start of
    /// this node, all leases may have ended although nobody has left.
    pub(super) fn is_steady(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, steady: bool) {
        self.0.store(steady, Ordering::Release);
    }
}

/// Writes until the node stops.
pub(super) async fn run(
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    node: String,
    lease: Duration,
    steadiness: Arc<Steadiness>,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(occupancy) = store.occupancy() else { return };
    let mut writer = Writer {
        occupancy,
        hub: &hub,
        name: format!("{node}/{:016x}", rand::random::<u64>()),
        lease,
        written: BTreeSet::new(),
        renewed: None,
        steady_since: None,
        steadiness: &steadiness,
    };
    let mut looks = interval(INTERVAL.min(lease / 4));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
        match catch_panic("occupancy", writer.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                debug!(%error, "what is attended cannot be written; trying again");
                counter!("draftwire_webhook_store_failures_total").increment(1);
                steadiness.set(false);
            }
            Err(_) => writer.forget(),
        }
    }
    if writer.renewed.is_some()
        && let Err(error) = occupancy.leave(&writer.name).await
    {
        debug!(%error, "what is attended could not be taken back; it ends with the lease");
    }
}

struct Writer<'a> {
    occupancy: &'a dyn OccupancyStore,
    hub: &'a Hub,
    /// New with each start: what an earlier one has written ends with its lease.
    name: String,
    lease: Duration,
    /// The topics that are in the store.
    written: BTreeSet<TopicName>,
    /// When the lease was prolonged last; `None` while there is none.
    renewed: Option<Instant>,
    /// Since when the lease has not ended.
    steady_since: Option<Instant>,
    steadiness: &'a Steadiness,
}

impl Writer<'_> {
    fn forget(&mut self) {
        self.written.clear();
        (self.renewed, self.steady_since) = (None, None);
        self.steadiness.set(false);
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let filters = self.occupancy.filters().await?;
        let filters: Vec<Filter> = filters
            .iter()
            .filter_map(|text| Filter::read(text).ok())
            .filter(Filter::asks_for_presence)
            .collect();
        if filters.is_empty() {
            if self.renewed.is_some() {
                self.occupancy.leave(&self.name).await?;
                self.forget();
            }
            return Ok(());
        }
        let attended: BTreeSet<TopicName> = self
            .hub
            .attended()
            .into_iter()
            .filter_map(|stream| if let Stream::Topic(topic) = stream { Some(topic) } else { None })
            .filter(|topic| filters.iter().any(|filter| filter.asks_who_attends(topic)))
            .collect();
        let most = OCCUPANCY_CHANGES_MAX;
        let came: Vec<TopicName> = attended.difference(&self.written).take(most).cloned().collect();
        let left: Vec<TopicName> = self.written.difference(&attended).take(most).cloned().collect();
        let is_due = self.renewed.is_none_or(|renewed| renewed.elapsed() >= self.lease / 3);
        let is_steady = |since: Instant| since.elapsed() >= self.lease;
        self.steadiness.set(!is_due && self.steady_since.is_some_and(is_steady));
        if came.is_empty() && left.is_empty() && !is_due {
            return Ok(());
        }
        let began = Instant::now();
        let was_there = self.occupancy.attend(&self.name, self.lease, &names(&came), &names(&left)).await?;
        if !was_there && self.renewed.is_some() {
            // It stood still for so long that others have removed it.
            self.forget();
        }
        let is_late = self.renewed.is_none_or(|renewed| renewed.elapsed() >= self.lease);
        if is_late || self.steady_since.is_none() {
            self.steady_since = Some(began);
        }
        self.renewed = Some(began);
        self.written.extend(came);
        for topic in left {
            self.written.remove(&topic);
        }
        #[allow(clippy::cast_precision_loss)]
        gauge!("draftwire_occupancy_topics").set(self.written.len() as f64);
        self.steadiness.set(self.steady_since.is_some_and(|since| since.elapsed() >= self.lease));
        Ok(())
    }
}

fn names(topics: &[TopicName]) -> Vec<String> {
    topics.iter().map(ToString::to_string).collect()
}
