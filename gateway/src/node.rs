//! A node: all its parts, put together from the settings.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fanout::{
    Hub,
    bus::{Bus, MemoryBus, RedisBus, RedisOptions},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use crate::{
    auth::{self, Verifier},
    commands::{drafts::Drafts, group_commit::Committer, reads::Reads, topics::Topics},
    config::{self, Config, Database},
    edge::{connections::Connections, drain::Drain},
    retention::Retention,
    store::{
        Limits, Store, StoreError, WriteHealth,
        data_dir::{self, LockError},
        postgres, sqlite,
    },
    subscriptions::meters::Meters,
};

/// One node. It keeps nothing that another node could not rebuild.
pub struct Node {
    /// What it was told.
    pub settings: Config,
    /// The shared truth.
    pub store: Arc<dyn Store>,
    /// The followers here.
    pub hub: Arc<Hub>,
    /// Changes and reads of drafts.
    pub drafts: Drafts,
    /// What is published, and who may follow it.
    pub topics: Topics,
    /// Whose tokens are taken.
    pub verifier: Verifier,
    /// The connections here.
    pub connections: Arc<Connections>,
    /// Whether it is stopping.
    pub drain: Drain,
    /// Connections on their way from the handshake to `WELCOME`; bounded, so that a storm of them
    /// waits here and not in the store.
    joining: Semaphore,
    /// Room for bodies of requests that are being read.
    pub(crate) body_room: Semaphore,
    /// The removal of what has grown old.
    pub retention: Retention,
    /// Counters touched for every delivery.
    pub(crate) metrics: Meters,
    /// When it started.
    pub started: Instant,
    /// Whether the store answered when it was last asked for its health.
    writes: Arc<WriteHealth>,
    store_health: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

/// How long an answer about the store's health holds: whoever asks, and however often, it costs the
/// store one query in that time.
const HEALTH_TTL: Duration = Duration::from_secs(1);

/// Connections that join at once.
const JOINING_MAX: usize = 512;

/// How long a connection waits to be admitted while many come at once. Beyond it the client does
/// better to come back later.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(5);

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be opened or migrated.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The bus is misconfigured.
    #[error("REDIS_URL: {0}")]
    Bus(#[from] fanout::bus::redis::BusConfigError),
    /// Tokens cannot be verified.
    #[error("{0}")]
    Auth(#[from] auth::VerifierError),
    /// The folder of the embedded store cannot be made.
    #[error("DATA_DIR: cannot use the folder {0}: {1}; choose one that may be written to")]
    DataDir(std::path::PathBuf, std::io::Error),
    /// Another process uses the folder of the embedded store.
    #[error("DATA_DIR: {0} is used by {1}; stop that one, or choose another folder")]
    DataDirInUse(std::path::PathBuf, String),
}

impl Node {
    /// Opens the store, brings its schema up to date, and starts the tasks of the node.
    ///
    /// # Errors
    /// When something that cannot mend itself is wrong. A database or Redis that is down is not:
    /// the former is waited for by whoever calls this, the latter by the bus.
    pub async fn start(settings: Config) -> Result<Arc<Self>, StartError> {
        let store = open_store(&settings).await?;
        let bus: Arc<dyn Bus> = match &settings.bus {
            config::Bus::InProcess => MemoryBus::new(),
            config::Bus::Redis { url, prefix } => {
                RedisBus::new(RedisOptions { prefix: prefix.clone(), ..RedisOptions::new(url.reveal()) })?
            }
        };
        Self::assemble(settings, store, bus)
    }

    /// Puts a node together over a store and a bus that exist.
    ///
    /// # Errors
    /// When tokens cannot be verified with these settings.
    pub fn assemble(
        settings: Config,
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
    ) -> Result<Arc<Self>, StartError> {
        let hub = Hub::start(settings.listen.node.clone(), settings.fanout.clone(), store.clone(), bus);
        let writes = Arc::<WriteHealth>::default();
        let committer = Committer::start(&settings.writes, &store, &hub, &writes);
        let reads = Reads::new(store.clone(), reads_max(&settings));
        let limits = &settings.websocket;
        let connections = Connections::new(limits.connections_max, limits.connections_per_user);
        Ok(Arc::new(Self {
            topics: Topics::new(
                committer.clone(),
                reads.clone(),
                hub.clone(),
                limits.public_topics.clone(),
                store_limits(&settings),
            ),
            drafts: Drafts::new(committer, reads),
            verifier: Verifier::new(&settings.auth)?,
            connections,
            drain: Drain::default(),
            joining: Semaphore::new(JOINING_MAX),
            body_room: crate::edge::body::room(limits.message_bytes_max),
            retention: Retention::start(&settings.retention, settings.writes.command_memory, store.clone()),
            metrics: Meters::default(),
            started: Instant::now(),
            writes,
            store_health: tokio::sync::Mutex::default(),
            store,
            hub,
            settings,
        }))
    }

    /// Admits a connection to join its streams, until what is answered is dropped. `None` when too many
    /// come at once.
    pub(crate) async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        timeout(JOIN_WAIT_MAX, self.joining.acquire()).await.ok()?.ok()
    }

    /// Tells all clients to move, and waits until they have. Returns how many connections were left
    /// over. Requests over HTTP are served on.
    pub async fn drain(&self) -> usize {
        self.drain.run(&self.hub, &self.connections, self.settings.websocket.drain_window).await
    }

    /// Ends what runs, once nobody is served any more.
    pub async fn close(&self) {
        self.retention.stop();
        self.hub.stop();
        self.store.close().await;
    }

    /// Returns whether the store answers, as of a moment ago, and takes writes.
    pub async fn store_answers(&self) -> bool {
        if self.writes.fails() {
            return false;
        }
        let mut known = self.store_health.lock().await;
        if let Some((asked, answers)) = *known
            && asked.elapsed() < HEALTH_TTL
        {
            return answers;
        }
        let answers = self.store.ping().await.is_ok();
        *known = Some((Instant::now(), answers));
        answers
    }

    /// Which store this is, for people.
    pub fn store_kind(&self) -> &'static str {
        if self.settings.store.is_embedded() { "sqlite" } else { "postgres" }
    }

    /// Which bus this is, for people.
    pub fn bus_kind(&self) -> &'static str {
        match self.settings.bus {
            config::Bus::InProcess => "in-process",
            config::Bus::Redis { .. } => "redis",
        }
    }
}

/// Reads of clients at once: a part of the pool, so that commits always find a connection.
fn reads_max(settings: &Config) -> usize {
    match settings.store.database {
        Database::Embedded { .. } => 2,
        Database::Postgres { pool_max, .. } => (pool_max as usize / 3).max(1),
    }
}

/// What the store may be given to keep.
fn store_limits(settings: &Config) -> Limits {
    Limits {
        drafts_per_user_max: settings.writes.drafts_per_user_max,
        draft_bytes_max: settings.writes.draft_bytes_max,
        event_bytes_max: settings.writes.event_bytes_max,
    }
}

async fn open_store(settings: &Config) -> Result<Arc<dyn Store>, StartError> {
    let limits = store_limits(settings);
    let timeout = settings.store.timeout;
    Ok(match &settings.store.database {
        Database::Embedded { dir } => {
            let path = data_dir::prepare(dir)
                .and_then(|()| data_dir::database(dir))
                .map_err(|error| StartError::DataDir(dir.clone(), error))?;
            let in_use = data_dir::lock(dir, &settings.listen.node).map_err(|error| match error {
                LockError::Held(holder) => StartError::DataDirInUse(dir.clone(), holder),
                LockError::Io(error) => StartError::DataDir(dir.clone(), error),
            })?;
            let options = sqlite::SqliteOptions { path, timeout, limits };
            Arc::new(sqlite::SqliteStore::open(&options).await?.holding(in_use))
        }
        Database::Postgres { url, schema, history, pool_max } => {
            let options = postgres::PostgresOptions {
                url: url.reveal().to_owned(),
                schema: schema.clone(),
                history: *history,
                connections_max: *pool_max as usize,
                timeout,
                limits,
            };
            let store = postgres::PostgresStore::new(&options)?;
            store.migrate().await?;
            store.prepare().await?;
            for warning in store.durability_warnings().await? {
                tracing::warn!("{warning}");
            }
            Arc::new(store)
        }
    })
}
