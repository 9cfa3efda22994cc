//! `GET /v1/admin/operations`: what this node did lately, and what is slow.

use axum::{Json, http::Uri};

use crate::{
    edge::{
        identity::{RequiredIdentity, check_admin},
        problem::Problem,
        query::Parameters,
    },
    operations::{self, OperationsView},
};

pub(in crate::edge) async fn show(
    RequiredIdentity(operator): RequiredIdentity,
    uri: Uri,
) -> Result<Json<OperationsView>, Problem> {
    check_admin(&operator)?;
    Parameters::of(&uri, &[])?;
    Ok(Json(operations::view()))
}
