//! `POST /v1/admin/users/{user}/disconnect`: ends the connections of a user, on all nodes.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use common::{Code, Seq, Stream, UserId};
use serde::Serialize;

use super::{path::Named, publish::PublishRequest};
use crate::{
    commands::{
        failure::Failure,
        topics::{Published, Topics},
    },
    control::Disconnect,
    edge::{
        body::{self, BodyReader},
        identity::check_admin,
        problem::Problem,
    },
};

/// What is promised: the event is committed, and every node will have it.
#[derive(Serialize)]
struct Accepted {
    seq: Seq,
}

pub(in crate::edge) async fn user(
    State(topics): State<Arc<Topics>>,
    State(bodies): State<BodyReader>,
    operator: PublishRequest,
    Named(user): Named<UserId>,
    request: Request,
) -> Result<Response, Problem> {
    check_admin(&operator.identity)?;
    let bytes = bodies.bytes(request).await?;
    let disconnect = Disconnect::from_request(user, body::text(&bytes)?);
    let event =
        disconnect.and_then(|disconnect| disconnect.new_event()).map_err(|error| body::invalid(&error))?;
    match topics.publish(operator.caller, Stream::Control, vec![event]).await? {
        Published::Events { seq, .. } => Ok((StatusCode::ACCEPTED, Json(Accepted { seq })).into_response()),
        // No signal was published: the key is that of another request.
        Published::Signals => Err(Failure::new(Code::BadRequest, "this id was already used").into()),
    }
}
