//! `GET /v1/admin/operations`: what this node did lately, and what is slow.

use axum::Json;

use crate::{
    edge::identity::Operator,
    operations::{self, OperationsView},
};

pub(in crate::edge) async fn show(_: Operator) -> Json<OperationsView> {
    Json(operations::view())
}
