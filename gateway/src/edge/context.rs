//! What the connections of a node have in common.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

use super::{connections::Connections, drain::Drain};
use crate::{
    auth::{Backend, Verifier},
    commands::{drafts::Drafts, topics::Topics},
    config,
    subscriptions::Sources,
};

/// What every WebSocket and every event stream of a node uses.
pub(crate) struct ConnectionContext {
    /// Where its streams come from.
    pub(crate) sources: Arc<Sources>,
    pub(crate) drafts: Arc<Drafts>,
    pub(crate) topics: Arc<Topics>,
    /// Verifies fresh tokens.
    pub(crate) verifier: Arc<Verifier>,
    /// Asked whether users may connect, where that is configured.
    pub(crate) backend: Arc<Backend>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) admission: Admission,
    /// Bounds and intervals of connections.
    pub(crate) limits: config::WebSocket,
    /// Who this node is, and which pages may connect.
    pub(crate) listen: config::Listen,
}

/// Bounds the connections on their way from the handshake to `WELCOME`, so that a storm of them waits here
/// and not in the store.
pub(crate) struct Admission(Semaphore);

/// Connections that join at once.
const JOINING_MAX: usize = 512;

/// How long a connection waits to be admitted while many come at once. Beyond it the client does
/// better to come back later.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(5);

impl Default for Admission {
    fn default() -> Self {
        Self(Semaphore::new(JOINING_MAX))
    }
}

impl Admission {
    /// Admits a connection to join its streams, until the permit is dropped. `None` when too many come at
    /// once.
    pub(crate) async fn admit(&self) -> Option<SemaphorePermit<'_>> {
        timeout(JOIN_WAIT_MAX, self.0.acquire()).await.ok()?.ok()
    }
}
