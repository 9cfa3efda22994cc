//! What the connections of a node have in common.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, SemaphorePermit, watch},
    time::{Instant, timeout_at},
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
    /// Bounds and intervals, as they are at the moment.
    pub(crate) live: Arc<config::Live>,
    /// Who this node is, and which pages may connect.
    pub(crate) listen: config::Listen,
}

/// Bounds the connections on their way from the handshake to `WELCOME`, so that a storm of them waits here
/// and not in the store.
pub(crate) struct Admission {
    joining: Semaphore,
    /// Whether the node learns of disconnections.
    control_followed: watch::Receiver<bool>,
}

/// Connections that join at once.
const JOINING_MAX: usize = 512;

/// How long a connection waits to be admitted while many come at once. Beyond it the client does
/// better to come back later.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(5);

impl Admission {
    /// Admits nobody before the control stream is followed: a node that does not know yet who was disconnected would
    /// keep the connection.
    pub(crate) fn new(control_followed: watch::Receiver<bool>) -> Self {
        Self { joining: Semaphore::new(JOINING_MAX), control_followed }
    }

    /// Admits a connection to join its streams, until the permit is dropped.
    ///
    /// # Errors
    /// What clients are told when too many come at once, or when the store has not answered since the node has
    /// started.
    pub(crate) async fn admit(&self) -> Result<SemaphorePermit<'_>, &'static str> {
        let deadline = Instant::now() + JOIN_WAIT_MAX;
        let mut followed = self.control_followed.clone();
        if !matches!(timeout_at(deadline, followed.wait_for(|followed| *followed)).await, Ok(Ok(_))) {
            return Err("the store does not answer; come back later");
        }
        match timeout_at(deadline, self.joining.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err("too many connections at once; come back later"),
        }
    }
}
