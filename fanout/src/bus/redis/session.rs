//! One connection to Redis, from the attempt to connect to whatever ends it.

use std::{fmt, time::Duration};

use fred::{
    error::ErrorKind,
    prelude::{
        Client, ClientLike, ConnectionConfig, Error, EventInterface, FredResult, PerformanceConfig,
        ServerConfig, TcpConfig, Value,
    },
    types::{ClusterHash, ConnectHandle, CustomCommand},
};
use futures_util::future::try_join_all;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

use super::shared::Shared;
use crate::bus::metrics as names;

/// How long Redis may take to answer anything. Its answers take microseconds; a longer wait than this only
/// delays noticing that it is gone.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often each connection is probed. A Redis that stops answering is noticed within this and
/// [`ANSWER_TIMEOUT`].
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How long one attempt to connect may take, with every Sentinel or Cluster node that has to be asked.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Copies that may wait between the socket and the inbox. At it the oldest are lost: the inbox is told
/// [`Unsure::Lagged`]. It covers a pause of this node of some hundred milliseconds at full load.
const INCOMING_MAX: usize = 8192;

/// Which of the two connections, as metrics and logs call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Publish,
    Subscribe,
}

impl Side {
    fn label(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
        }
    }
}

/// Why a session has ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// The connection could not be made, or was closed.
    Lost(Error),
    /// Redis does not answer, or is not a primary any more.
    Unhealthy(Error),
    /// The Cluster has changed: the new session begins with its new shape.
    ClusterChanged,
    /// [`Bus::resubscribe_all`].
    Asked,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(error) => write!(f, "connection lost: {error}{}", hint(error)),
            Self::Unhealthy(error) => write!(f, "not healthy: {error}{}", hint(error)),
            Self::ClusterChanged => f.write_str("the topology of the cluster changed"),
            Self::Asked => f.write_str("a new connection was requested"),
        }
    }
}

/// A connected client. Dropping it closes the connection, whatever state that is in.
pub(super) struct Session {
    pub(super) client: Client,
    connection: Connection,
    rebuilds: watch::Receiver<u64>,
}

/// fred's task that owns the sockets; it ends when the connection is lost.
struct Connection(ConnectHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Session {
    pub(super) async fn connect(shared: &Shared) -> Result<Self, Ended> {
        // From here on: what was asked before is answered by this session.
        let rebuilds = shared.rebuilds.subscribe();
        let performance = PerformanceConfig {
            default_command_timeout: ANSWER_TIMEOUT,
            broadcast_channel_capacity: INCOMING_MAX,
            ..PerformanceConfig::default()
        };
        let connecting = ConnectionConfig {
            connection_timeout: ANSWER_TIMEOUT,
            internal_command_timeout: ANSWER_TIMEOUT,
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        // No policy: fred does not reconnect.
        let client = Client::new(shared.config.clone(), Some(performance), Some(connecting), None);
        let mut connection = None;
        let connected = async {
            tokio::select! {
                // First this: it must be listening for the result before the connecting begins.
                biased;
                connected = client.wait_for_connect() => connected,
                ended = async { (&mut connection.insert(Connection(client.connect())).0).await } => {
                    Err(closed(ended))
                }
            }
        };
        let connected = timeout(CONNECT_TIMEOUT, connected).await.unwrap_or_else(|_| Err(no_answer()));
        let session = match (connected, connection) {
            (Ok(()), Some(connection)) => Self { client, connection, rebuilds },
            (Ok(()), None) => return Err(Ended::Lost(no_answer())),
            (Err(error), _) => return Err(Ended::Lost(error)),
        };
        // Before anything is told of it: a replica would be taken for the bus until the first probe.
        match timeout(ANSWER_TIMEOUT, probe(&session.client)).await {
            Ok(Ok(())) => Ok(session),
            Ok(Err(error)) => Err(Ended::Unhealthy(error)),
            Err(_) => Err(Ended::Unhealthy(no_answer())),
        }
    }

    /// Returns once this session has to end. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Ended {
        let mut cluster = self.client.cluster_change_rx();
        tokio::select! {
            ended = &mut self.connection.0 => Ended::Lost(closed(ended)),
            error = probe_for_ever(&self.client) => Ended::Unhealthy(error),
            // Lagging behind changes is a change too.
            _ = cluster.recv(), if self.client.is_clustered() => Ended::ClusterChanged,
            Ok(()) = self.rebuilds.changed() => Ended::Asked,
        }
    }
}

/// What helps against a refusal, for the end of a sentence.
pub(super) fn hint(error: &Error) -> &'static str {
    if error.details().starts_with("NOPERM") {
        ": its user lacks a right; operations.md, Redis rights, has the list"
    } else {
        ""
    }
}

pub(super) fn closed(ended: Result<FredResult<()>, tokio::task::JoinError>) -> Error {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) | Err(_) => Error::new(ErrorKind::IO, "connection closed"),
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Timeout, "no answer within the time limit")
}

/// Returns when Redis does not answer.
async fn probe_for_ever(client: &Client) -> Error {
    loop {
        sleep(PROBE_INTERVAL).await;
        match timeout(ANSWER_TIMEOUT, probe(client)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error,
            Err(_) => return no_answer(),
        }
    }
}

async fn probe(client: &Client) -> FredResult<()> {
    match client.client_config().server {
        ServerConfig::Clustered { .. } => {
            let pings = client.active_connections().into_iter().map(|server| async {
                let node = client.with_cluster_node(server);
                node.ping::<()>(None).await
            });
            try_join_all(pings).await.map(drop)
        }
        // A failover that this connection has slept through: the old primary, back as a replica, takes
        // publications but hands them to nobody else. Not only with Sentinel: a name or an address may
        // move to the new primary while connections to the old one stay.
        ServerConfig::Sentinel { .. } | ServerConfig::Centralized { .. } => {
            let role = CustomCommand::new_static("ROLE", ClusterHash::FirstKey, false);
            let role: FredResult<Vec<Value>> = client.custom(role, Vec::<Value>::new()).await;
            match role {
                Ok(role) if role.first().and_then(Value::as_str).is_some_and(|role| role != "master") => {
                    Err(Error::new(ErrorKind::Routing, "the server is not a primary"))
                }
                Ok(_) => Ok(()),
                // Not every user may ask, and not every server knows it: it answers, at least.
                Err(_) => client.ping(None).await,
            }
        }
    }
}

/// Counts and says that a connection is up or has ended.
pub(super) fn report_up(side: Side, first: bool) {
    metrics::gauge!(names::CONNECTED, "connection" => side.label()).set(1);
    if !first {
        metrics::counter!(names::RECONNECTS, "connection" => side.label()).increment(1);
    }
    tracing::info!(connection = side.label(), "connected to Redis");
}

pub(super) fn report_ended(side: Side, ended: &Ended, retry_in: Duration) {
    metrics::gauge!(names::CONNECTED, "connection" => side.label()).set(0);
    tracing::warn!(connection = side.label(), ?retry_in, "Redis: {ended}");
}
