//! What all webhooks of a node share.

use std::sync::Arc;

use tokio::{
    sync::{Semaphore, watch},
    time::{Duration, sleep},
};

use super::{occupancy::SteadyLease, sender::Sender};
use crate::{config, store::Store};

/// How long an attempt may go on once the node stops.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What all webhooks of a node share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: config::Webhooks,
    pub(super) sender: Sender,
    /// The lease under which this node writes who attends.
    pub(super) steady: Arc<SteadyLease>,
    /// Bounds the deliveries under way.
    pub(super) deliveries: Semaphore,
    /// Becomes true when the node stops.
    pub(super) stopping: watch::Sender<bool>,
}

impl Shared {
    /// Ends a while after the node has begun to stop.
    pub(super) async fn stopped(&self) {
        // An error says that nobody can stop it any more.
        if self.stopping.subscribe().wait_for(|stopping| *stopping).await.is_ok() {
            sleep(STOP_GRACE).await;
        }
    }

    /// How long a lease lasts: an attempt that was begun under it ends before it does.
    pub(super) fn lease(&self) -> Duration {
        2 * self.settings.timeout + Duration::from_secs(1)
    }
}
