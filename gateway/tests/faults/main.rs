//! What happens when a part of a cluster fails, with real servers: a file per fault.
//!
//! Every test ends the same way: each device holds what the database holds, has seen every event of
//! its user exactly once and in order, and found nothing wrong with any of them; every command that
//! was acknowledged took effect, once.

#![allow(clippy::unwrap_used)]

mod client_died_before_ack;
mod cluster_view;
mod deploy;
mod disconnect;
mod disk_full;
mod feed;
mod following;
mod invalidation;
mod load;
mod monitoring;
mod network;
mod nginx;
mod node_frozen;
mod node_killed;
mod node_stopped;
mod open_files;
mod postgres_slow;
mod postgres_stopped;
mod presence_killed;
mod publishers;
mod redis_lossy;
mod redis_stopped;
mod resp;
mod retention;
mod settings;
mod slow_client;
mod spread;
mod sql;
mod webhooks;
mod webhooks_presence;

use std::time::Duration;

use testkit::{Cluster, ClusterOptions, wait};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Clusters at one time. Each is half a dozen busy processes: with more of them on a small machine,
/// timeouts would be tested instead of faults.
static CLUSTERS: Semaphore = Semaphore::const_new(2);

/// For every wait. Long enough for a slow machine: it only decides how long a failing test takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a test's turn to run a cluster, whose answers are compared with the API documents.
async fn turn() -> SemaphorePermit<'static> {
    testkit::contract::enforce();
    CLUSTERS.acquire().await.expect("never closed")
}

/// Nodes that notice the dead, and leave, sooner than production needs.
fn cluster() -> ClusterOptions {
    ClusterOptions::new(env!("CARGO_BIN_EXE_draftwire"))
        // Devices take a node for dead that is silent for twice as long.
        .env("WS_PING_INTERVAL", "2s")
        .env("WS_PING_INTERVAL_MAX", "2s")
        .env("WS_PONG_TIMEOUT", "10s")
        .env("SWEEP_INTERVAL", "2s")
        .env("SWEEP_INTERVAL_UNSURE", "500ms")
        .env("DRAIN_WINDOW", "2s")
}

/// The same with patient devices: for tests in which none may lose its connection, on machines that
/// may stand still for seconds.
fn patient_cluster() -> ClusterOptions {
    cluster().env("WS_PING_INTERVAL", "15s").env("WS_PING_INTERVAL_MAX", "15s").env("WS_PONG_TIMEOUT", "60s")
}

/// Waits until every node has seen that copies arrive.
async fn bus_is_trusted(cluster: &Cluster) {
    for node in &cluster.nodes {
        wait::until("copies are known to arrive", DEADLINE, || async {
            match node.metric("draftwire_bus_trusted", &[]).await {
                Ok(1.0) => Ok(()),
                other => Err(format!("{}: {other:?}", node.name())),
            }
        })
        .await;
    }
}
