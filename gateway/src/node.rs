//! A node: the composition root, which puts all parts together from the settings.

use std::{sync::Arc, time::Instant};

use fanout::{
    Hub,
    bus::{Bus, MemoryBus, RedisBus, RedisOptions},
};

use crate::{
    auth::{self, Backend, Verifier},
    cluster::{Cluster, Sources as ClusterSources},
    commands::{drafts::Drafts, group_commit::Committer, reads::Reads, topics::Topics},
    config::{self, Config, Database, Live},
    control::{Control, ControlEvent, Instruction},
    data_dir::{self, LockError},
    edge::{
        body::BodyReader,
        connections::Connections,
        context::{Admission, ConnectionContext},
        drain::Drain,
        here::Here,
        http::{demo::DemoTokens, health::HealthSources},
        identity::Authenticator,
        state::{EdgeState, Parts},
    },
    notices::Notices,
    retention::Retention,
    settings::RuntimeSettings,
    store::{Limits, Store, StoreError, StoreHealth, WriteHealth, postgres, sqlite},
    subscriptions::Sources,
    webhooks::Webhooks,
};

/// One node. It keeps nothing that another node could not rebuild.
pub struct Node {
    /// The configuration that the node was started with.
    pub settings: Config,
    /// The settings that hold at the moment.
    pub live: Arc<Live>,
    /// The settings that operators change while the node runs.
    pub runtime: Arc<RuntimeSettings>,
    /// The streams that somebody follows here.
    pub hub: Arc<Hub>,
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// The connections here.
    pub connections: Arc<Connections>,
    /// Whether it is stopping.
    pub drain: Arc<Drain>,
    /// The follower of the control stream.
    control: Control,
    /// The look-out for what applications publish with SQL.
    notices: Notices,
    /// The removal of what has grown old.
    pub retention: Retention,
    /// The webhooks that this node delivers for.
    webhooks: Arc<Webhooks>,
    /// What it knows of the other nodes.
    cluster: Arc<Cluster>,
    /// The shared truth.
    pub store: Arc<dyn Store>,
    edge: EdgeState,
}

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
    /// The client of the application's backend cannot be built.
    #[error("the client for SUBSCRIBE_AUTH_URL and CONNECT_AUTH_URL: {0}")]
    Backend(#[source] reqwest::Error),
    /// The client of the receivers of webhooks cannot be built.
    #[error("the client for webhooks: {0}")]
    Webhooks(#[source] reqwest::Error),
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
        let node = Self::assemble(settings, store, bus)?;
        // Before anybody is served. What changes from now on, the control stream tells.
        node.runtime.load().await?;
        Ok(node)
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
        let live = Live::new(settings.changeable());
        let hub = Hub::start(settings.listen.node.clone(), settings.fanout.clone(), store.clone(), bus);
        let writes = Arc::<WriteHealth>::default();
        let committer = Committer::start(&live, &store, &hub, &writes);
        let reads = Reads::new(store.clone(), reads_max(&settings));
        let limits = &settings.websocket;
        let connections = Connections::new(limits.connections_max, limits.connections_per_user);
        let backend = Backend::new(settings.backend.clone()).map_err(StartError::Backend)?;
        let runtime = RuntimeSettings::start(&settings, live.clone(), store.clone(), hub.clone(), {
            let (hub, connections) = (hub.clone(), connections.clone());
            Box::new(move |now| {
                hub.set_settings(now.fanout.clone());
                connections.set_bounds(now.websocket.connections_max, now.websocket.connections_per_user);
            })
        });
        let control = Control::start(hub.clone(), {
            let (backend, connections, runtime) = (backend.clone(), connections.clone(), runtime.clone());
            // Answers are forgotten first: whoever comes back at once is asked about anew.
            Box::new(move |instruction| match instruction {
                Instruction::Event(ControlEvent::UserDisconnected(disconnect)) => {
                    backend.forget(&disconnect.user_id);
                    connections.disconnect(disconnect);
                }
                Instruction::Event(ControlEvent::SettingsChanged) => runtime.reread(),
                Instruction::Missed => {
                    backend.forget_all();
                    connections.disconnect_all();
                    runtime.reread();
                }
            })
        });
        runtime.follow(control.followed());
        let drain = Arc::<Drain>::default();
        let verifier = Arc::new(Verifier::new(&settings.auth)?);
        let topics = Arc::new(Topics::new(
            committer.clone(),
            reads.clone(),
            hub.clone(),
            live.clone(),
            backend.clone(),
        ));
        let store_health = Arc::new(StoreHealth::new(store.clone(), writes));
        let cluster = Cluster::start(ClusterSources {
            name: settings.listen.node.clone(),
            store_kind: settings.store.kind(),
            bus_kind: settings.bus.kind(),
            hub: hub.clone(),
            store: store.clone(),
            store_health: store_health.clone(),
            committer: committer.clone(),
            verifier: verifier.clone(),
            backend: backend.clone(),
            settings: runtime.clone(),
            here: Box::new(Here {
                node: settings.listen.node.to_string(),
                hub: hub.clone(),
                connections: connections.clone(),
                drain: drain.clone(),
            }),
        });
        let drafts = Arc::new(Drafts::new(committer, reads));
        let webhooks = Webhooks::start(
            &settings.webhooks,
            &settings.listen.node,
            store.clone(),
            &hub,
            settings.fanout.presence_lease,
        )
        .map_err(StartError::Webhooks)?;
        let edge = EdgeState::new(Parts {
            webhooks: webhooks.clone(),
            cluster: cluster.clone(),
            settings: runtime.clone(),
            authenticator: Authenticator::new(verifier.clone(), live.clone()),
            bodies: BodyReader::new(live.clone()),
            demo: DemoTokens { verifier: verifier.clone(), rules: Arc::new(settings.auth.rules.clone()) },
            health: Arc::new(HealthSources {
                name: settings.listen.node.clone(),
                store_kind: settings.store.kind(),
                bus_kind: settings.bus.kind(),
                store: store_health,
                hub: hub.clone(),
                connections: connections.clone(),
                drain: drain.clone(),
                started: Instant::now(),
            }),
            context: Arc::new(ConnectionContext {
                sources: Arc::new(Sources::new(hub.clone(), drafts.clone())),
                drafts,
                topics,
                verifier: verifier.clone(),
                backend,
                connections: connections.clone(),
                drain: drain.clone(),
                admission: Admission::new(runtime.loaded()),
                live: live.clone(),
                listen: settings.listen.clone(),
            }),
        });
        let retention = Retention::start(live.clone(), store.clone());
        let notices = Notices::start(settings.store.notices_interval, store.clone(), hub.clone());
        Ok(Arc::new(Self {
            settings,
            live,
            runtime,
            hub,
            verifier,
            connections,
            drain,
            control,
            notices,
            retention,
            webhooks,
            cluster,
            store,
            edge,
        }))
    }

    /// What [`edge::router`](crate::edge::router) serves.
    pub fn edge(&self) -> EdgeState {
        self.edge.clone()
    }

    /// Tells all clients to move, and waits until they have. Returns how many connections were left
    /// over. Requests over HTTP are served on.
    pub async fn drain(&self) -> usize {
        let window = self.live.node().websocket.drain_window;
        self.drain.run(&self.hub, &self.connections, window).await
    }

    /// Stops the background tasks and closes the store. Call it after [`Node::drain`].
    pub async fn close(&self) {
        self.cluster.stop();
        self.webhooks.stop().await;
        self.control.stop();
        self.runtime.stop();
        self.notices.stop();
        self.retention.stop();
        self.hub.stop();
        self.store.close().await;
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
        Database::Postgres { url, schema, history, pool_max, state_cache_bytes_max } => {
            let options = postgres::PostgresOptions {
                url: url.reveal().to_owned(),
                schema: schema.clone(),
                history: *history,
                connections_max: *pool_max as usize,
                state_cache_bytes_max: *state_cache_bytes_max,
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
