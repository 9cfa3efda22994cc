//! `/v1/drafts`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRef, FromRequestParts, Request, State},
    http::{HeaderMap, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use common::{DraftId, Version, json, protocol::DraftCreate};

use super::{caller::caller, path::Named};
use crate::{
    commands::{
        caller::Caller,
        drafts::{DraftListBody, Drafts},
        failure::Failure,
    },
    edge::{
        body::{self, BodyReader},
        entity_tag::{self, Condition},
        identity::{Authenticator, RequiredIdentity},
        problem::Problem,
        query::Parameters,
    },
    store::{Base, Done, Refusal},
};

/// Everything about a request but its body: who asks, and how.
pub(in crate::edge) struct DraftRequest {
    caller: Caller,
    base_version: Option<Version>,
}

impl<S: Send + Sync> FromRequestParts<S> for DraftRequest
where
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let RequiredIdentity(identity) = RequiredIdentity::from_request_parts(parts, state).await?;
        let changes = matches!(parts.method, Method::PATCH | Method::DELETE);
        let known: &[&str] = if changes { &["baseVersion", "device"] } else { &["device"] };
        let parameters = Parameters::of(&parts.uri, known)?;
        let caller = caller(identity, parameters.get("device")?, parts)?;
        Ok(Self { caller, base_version: parameters.number("baseVersion")?.map(Version) })
    }
}

pub(in crate::edge) async fn list(
    State(drafts): State<Arc<Drafts>>,
    draft_request: DraftRequest,
) -> Result<Response, Problem> {
    let list = drafts.list(draft_request.caller.user).await?;
    Ok(Json(DraftListBody::from(&list)).into_response())
}

pub(in crate::edge) async fn get(
    State(drafts): State<Arc<Drafts>>,
    draft_request: DraftRequest,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wanted = Condition::read(&headers, &header::IF_MATCH)?;
    let draft = drafts.get(&draft_request.caller.user, &id).await?;
    let version = draft.version;
    if wanted.and_then(|wanted| wanted.strong_versions()).is_some_and(|wanted| !wanted.contains(&version)) {
        return Err(Failure::from((&id, Refusal::PreconditionFailed { version })).into());
    }
    // It only spares an answer: one that makes no sense spares none.
    let known = Condition::read(&headers, &header::IF_NONE_MATCH).ok().flatten();
    let known = known.and_then(|known| known.naming(&version.to_string()));
    let is_known = known.is_some();
    let tag = [(header::ETAG, known.unwrap_or_else(|| entity_tag::of(version)))];
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, Json(draft)).into_response())
}

pub(in crate::edge) async fn create(
    State(drafts): State<Arc<Drafts>>,
    State(bodies): State<BodyReader>,
    draft_request: DraftRequest,
    request: Request,
) -> Result<Response, Problem> {
    if request.headers().contains_key(header::IF_MATCH) {
        return Err(Problem::bad_request("If-Match is for drafts that exist"));
    }
    let unless = Condition::read(request.headers(), &header::IF_NONE_MATCH)?;
    let body = bodies.bytes(request).await?;
    let draft = DraftCreate::from_json(body::text(&body)?).map_err(|error| body::invalid(&error))?;
    let done = drafts.create(draft_request.caller, draft).await.map_err(|failure| {
        let met = unless.zip(failure.existing).is_some_and(|(unless, version)| unless.names(version));
        Failure { precondition: met || failure.precondition, ..failure }
    })?;
    let location = done.draft().map(|ack| [(header::LOCATION, format!("/v1/drafts/{}", ack.draft_id))]);
    Ok((StatusCode::CREATED, location, changed(&done)).into_response())
}

pub(in crate::edge) async fn update(
    State(drafts): State<Arc<Drafts>>,
    State(bodies): State<BodyReader>,
    draft_request: DraftRequest,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let base = base(&headers, draft_request.base_version)?.ok_or_else(|| {
        Problem::precondition_required("say which version the patch was made on: ?baseVersion=N or If-Match")
    })?;
    let body = bodies.bytes(request).await?;
    let patch = json::object(body::text(&body)?).map_err(|error| body::invalid(&error))?;
    let done = drafts.update(draft_request.caller, id, base, patch).await?;
    Ok(changed(&done).into_response())
}

pub(in crate::edge) async fn delete(
    State(drafts): State<Arc<Drafts>>,
    draft_request: DraftRequest,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let base = base(&headers, draft_request.base_version)?;
    let done = drafts.delete(draft_request.caller, id, base).await?;
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
