//! `/v1/drafts`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use common::{DraftId, Version, json, protocol::DraftCreate};

use super::{caller::caller, path::Named};
use crate::{
    commands::{caller::Caller, drafts::DraftListBody, failure::Failure},
    edge::{
        body,
        entity_tag::{self, Condition, Tag},
        identity,
        problem::Problem,
        query::Parameters,
    },
    node::Node,
    store::{Base, Done, Refusal},
};

/// Everything about a request but its body: who asks, and how.
pub(in crate::edge) struct Asked {
    caller: Caller,
    base_version: Option<Version>,
}

impl FromRequestParts<Arc<Node>> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Problem> {
        let identity::Caller(identity) = identity::Caller::from_request_parts(parts, node).await?;
        let parameters = Parameters::of(&parts.uri, &["baseVersion", "device"])?;
        let caller = caller(identity, parameters.get("device")?, &parts.headers)?;
        Ok(Self { caller, base_version: parameters.number("baseVersion")?.map(Version) })
    }
}

pub(in crate::edge) async fn list(State(node): State<Arc<Node>>, asked: Asked) -> Result<Response, Problem> {
    let list = node.drafts.list(asked.caller.user).await?;
    Ok(Json(DraftListBody::from(&list)).into_response())
}

pub(in crate::edge) async fn get(
    State(node): State<Arc<Node>>,
    asked: Asked,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = Condition::read(&headers, &header::IF_MATCH)?;
    let draft = node.drafts.get(&asked.caller.user, &id).await?;
    let version = draft.version;
    if wanted.and_then(|wanted| wanted.strong_versions()).is_some_and(|wanted| !wanted.contains(&version)) {
        return Err(Failure::from((&id, Refusal::PreconditionFailed { version })).into());
    }
    // It only spares an answer: one that makes no sense spares none.
    let known = Condition::read(&headers, &header::IF_NONE_MATCH).ok().flatten();
    let known = known.filter(|known| known.names(version));
    let tag = known.as_ref().and_then(|known| known.tag_of(version)).map(Tag::text);
    let tag = [(header::ETAG, tag.unwrap_or_else(|| entity_tag::of(version)))];
    if known.is_some() {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, Json(draft)).into_response())
}

pub(in crate::edge) async fn create(
    State(node): State<Arc<Node>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Problem> {
    if request.headers().contains_key(header::IF_MATCH) {
        return Err(Problem::bad_request("If-Match is for drafts that exist"));
    }
    let unless = Condition::read(request.headers(), &header::IF_NONE_MATCH)?;
    let body = body::bytes(&node, request).await?;
    let draft = DraftCreate::from_json(body::text(&body)?).map_err(|error| body::invalid(&error))?;
    let done = node.drafts.create(asked.caller, draft).await.map_err(|failure| {
        let met = unless.zip(failure.existing).is_some_and(|(unless, version)| unless.names(version));
        Failure { precondition: met || failure.precondition, ..failure }
    })?;
    let location = done.draft().map(|ack| [(header::LOCATION, format!("/v1/drafts/{}", ack.draft_id))]);
    Ok((StatusCode::CREATED, location, changed(&done)).into_response())
}

pub(in crate::edge) async fn update(
    State(node): State<Arc<Node>>,
    asked: Asked,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let base = base(&headers, asked.base_version)?.ok_or_else(|| {
        Problem::precondition_required("say which version the patch was made on: ?baseVersion=N or If-Match")
    })?;
    let body = body::bytes(&node, request).await?;
    let patch = json::object(body::text(&body)?).map_err(|error| body::invalid(&error))?;
    let done = node.drafts.update(asked.caller, id, base, patch).await?;
    Ok(changed(&done).into_response())
}

pub(in crate::edge) async fn delete(
    State(node): State<Arc<Node>>,
    asked: Asked,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let base = base(&headers, asked.base_version)?;
    let done = node.drafts.delete(asked.caller, id, base).await?;
    Ok(changed(&done).into_response())
}

fn changed(done: &Done) -> impl IntoResponse {
    (done.draft().map(|ack| [(header::ETAG, entity_tag::of(ack.version))]), Json(done.clone()))
}

/// The version that a change was made on: `If-Match` (RFC 9110 section 13.1.1), which the current one must
/// match, or `baseVersion`, which is merged from.
fn base(headers: &HeaderMap, merge: Option<Version>) -> Result<Option<Base>, Problem> {
    if headers.contains_key(header::IF_NONE_MATCH) {
        // Ignored, it would guard nothing.
        return Err(Problem::bad_request("If-None-Match is for GET and POST; say If-Match"));
    }
    match (Condition::read(headers, &header::IF_MATCH)?, merge) {
        (Some(_), Some(_)) => Err(Problem::bad_request("give If-Match or baseVersion, not both")),
        (Some(condition), None) => Ok(Some(condition.strong_versions().map_or(Base::Current, Base::OneOf))),
        (None, merge) => Ok(merge.map(Base::Merge)),
    }
}
