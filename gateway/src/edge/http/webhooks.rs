//! `/v1/admin/webhooks`: what operators do with webhooks.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use common::{Code, Epoch, Seq, Version, ids::WebhookId};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::path::Named;
use crate::{
    commands::failure::Failure,
    edge::{
        body::{self, BodyReader},
        entity_tag::{self, Condition},
        identity::Operator,
        problem::Problem,
    },
    store::webhooks::{Lag, Pause, Webhook},
    webhooks::{Created, Refused, Webhooks},
};

/// A webhook, as operators see it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    id: &'a str,
    version: u64,
    url: &'a str,
    filter: &'a RawValue,
    paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    paused_because: Option<Pause>,
    created_at: u64,
    updated_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<&'a str>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    failing_since: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_delivery_at: Option<u64>,
    /// Since the receiver has refused a larger one.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<Lag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

#[derive(Serialize)]
struct ListBody<'a> {
    webhooks: Vec<Body<'a>>,
}

/// The version that a condition does not name.
#[derive(Serialize)]
struct AtVersion<'a> {
    id: &'a WebhookId,
    version: u64,
}

/// Where the stream stands that a cursor is no position of.
#[derive(Serialize)]
struct Position {
    epoch: Epoch,
    head: Seq,
    floor: Seq,
}

impl<'a> Body<'a> {
    fn of(webhook: &'a Webhook) -> Result<Self, Problem> {
        let filter = serde_json::from_str(&webhook.filter);
        let error = webhook.last_error.as_ref();
        Ok(Self {
            id: &webhook.id,
            version: webhook.version,
            url: &webhook.url,
            filter: filter.map_err(|_| Problem::unavailable("the filter in the store is damaged"))?,
            paused: webhook.paused.is_some(),
            paused_because: webhook.paused,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
            node: webhook.holder_node.as_deref(),
            attempts: webhook.attempts,
            failing_since: webhook.failing_since,
            next_attempt_at: webhook.next_attempt_at,
            last_error: error.map(|(error, _)| error.as_str()),
            last_error_at: error.map(|(_, at)| *at),
            last_delivery_at: webhook.last_delivery_at,
            batch_bytes_max: webhook.body_bytes_max,
            lag: None,
            secret: None,
        })
    }
}

fn tag(webhook: &Webhook) -> [(header::HeaderName, String); 1] {
    [(header::ETAG, entity_tag::of(Version(webhook.version)))]
}

fn refused(id: Option<&WebhookId>) -> impl Fn(Refused) -> Problem {
    move |refused| match refused {
        Refused::Unsupported => Problem::not_implemented(
            "webhooks need Postgres: this node runs on the embedded store, which keeps none",
        ),
        Refused::NotFound => {
            let name = id.map_or("of this id", WebhookId::as_str);
            Failure::new(Code::NotFound, format!("there is no webhook {name}")).into()
        }
        Refused::Version(version) => Failure {
            precondition: true,
            payload: id.and_then(|id| to_raw_value(&AtVersion { id, version }).ok()),
            ..Failure::new(Code::Conflict, format!("the webhook is at version {version}"))
        }
        .into(),
        Refused::Invalid(error) => body::invalid(&error),
        Refused::TooMany(most) => {
            Failure::new(Code::TooLarge, format!("a cluster may have {most} webhooks")).into()
        }
        Refused::TooManySecrets(most) => {
            let what = format!(
                "{most} secrets may sign at once: wait until one ends, or end all of them with \"overlapSeconds\":0"
            );
            Failure::new(Code::TooLarge, what).into()
        }
        Refused::NoPosition { epoch, head, floor } => Failure {
            payload: to_raw_value(&Position { epoch, head, floor }).ok(),
            ..Failure::new(Code::Conflict, "the cursor is no position in the history of this stream")
        }
        .into(),
        Refused::Store(error) => Failure::from(error).into(),
    }
}

/// The versions that `If-Match` names; `None` for any, and where it is missing.
fn versions(headers: &HeaderMap) -> Result<(bool, Option<Vec<u64>>), Problem> {
    let condition = Condition::read(headers, &header::IF_MATCH)?;
    let named = condition.as_ref().and_then(Condition::strong_versions);
    Ok((condition.is_some(), named.map(|named| named.into_iter().map(|version| version.0).collect())))
}

pub(in crate::edge) async fn list(
    State(webhooks): State<Arc<Webhooks>>,
    _: Operator,
) -> Result<Response, Problem> {
    let found = webhooks.list().await.map_err(refused(None))?;
    let bodies = found.iter().map(Body::of).collect::<Result<_, _>>()?;
    Ok(Json(ListBody { webhooks: bodies }).into_response())
}

pub(in crate::edge) async fn create(
    State(webhooks): State<Arc<Webhooks>>,
    State(bodies): State<BodyReader>,
    _: Operator,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = bodies.bytes(request).await?;
    let Created { webhook, secret } = webhooks.create(body::text(&bytes)?).await.map_err(refused(None))?;
    let location = [(header::LOCATION, format!("/v1/admin/webhooks/{}", webhook.id))];
    let body = Body { secret: Some(&secret), ..Body::of(&webhook)? };
    Ok((StatusCode::CREATED, location, tag(&webhook), Json(body)).into_response())
}

pub(in crate::edge) async fn get(
    State(webhooks): State<Arc<Webhooks>>,
    _: Operator,
    Named(id): Named<WebhookId>,
) -> Result<Response, Problem> {
    let webhook = webhooks.get(&id).await.map_err(refused(Some(&id)))?;
    let lag = webhooks.lag(&webhook).await.map_err(refused(Some(&id)))?;
    let body = Body { lag, ..Body::of(&webhook)? };
    Ok((tag(&webhook), Json(body)).into_response())
}

pub(in crate::edge) async fn edit(
    State(webhooks): State<Arc<Webhooks>>,
    State(bodies): State<BodyReader>,
    _: Operator,
    Named(id): Named<WebhookId>,
    request: Request,
) -> Result<Response, Problem> {
    let (is_conditional, versions) = versions(request.headers())?;
    if !is_conditional {
        return Err(Problem::precondition_required("say which version the change was made on: If-Match"));
    }
    let bytes = bodies.bytes(request).await?;
    let changed = webhooks.change(&id, versions.as_deref(), body::text(&bytes)?).await;
    let webhook = changed.map_err(refused(Some(&id)))?;
    Ok((tag(&webhook), Json(Body::of(&webhook)?)).into_response())
}

pub(in crate::edge) async fn remove(
    State(webhooks): State<Arc<Webhooks>>,
    _: Operator,
    Named(id): Named<WebhookId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (_, versions) = versions(&headers)?;
    webhooks.remove(&id, versions.as_deref()).await.map_err(refused(Some(&id)))?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

pub(in crate::edge) async fn replay(
    State(webhooks): State<Arc<Webhooks>>,
    State(bodies): State<BodyReader>,
    _: Operator,
    Named(id): Named<WebhookId>,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = bodies.bytes(request).await?;
    let replayed = webhooks.replay(&id, body::text(&bytes)?).await;
    let webhook = replayed.map_err(refused(Some(&id)))?;
    Ok((StatusCode::ACCEPTED, Json(Body::of(&webhook)?)).into_response())
}

pub(in crate::edge) async fn rotate(
    State(webhooks): State<Arc<Webhooks>>,
    State(bodies): State<BodyReader>,
    _: Operator,
    Named(id): Named<WebhookId>,
    request: Request,
) -> Result<Response, Problem> {
    let bytes = bodies.bytes(request).await?;
    let rotated = webhooks.rotate(&id, body::text(&bytes)?).await;
    let Created { webhook, secret } = rotated.map_err(refused(Some(&id)))?;
    let body = Body { secret: Some(&secret), ..Body::of(&webhook)? };
    Ok((tag(&webhook), Json(body)).into_response())
}
