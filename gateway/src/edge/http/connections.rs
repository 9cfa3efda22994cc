//! `GET /v1/admin/connections`: the connections of all nodes, page by page.

use std::sync::Arc;

use axum::{Json, extract::State, http::Uri};
use common::{
    ConnectionId, UserId,
    ids::{InvalidId, NodeId},
};

use crate::{
    cluster::{Cluster, ConnectionPage, ConnectionQuery, PAGE_MAX},
    edge::{
        identity::{RequiredIdentity, check_admin},
        problem::Problem,
        query::Parameters,
    },
};

/// Connections in an answer when no limit is given.
const LIMIT: usize = 50;

pub(in crate::edge) async fn list(
    RequiredIdentity(identity): RequiredIdentity,
    State(cluster): State<Arc<Cluster>>,
    uri: Uri,
) -> Result<Json<ConnectionPage>, Problem> {
    check_admin(&identity)?;
    let parameters = Parameters::of(&uri, &["user", "node", "cursor", "limit"])?;
    let user = parameters.text("user").map(str::parse::<UserId>).transpose();
    let user = user.map_err(|InvalidId { rule, .. }| Problem::bad_request(format!("user must be {rule}")))?;
    let node: Option<NodeId> = parameters.get("node")?;
    let after: Option<ConnectionId> = parameters.get("cursor")?;
    let limit = parameters.number("limit")?.unwrap_or(LIMIT);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be 1 to {PAGE_MAX}")));
    }
    let page = cluster.connections(ConnectionQuery { user, after, limit }, node.as_ref()).await;
    page.map(Json).map_err(|_| Problem::too_many_questions())
}
