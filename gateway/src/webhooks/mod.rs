//! Webhooks: endpoints of applications that follow streams as clients do, with cursors that the store keeps.
//!
//! One node at a time holds a webhook, by a lease in the store. Every node looks for webhooks that nobody holds, and
//! delivers for those that it has claimed; a node that dies, stops or loses its database keeps nothing that another
//! one needs.

mod address;
mod admin;
mod backoff;
mod batch;
mod due;
mod filter;
mod holder;
mod occupancy;
mod plan;
mod presence;
mod sender;
mod shared;
mod signature;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use common::ids::NodeId;
use fanout::{Hub, supervise::catch_panic};
use metrics::counter;
use tokio::{
    sync::{Semaphore, watch},
    task::{JoinHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tracing::debug;

pub(crate) use self::admin::{Created, Refused};
use self::{holder::hold, sender::Sender, shared::Shared};
use crate::{
    config,
    store::{
        Store,
        webhooks::{Holder, Webhook, WebhookStore},
    },
};

/// Deliveries of one node at once.
const DELIVERIES_MAX: usize = 16;

/// Webhooks that one look claims: nodes that start together share them.
const CLAIMS_MAX: u32 = 4;

/// How long a stop waits for deliveries under way and for the store. Beyond it, leases end by themselves.
const STOP_MAX: Duration = Duration::from_secs(5);

/// The pause after the store has failed.
const RETRY: Duration = Duration::from_secs(1);

/// The webhooks of a node: those that it delivers for, and what operators do with all of them.
pub(crate) struct Webhooks {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Webhooks {
    /// Starts to claim webhooks and to deliver for them, where the store keeps any, and to write down who attends
    /// topics through this node, for as long as `presence_lease`, where a webhook asks for that.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub(crate) fn start(
        settings: &config::Webhooks,
        node: &NodeId,
        store: Arc<dyn Store>,
        hub: &Arc<Hub>,
        presence_lease: Duration,
    ) -> Result<Arc<Self>, reqwest::Error> {
        let shared = Arc::new(Shared {
            sender: Sender::new(settings)?,
            settings: settings.clone(),
            deliveries: Semaphore::new(DELIVERIES_MAX),
            stopping: watch::Sender::new(false),
            steady: Arc::default(),
            store,
        });
        let task = shared.store.webhooks().is_some().then(|| {
            let deliveries = run(shared.clone(), node.to_string());
            let occupancy = occupancy::run(
                shared.store.clone(),
                hub.clone(),
                node.to_string(),
                presence_lease,
                shared.steady.clone(),
                shared.stopping.subscribe(),
            );
            tokio::spawn(async {
                tokio::join!(deliveries, occupancy);
            })
        });
        Ok(Arc::new(Self { shared, task: Mutex::new(task) }))
    }

    /// Ends the deliveries under way, and gives the leases back.
    pub(crate) async fn stop(&self) {
        self.shared.stopping.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut task) = task
            && timeout(STOP_MAX, &mut task).await.is_err()
        {
            task.abort();
        }
    }
}

impl Drop for Webhooks {
    fn drop(&mut self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

/// Claims webhooks, and anew after a panic, until the node stops.
async fn run(shared: Arc<Shared>, node: String) {
    while !*shared.stopping.borrow() && catch_panic("webhooks", claim(&shared, &node)).await.is_err() {
        counter!("draftwire_webhook_store_failures_total").increment(1);
        sleep(RETRY).await;
    }
}

/// Claims webhooks until the node stops. Those that it holds are delivered by tasks of their own, which go on where
/// the store fails for a while.
async fn claim(shared: &Arc<Shared>, node: &str) {
    let Some(webhooks) = shared.store.webhooks() else { return };
    let mut stopping = shared.stopping.subscribe();
    let mut held = JoinSet::new();
    let mut looks = interval(shared.settings.poll_interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
        while held.try_join_next().is_some() {}
        let holder = Holder { token: format!("{:032x}", rand::random::<u128>()), node: node.to_owned() };
        match webhooks.claim(&holder, shared.lease(), CLAIMS_MAX).await {
            Ok(claimed) => {
                for webhook in claimed {
                    held.spawn(deliver(shared.clone(), webhook, holder.clone()));
                }
            }
            Err(error) => {
                debug!(%error, "webhooks cannot be claimed; trying again");
                counter!("draftwire_webhook_store_failures_total").increment(1);
                sleep(RETRY).await;
            }
        }
    }
    while held.join_next().await.is_some() {}
}

async fn deliver(shared: Arc<Shared>, webhook: Webhook, holder: Holder) {
    let Some(webhooks) = shared.store.webhooks() else { return };
    // Where it panics, the lease ends, and the webhook is claimed again.
    let _ = catch_panic("webhook", hold(&shared, webhooks, webhook, &holder)).await;
}

impl Webhooks {
    /// Where webhooks are kept.
    ///
    /// # Errors
    /// [`Refused::Unsupported`] where they are not.
    fn kept(&self) -> Result<&dyn WebhookStore, Refused> {
        self.shared.store.webhooks().ok_or(Refused::Unsupported)
    }
}
