//! Writes which topics are attended through this node, where a webhook asks for that.
//!
//! Presence is soft state without a log, so webhooks are told of it by level and not by edge: each node keeps the
//! topics that are attended through it in the store, under a lease, and whoever holds a webhook compares all of them
//! with what the webhook was told last. A change that nobody has written down in time shows at the next comparison.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{Epoch, Stream, TopicName, json::Field};
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
    occupancy::{OCCUPANCY_CHANGES_MAX, OccupancyLease, OccupancyStore},
};

/// How often a node compares what is attended with what it has written, where anybody asks.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// Names of a node that are taken back at once when all is written under its next one. What is more ends with its lease.
const OUTDATED_MAX: usize = 16;

/// The name under which this node writes, once it has renewed leases for a whole lease without a break: then all
/// nodes have had the time to do so. After an outage of the store, or a start of this node, all leases may have
/// ended although nobody has left.
#[derive(Default)]
pub(super) struct SteadyLease(Mutex<Option<String>>);

impl SteadyLease {
    /// Returns the name; `None` where not all nodes have had that time.
    pub(super) fn name(&self) -> Option<String> {
        self.get().clone()
    }

    fn get(&self) -> MutexGuard<'_, Option<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes until the node stops.
pub(super) async fn run(
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    node: String,
    lease: Duration,
    steady: Arc<SteadyLease>,
    mut stopping: watch::Receiver<bool>,
) {
    let Some(occupancy) = store.occupancy() else { return };
    let mut writer = Writer {
        occupancy,
        hub: &hub,
        lease,
        written: Written::new(&node),
        node,
        outdated: Vec::new(),
        renewed: None,
        steady_since: None,
        steady: &steady,
    };
    let mut looks = interval(INTERVAL.min(lease / 4));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
        let written = catch_panic("occupancy", writer.write()).await;
        if let Ok(Err(error)) = &written {
            debug!(%error, "what is attended cannot be written; trying again");
            counter!("draftwire_webhook_store_failures_total").increment(1);
        }
        if !matches!(written, Ok(Ok(()))) {
            *steady.get() = None;
            if writer.written.is_uncertain {
                writer.begin_anew();
            }
        }
    }
    if let Err(error) = writer.leave().await {
        debug!(%error, "what is attended could not be taken back; it ends with the lease");
    }
}

/// What stands in the store under one name.
struct Written {
    name: String,
    topics: BTreeSet<TopicName>,
    /// The history that they were written in; `None` where nothing is.
    epoch: Option<Epoch>,
    /// What webhooks asked for when all topics were written.
    complete_for: Option<String>,
    /// When the lease was prolonged last; `None` while there is none.
    renewed: Option<Instant>,
    /// Whether a call is under way or has failed: nobody knows what it has written.
    is_uncertain: bool,
}

impl Written {
    fn new(node: &str) -> Self {
        Self {
            name: format!("{node}/{:016x}", rand::random::<u64>()),
            topics: BTreeSet::new(),
            epoch: None,
            complete_for: None,
            renewed: None,
            is_uncertain: false,
        }
    }
}

struct Writer<'a> {
    occupancy: &'a dyn OccupancyStore,
    hub: &'a Hub,
    lease: Duration,
    node: String,
    written: Written,
    /// Earlier names of this node that may still be in the store.
    outdated: Vec<String>,
    /// When a lease of this node was prolonged last, under whatever name.
    renewed: Option<Instant>,
    /// Since when they have run without a break.
    steady_since: Option<Instant>,
    steady: &'a SteadyLease,
}

impl Writer<'_> {
    /// Takes a new name, because nobody knows any more what stands under the present one. Everything that is attended
    /// is written under the new one; what stands under the old one is taken back then, or ends with its lease.
    fn begin_anew(&mut self) {
        let old = std::mem::replace(&mut self.written, Written::new(&self.node));
        if self.outdated.len() < OUTDATED_MAX {
            self.outdated.push(old.name);
        }
        *self.steady.get() = None;
    }

    /// The same where leases may have ended, those of other nodes as well.
    fn begin_anew_after_a_break(&mut self) {
        self.begin_anew();
        (self.renewed, self.steady_since) = (None, None);
    }

    /// Removes all that this node has written.
    async fn leave(&mut self) -> Result<(), StoreError> {
        let mut names = self.outdated.clone();
        names.extend(self.written.renewed.map(|_| self.written.name.clone()));
        if !names.is_empty() {
            self.occupancy.leave(&names).await?;
        }
        Ok(())
    }

    async fn write(&mut self) -> Result<(), StoreError> {
        let asked = self.occupancy.asked().await?;
        let filters: Vec<Filter> = asked
            .filters
            .iter()
            .filter_map(|text| Filter::read(text).ok())
            .filter(Filter::asks_for_presence)
            .collect();
        if filters.is_empty() {
            if self.written.renewed.is_some() {
                self.leave().await?;
                self.begin_anew_after_a_break();
                self.outdated.clear();
            }
            return Ok(());
        }
        let has_ended = self.renewed.is_some_and(|renewed| renewed.elapsed() >= self.lease);
        let is_of_another_history = self.written.epoch.as_ref().is_some_and(|epoch| *epoch != asked.epoch);
        if has_ended || is_of_another_history {
            self.begin_anew_after_a_break();
        }
        let attended: BTreeSet<TopicName> = self
            .hub
            .attended()
            .into_iter()
            .filter_map(|stream| if let Stream::Topic(topic) = stream { Some(topic) } else { None })
            .filter(|topic| filters.iter().any(|filter| filter.asks_who_attends(topic)))
            .collect();
        let written = &mut self.written;
        let most = OCCUPANCY_CHANGES_MAX;
        let came: Vec<TopicName> = attended.difference(&written.topics).take(most).cloned().collect();
        let left: Vec<TopicName> = written.topics.difference(&attended).take(most).cloned().collect();
        let complete_for = (came.len() < most && left.len() < most).then_some(asked.digest);
        let is_due = written.renewed.is_none_or(|renewed| renewed.elapsed() >= self.lease / 3);
        if !came.is_empty() || !left.is_empty() || is_due || written.complete_for != complete_for {
            let began = Instant::now();
            written.is_uncertain = true;
            let lease = OccupancyLease {
                name: &written.name,
                lasts: self.lease,
                complete_for: complete_for.as_deref(),
            };
            let was_running = self.occupancy.attend(&lease, &names(&came), &names(&left)).await?;
            written.is_uncertain = false;
            if !was_running && written.renewed.is_some() {
                // Others may have removed it, or the store's clock has jumped.
                self.begin_anew_after_a_break();
                return Ok(());
            }
            (written.renewed, self.renewed) = (Some(began), Some(began));
            written.topics.extend(came);
            for topic in left {
                written.topics.remove(&topic);
            }
            (written.epoch, written.complete_for) = (Some(asked.epoch), complete_for);
            self.steady_since.get_or_insert(began);
            #[allow(clippy::cast_precision_loss)]
            gauge!("draftwire_occupancy_topics").set(written.topics.len() as f64);
            if written.complete_for.is_some() && !self.outdated.is_empty() {
                self.occupancy.leave(&self.outdated).await?;
                self.outdated.clear();
            }
        }
        let is_steady = self.steady_since.is_some_and(|since| since.elapsed() >= self.lease);
        *self.steady.get() = is_steady.then(|| self.written.name.clone());
        Ok(())
    }
}

fn names(topics: &[TopicName]) -> Vec<String> {
    topics.iter().map(ToString::to_string).collect()
}
