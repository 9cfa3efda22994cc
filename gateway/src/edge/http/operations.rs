//! `GET /v1/admin/operations`: what this node did lately, or all of them, and what is slow.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::Uri,
    response::{IntoResponse, Response},
};

use crate::{
    cluster::Cluster,
    edge::{
        identity::{RequiredIdentity, check_admin},
        problem::Problem,
        query::Parameters,
    },
    operations,
};

pub(in crate::edge) async fn show(
    RequiredIdentity(identity): RequiredIdentity,
    State(cluster): State<Arc<Cluster>>,
    uri: Uri,
) -> Result<Response, Problem> {
    check_admin(&identity)?;
    let parameters = Parameters::of(&uri, &["cluster"])?;
    if !parameters.flag("cluster")? {
        return Ok(Json(operations::view()).into_response());
    }
    match cluster.profiles().await {
        Ok(profiles) => Ok(Json(profiles).into_response()),
        Err(_) => Err(Problem::too_many_questions()),
    }
}
