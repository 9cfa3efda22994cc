//! `GET /v1/topics/{topic}/presence`: who is present in a topic.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::State,
    http::Uri,
    response::{IntoResponse, Response},
};
use common::{TopicName, protocol::Device};
use fanout::PresenceList;
use serde::Serialize;

use super::path::Named;
use crate::{
    commands::topics::Topics,
    edge::{identity::OptionalIdentity, measure::HeldBack, problem::Problem, query::Parameters},
};

#[derive(Serialize)]
struct Body {
    #[serde(skip_serializing_if = "Option::is_none")]
    members: Option<Vec<Device>>,
    users: u64,
    devices: u64,
    complete: bool,
}

pub(in crate::edge) async fn of_topic(
    State(topics): State<Arc<Topics>>,
    OptionalIdentity(identity): OptionalIdentity,
    Named(topic): Named<TopicName>,
    uri: Uri,
) -> Result<Response, Problem> {
    Parameters::of(&uri, &[])?;
    if !identity.as_ref().is_some_and(|identity| identity.scopes.is_service()) {
        topics.authorize_follow(identity.as_ref(), &topic).await?;
    }
    let list = topics.presence(identity.is_none(), topic).await?;
    let PresenceList { members, users, devices, complete, waited } = list;
    Ok((Extension(HeldBack(waited)), Json(Body { members, users, devices, complete })).into_response())
}
