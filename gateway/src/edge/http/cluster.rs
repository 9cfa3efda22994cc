//! `GET /v1/admin/cluster`: all nodes at this moment, as far as this one knows.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::{cluster::Cluster, edge::identity::Operator};

pub(in crate::edge) async fn show(_: Operator, State(cluster): State<Arc<Cluster>>) -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], cluster.picture().to_string()).into_response()
}
