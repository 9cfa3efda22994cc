//! `GET /v1/admin/cluster`: all nodes at this moment, as far as this one knows; below it, the last hour.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::{
    cluster::{Cluster, HistoryView},
    edge::identity::Operator,
};

pub(in crate::edge) async fn show(_: Operator, State(cluster): State<Arc<Cluster>>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], cluster.picture().to_string()).into_response()
}

/// `GET /v1/admin/cluster/history`.
pub(in crate::edge) async fn history(_: Operator, State(cluster): State<Arc<Cluster>>) -> Json<HistoryView> {
    Json(cluster.history())
}
