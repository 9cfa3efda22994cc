//! `/v1/drafts`.

use std::sync::Arc;

use axum::{
    Json,
    extract::{FromRequestParts, Query, Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use common::{DeviceId, DraftId, Version, json, merge::Object, protocol::DraftCreate};
use serde::{Deserialize, de::DeserializeOwned};

use super::{bearer, body, caller::caller, path::Named, problem::Problem};
use crate::{
    caller::Caller,
    drafts::DraftListBody,
    node::Node,
    store::{Base, Done},
};

/// Query parameters of the routes. Unknown ones are refused, as everywhere: a misspelt
/// `baseVersion` must not turn into none.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Parameters {
    base_version: Option<Version>,
    device: Option<DeviceId>,
    /// Read by [`bearer`].
    #[serde(rename = "token")]
    _token: Option<String>,
}

/// Everything about a request but its body: who asks, and how.
pub(super) struct Asked {
    caller: Caller,
    base_version: Option<Version>,
}

impl FromRequestParts<Arc<Node>> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, node: &Arc<Node>) -> Result<Self, Problem> {
        let bearer::Caller(identity) = bearer::Caller::from_request_parts(parts, node).await?;
        let Query(parameters) = Query::<Parameters>::from_request_parts(parts, node)
            .await
            .map_err(|error| Problem::bad_request(error.body_text()))?;
        let caller = caller(identity, parameters.device, &parts.headers)?;
        Ok(Self { caller, base_version: parameters.base_version })
    }
}

pub(super) async fn list(State(node): State<Arc<Node>>, asked: Asked) -> Result<Response, Problem> {
    let list = node.drafts.list(asked.caller.user).await?;
    Ok(Json(DraftListBody::from(&list)).into_response())
}

pub(super) async fn get(
    State(node): State<Arc<Node>>,
    asked: Asked,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let draft = node.drafts.get(&asked.caller.user, &id).await?;
    let etag = etag(draft.version);
    let known =
        headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| {
            tags.split(',')
                .any(|tag| matches!(tag.trim(), "*") || tag.trim().trim_start_matches("W/") == etag)
        });
    let tag = [(header::ETAG, etag)];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, tag).into_response());
    }
    Ok((tag, Json(draft)).into_response())
}

pub(super) async fn create(
    State(node): State<Arc<Node>>,
    asked: Asked,
    request: Request,
) -> Result<Response, Problem> {
    let draft: DraftCreate = read(&node, request).await?;
    let done = node.drafts.create(asked.caller, draft).await?;
    let location = done.draft().map(|ack| [(header::LOCATION, format!("/v1/drafts/{}", ack.draft_id))]);
    Ok((StatusCode::CREATED, location, changed(&done)).into_response())
}

pub(super) async fn update(
    State(node): State<Arc<Node>>,
    asked: Asked,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let base = base(&headers, asked.base_version)?.ok_or_else(|| {
        Problem::precondition_required("say which version the patch was made on: ?baseVersion=N or If-Match")
    })?;
    let Patch(patch) = read(&node, request).await?;
    let done = node.drafts.update(asked.caller, id, base, patch).await?;
    Ok(changed(&done).into_response())
}

pub(super) async fn delete(
    State(node): State<Arc<Node>>,
    asked: Asked,
    Named(id): Named<DraftId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let base = base(&headers, asked.base_version)?;
    let done = node.drafts.delete(asked.caller, id, base).await?;
    Ok(changed(&done).into_response())
}

/// The body of a PATCH: a merge patch (RFC 7396).
#[derive(Deserialize)]
struct Patch(#[serde(deserialize_with = "json::object")] Object);

fn changed(done: &Done) -> impl IntoResponse {
    (done.draft().map(|ack| [(header::ETAG, etag(ack.version))]), Json(done.clone()))
}

fn etag(version: Version) -> String {
    format!("\"{version}\"")
}

/// The version that a change was made on: `If-Match` (RFC 9110 section 13.1.1), which must be the
/// current one, or `baseVersion`, which is merged from.
fn base(headers: &HeaderMap, merge: Option<Version>) -> Result<Option<Base>, Problem> {
    let mut tags = headers.get_all(header::IF_MATCH).iter();
    let Some(tag) = tags.next() else { return Ok(merge.map(Base::Merge)) };
    if merge.is_some() {
        return Err(Problem::bad_request("give If-Match or baseVersion, not both"));
    }
    let tag = tag.to_str().unwrap_or_default().trim();
    let weak = tag.strip_prefix("W/");
    let digits = weak.unwrap_or(tag).strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    match digits.filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())).and_then(|d| d.parse().ok()) {
        // A weak tag never matches, as no draft is at version zero.
        Some(_) if weak.is_some() => Ok(Some(Base::Exact(Version(0)))),
        Some(version) if tags.next().is_none() => Ok(Some(Base::Exact(Version(version)))),
        _ => Err(Problem::bad_request("If-Match must be one ETag of the draft, such as \"3\"")),
    }
}

/// Reads a JSON body.
async fn read<T: DeserializeOwned>(node: &Node, request: Request) -> Result<T, Problem> {
    body::json(&body::bytes(node, request).await?)
}
