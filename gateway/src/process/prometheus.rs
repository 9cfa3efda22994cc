//! `GET /metrics`, `GET /operations` and CPU profiles, and what operators do where `ADMIN_ON_PRIVATE` says so, on a listener
//! of its own that no load balancer exposes.

use std::sync::Arc;

use axum::{Json, Router, extract::State, routing::get};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::watch;

use super::{cpu_profile, metrics::SECONDS, os};
use crate::{
    edge::router,
    node::Node,
    operations::{self, OperationsView},
};

/// The routes of the private listener, which stops when `stop` becomes true.
pub(super) fn router(handle: PrometheusHandle, node: Arc<Node>, stop: watch::Receiver<bool>) -> Router {
    let admin = node.settings.listen.admin_on_private.then(|| router::private(node.edge()));
    Router::new()
        .route("/metrics", get(show))
        .route("/operations", get(show_operations))
        .with_state((handle, node))
        .merge(cpu_profile::router(stop))
        .merge(admin.unwrap_or_default())
}

async fn show(State((handle, node)): State<(PrometheusHandle, Arc<Node>)>) -> String {
    // Read when asked: they change without anything happening on the node.
    node.retention.observe();
    gauge!("draftwire_bus_trusted").set(f64::from(u8::from(node.hub.bus_is_trusted())));
    handle.run_upkeep();
    handle.render() + &operations::render(&SECONDS) + &os::render()
}

async fn show_operations() -> Json<OperationsView> {
    Json(operations::view())
}
