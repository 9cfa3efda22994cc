//! The cluster's picture: what all nodes do, as each of them knows it.
//!
//! Nodes tell each other once a second how they are, as soft state over the channel of the control stream, to which every
//! node subscribes already. A node that is silent is stale after three seconds, and forgotten after a minute. While the
//! bus is not trusted, a node knows only of itself, and says so. Histograms travel as such, so percentiles are of all
//! events of the cluster.
//!
//! The picture is put together once a second at most, and only while somebody looks.

mod asking;
mod connections;
mod facts;
mod history;
mod node_view;
mod others;
mod profiles;
mod questions;
mod report;
mod sampler;
pub(crate) mod usage;
mod view;
mod warnings;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use common::{
    ids::NodeId,
    operations::{Tally, Window},
    time::unix_ms,
};
use fanout::{Hub, supervise::catch_panic};
use metrics::counter;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::AbortHandle,
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::debug;

use self::{
    facts::{Facts, Part, PoolFacts, Totals},
    history::{History, STEP_SECONDS},
    others::Others,
    questions::Questions,
    report::{Message, Report},
    sampler::{Sample, Sampler},
    view::ClusterView,
};
use crate::{
    auth::{Backend, Verifier},
    commands::group_commit::Committer,
    operations,
    settings::RuntimeSettings,
    store::{Store, StoreHealth},
};

pub(crate) use self::{
    asking::StreamFollowers,
    connections::{ConnectionFacts, ConnectionPage, ConnectionQuery, CursorFacts, PAGE_MAX},
    facts::{CacheFacts, ConnectionCounts, Queues, Rates},
    history::HistoryView,
    node_view::Latency,
};

/// How often nodes say how they are.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the bus has to be trusted until every node that can be heard has said how it is.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// How often the store is asked whether it answers.
const STORE_INTERVAL: Duration = Duration::from_secs(2);

/// Operations in a report that are no part of the path: those that are slow.
const SLOW_MAX: usize = 16;

/// Questions of other nodes that are answered at a time.
const ANSWERING_MAX: usize = 8;

/// Who may follow the picture at a time.
pub(crate) const WATCHERS_MAX: usize = 32;

/// The picture, as JSON.
pub(crate) type Picture = Arc<str>;

/// What this node has that is not told elsewhere: its connections.
pub(crate) trait Here: Send + Sync + 'static {
    /// How many there are.
    fn connections(&self) -> ConnectionCounts;

    /// How many users they are of.
    fn users(&self) -> usize;

    /// Whether the node stops.
    fn is_stopping(&self) -> bool;

    /// Lists connections, in the order of their ids.
    fn list(&self, query: &ConnectionQuery) -> Vec<ConnectionFacts>;
}

/// What a node is told from.
pub(crate) struct Sources {
    pub(crate) name: NodeId,
    pub(crate) store_kind: &'static str,
    pub(crate) bus_kind: &'static str,
    pub(crate) hub: Arc<Hub>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) store_health: Arc<StoreHealth>,
    pub(crate) committer: Committer,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) backend: Arc<Backend>,
    pub(crate) settings: Arc<RuntimeSettings>,
    pub(crate) here: Box<dyn Here>,
}

/// What this node knows of the cluster.
pub(crate) struct Cluster {
    sources: Sources,
    started_at: u64,
    store_answers: AtomicBool,
    state: Mutex<State>,
    /// The newest picture, while somebody follows it.
    pictures: watch::Sender<Option<Picture>>,
    watchers: Arc<Semaphore>,
    /// What this node has asked the others.
    questions: Questions,
    /// What the others have asked this one.
    answering: Arc<Semaphore>,
    tasks: Mutex<Vec<AbortHandle>>,
}

struct State {
    own: Report,
    others: Others,
    sampler: Sampler,
    /// Since when the bus has been trusted without a break.
    trusted_since: Option<Instant>,
    /// The picture of this second, once somebody has asked for it.
    picture: Option<Picture>,
    history: History,
}

/// How this node is, for its health.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Own {
    connection_counts: ConnectionCounts,
    streams: u64,
    rates: Rates,
    latency: Latency,
    caches: Vec<CacheFacts>,
    queues: Queues,
    duplicates_suppressed: u64,
}

/// Who follows the picture.
pub(crate) struct Watcher {
    pictures: watch::Receiver<Option<Picture>>,
    _place: OwnedSemaphorePermit,
}

impl Watcher {
    /// The next picture; `None` once there is none any more. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Option<Picture> {
        loop {
            self.pictures.changed().await.ok()?;
            if let Some(picture) = self.pictures.borrow_and_update().clone() {
                return Some(picture);
            }
        }
    }
}

impl State {
    fn view(&self, now: Instant) -> ClusterView {
        let others: Vec<_> = match self.trusted_since {
            Some(_) => self.others.iter(now).collect(),
            None => Vec::new(),
        };
        let complete = self.trusted_since.is_some_and(|since| now.duration_since(since) >= SETTLED_AFTER);
        ClusterView::of(&self.own, &others, complete, operations::threshold())
    }
}

impl Cluster {
    /// Starts telling the other nodes, and listening to them.
    pub(crate) fn start(sources: Sources) -> Arc<Self> {
        let state = State {
            own: Report::default(),
            others: Others::default(),
            sampler: Sampler::default(),
            trusted_since: None,
            picture: None,
            history: History::default(),
        };
        let cluster = Arc::new(Self {
            sources,
            started_at: unix_ms(),
            store_answers: AtomicBool::new(true),
            state: Mutex::new(state),
            pictures: watch::Sender::new(None),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            questions: Questions::default(),
            answering: Arc::new(Semaphore::new(ANSWERING_MAX)),
            tasks: Mutex::default(),
        });
        cluster.tick();
        let listener = Arc::downgrade(&cluster);
        cluster.sources.hub.listen_to_nodes(Box::new(move |process, bytes| {
            if let Some(cluster) = listener.upgrade() {
                cluster.heard(process, bytes);
            }
        }));
        let tasks = [
            tokio::spawn(keep_telling(Arc::downgrade(&cluster))),
            tokio::spawn(watch_store(Arc::downgrade(&cluster))),
        ];
        cluster.tasks().extend(tasks.map(|task| task.abort_handle()));
        cluster
    }

    /// Ends its tasks.
    pub(crate) fn stop(&self) {
        self.tasks().drain(..).for_each(|task| task.abort());
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The picture of this second.
    pub(crate) fn picture(&self) -> Picture {
        let mut state = self.state();
        if let Some(picture) = &state.picture {
            return picture.clone();
        }
        let view = state.view(Instant::now());
        let picture: Picture = serde_json::to_string(&view).unwrap_or_default().into();
        state.picture = Some(picture.clone());
        picture
    }

    /// The last hour, as this node has seen it.
    pub(crate) fn history(&self) -> HistoryView {
        self.state().history.view()
    }

    /// The processes of other nodes that can be heard, by name, where `wanted` wants them; and whether these are all.
    fn living(&self, wanted: impl Fn(&str) -> bool) -> (BTreeMap<NodeId, String>, bool) {
        let (state, now) = (self.state(), Instant::now());
        let Some(trusted_since) = state.trusted_since else { return (BTreeMap::new(), false) };
        let living = state.others.living(now).filter(|(_, name)| wanted(name));
        let living = living.map(|(process, name)| (process.clone(), name.to_owned())).collect();
        (living, now.duration_since(trusted_since) >= SETTLED_AFTER)
    }

    /// How this node was at most a second ago, and how late events were.
    pub(crate) fn own(&self) -> Own {
        let state = self.state();
        let Facts { connections, streams, rates, totals, queues, caches, .. } = state.own.facts.clone();
        let latency = Latency::of(&state.own.latency.durations);
        let duplicates_suppressed = totals.duplicates_suppressed;
        Own { connection_counts: connections, streams, rates, latency, caches, queues, duplicates_suppressed }
    }

    /// Follows the picture: the present one at once, then one every second; `None` while [`WATCHERS_MAX`] do.
    pub(crate) fn watch(&self) -> Option<Watcher> {
        let place = self.watchers.clone().try_acquire_owned().ok()?;
        let mut pictures = self.pictures.subscribe();
        let picture = self.picture();
        self.pictures.send_if_modified(|last| {
            let is_first = last.is_none();
            last.get_or_insert(picture);
            is_first
        });
        pictures.mark_changed();
        Some(Watcher { pictures, _place: place })
    }

    /// What happens every second.
    fn tick(&self) {
        let facts = self.facts();
        let operations::LastMinute { latency, operations } = operations::last_minute();
        let mut state = self.state();
        let now = Instant::now();
        let sample =
            Sample { at: now, totals: facts.totals, cpu_seconds: usage::cpu_seconds().unwrap_or_default() };
        let (rates, processors) = state.sampler.add(sample);
        let facts = Facts { rates, processors, ..facts };
        let number = state.own.number + 1;
        state.own = Report { number, facts, latency, operations: worth_telling(operations) };
        state.picture = None;
        if self.sources.hub.bus_is_trusted() {
            state.trusted_since.get_or_insert(now);
            state.others.expire(now);
        } else {
            state.trusted_since = None;
            state.others.clear();
        }
        if number % STEP_SECONDS == 1 {
            let sample = state.view(now).sample();
            state.history.push(sample);
        }
        let message = Message::of_report(state.own.clone());
        drop(state);
        match message.encode() {
            // A bus in memory delivers before this returns, so no lock is held.
            Ok(bytes) => self.sources.hub.say_to_nodes(&bytes),
            Err(error) => debug!(%error, "the report of this node cannot be written"),
        }
        if self.pictures.receiver_count() > 0 {
            self.pictures.send_replace(Some(self.picture()));
        } else {
            self.pictures.send_replace(None);
        }
    }

    /// Takes what another node says.
    fn heard(self: &Arc<Self>, process: NodeId, bytes: &[u8]) {
        let reason = match Message::decode(bytes) {
            // What is none of these is of a newer node.
            Ok(Message { report, question, answer, .. }) => {
                if let Some(question) = question {
                    self.asked(question);
                }
                if let Some(answer) = answer {
                    self.questions.take(process.clone(), answer);
                }
                if report.is_none_or(|report| self.state().others.hear(process, report, Instant::now())) {
                    return;
                }
                "nodes"
            }
            Err(error) => {
                debug!(%process, %error, "rejected what a node says");
                error.label()
            }
        };
        counter!("draftwire_bus_messages_rejected_total", "reason" => reason).increment(1);
    }

    fn facts(&self) -> Facts {
        let Sources { name, hub, here, .. } = &self.sources;
        let part = |kind: &str, ok| Part { kind: kind.to_owned(), ok };
        Facts {
            node: name.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.started_at,
            as_of: unix_ms(),
            stopping: here.is_stopping(),
            connections: here.connections(),
            users: here.users() as u64,
            streams: hub.streams() as u64,
            totals: Totals::now(),
            memory_bytes: usage::resident_bytes().unwrap_or_default(),
            queues: self.queues(),
            bus: part(self.sources.bus_kind, hub.bus_is_trusted()),
            store: part(self.sources.store_kind, self.store_answers.load(Ordering::Relaxed)),
            sweep_interval_ms: u64::try_from(hub.sweep_interval().as_millis()).unwrap_or(u64::MAX),
            caches: self.caches(),
            settings_version: self.sources.settings.version(),
            ..Facts::default()
        }
    }

    fn queues(&self) -> Queues {
        let (writes, writes_max, write_bytes) = self.sources.committer.depth();
        let pool = self.sources.store.pool().map(|pool| PoolFacts {
            open: pool.open as u64,
            busy: pool.busy as u64,
            waiting: pool.waiting as u64,
            max: pool.max as u64,
        });
        let (writes, writes_max, write_bytes) = (writes as u64, writes_max as u64, write_bytes as u64);
        let pending_batches = Tally::WindowsOpened.total().saturating_sub(Tally::WindowsEnded.total());
        Queues { writes, writes_max, write_bytes, pending_batches, pool }
    }

    fn caches(&self) -> Vec<CacheFacts> {
        let Sources { verifier, backend, .. } = &self.sources;
        let cache = |name, hits: Tally, misses: Tally, entries: Option<usize>| {
            CacheFacts::new(name, hits.total(), misses.total(), entries.map(|entries| entries as u64))
        };
        vec![
            cache("tokens", Tally::TokenHits, Tally::TokenMisses, Some(verifier.cached())),
            cache("answers", Tally::AnswerHits, Tally::AnswerMisses, Some(backend.cached())),
            cache("drafts", Tally::DraftHits, Tally::DraftMisses, None),
            cache("events", Tally::EventHits, Tally::EventMisses, None),
        ]
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The operations that have no colon in their names, and of statements and routes those that are slow: what operators
/// have to know at once. All others are asked for where they are wanted.
fn worth_telling(mut operations: Vec<(String, Window)>) -> Vec<(String, Window)> {
    let slow = operations::threshold();
    let mut told = 0;
    operations.retain(|(name, window)| {
        if !name.contains(':') {
            return true;
        }
        let is_slow = window.durations.quantile(0.95) > slow && told < SLOW_MAX;
        told += usize::from(is_slow);
        is_slow
    });
    operations
}

async fn keep_telling(cluster: Weak<Cluster>) {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is over: it is that of the start.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(cluster) = cluster.upgrade() else { return };
        // The next one is due in a second, whatever became of this one.
        let _ = catch_panic("cluster", async { cluster.tick() }).await;
    }
}

async fn watch_store(cluster: Weak<Cluster>) {
    while let Some(cluster) = cluster.upgrade() {
        let health = cluster.sources.store_health.clone();
        cluster.store_answers.store(health.answers().await, Ordering::Relaxed);
        drop(cluster);
        sleep(STORE_INTERVAL).await;
    }
}
