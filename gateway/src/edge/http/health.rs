//! Health: for people, for load balancers, for whoever restarts processes.

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use common::ids::NodeId;
use fanout::Hub;
use serde::Serialize;

use crate::{
    cluster::{Cluster, Own},
    config::text::show_duration,
    edge::{connections::Connections, drain::Drain},
    store::StoreHealth,
};

/// What health is told from.
pub(crate) struct HealthSources {
    pub(crate) name: NodeId,
    /// Which store and which bus there are, for people.
    pub(crate) store_kind: &'static str,
    pub(crate) bus_kind: &'static str,
    pub(crate) store: Arc<StoreHealth>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) drain: Arc<Drain>,
    pub(crate) started: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    /// `ok`, `degraded`, `down` or `stopping`.
    status: &'static str,
    /// What is not well, a sentence each.
    reasons: Vec<String>,
    node: String,
    version: &'static str,
    store: Part,
    bus: Part,
    connections: usize,
    users: usize,
    /// The bound on how late an event can be that no copy announced.
    sweep_interval_ms: u128,
    uptime_seconds: u64,
    /// As it was at most a second ago.
    #[serde(flatten)]
    own: Own,
    /// What has become worse.
    regressions: [(); 0],
}

#[derive(Serialize)]
struct Part {
    kind: &'static str,
    ok: bool,
}

/// `GET /healthz`: how the node is, part by part. 503 when it cannot do its work: it stops, or its store does
/// not answer. Without a bus that is trusted nothing is lost, only late, and so the answer is 200.
pub(in crate::edge) async fn healthz(
    State(node): State<Arc<HealthSources>>,
    State(cluster): State<Arc<Cluster>>,
) -> Response {
    let store = Part { kind: node.store_kind, ok: node.store.answers().await };
    let bus = Part { kind: node.bus_kind, ok: node.hub.bus_is_trusted() };
    let mut reasons = Vec::new();
    if !store.ok {
        reasons
            .push(format!("the store ({}) does not answer: commands are refused as unavailable", store.kind));
    }
    if !bus.ok {
        let sweep = show_duration(node.hub.sweep_interval());
        let kind = bus.kind;
        reasons.push(format!(
            "the bus ({kind}) is not known to deliver: events reach other nodes by the sweep, every {sweep}"
        ));
    }
    let (status, code) = match (node.drain.is_stopping(), store.ok, bus.ok) {
        (true, ..) => ("stopping", StatusCode::SERVICE_UNAVAILABLE),
        (false, false, _) => ("down", StatusCode::SERVICE_UNAVAILABLE),
        (false, true, false) => ("degraded", StatusCode::OK),
        (false, true, true) => ("ok", StatusCode::OK),
    };
    let health = Health {
        status,
        reasons,
        node: node.name.to_string(),
        version: env!("CARGO_PKG_VERSION"),
        store,
        bus,
        connections: node.connections.total(),
        users: node.connections.users(),
        sweep_interval_ms: node.hub.sweep_interval().as_millis(),
        uptime_seconds: node.started.elapsed().as_secs(),
        own: cluster.own(),
        regressions: [],
    };
    (code, Json(health)).into_response()
}

/// `GET /readyz`: whether to send traffic here. A node whose store is down stays ready: connections
/// stay, commands are refused quickly, and no other node would do better.
pub(in crate::edge) async fn readyz(State(node): State<Arc<HealthSources>>) -> Response {
    if node.drain.is_stopping() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    "ready\n".into_response()
}

/// `GET /livez`: whether the process answers at all.
pub(in crate::edge) async fn livez() -> &'static str {
    "alive\n"
}
