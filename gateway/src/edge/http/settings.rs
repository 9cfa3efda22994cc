//! `/v1/admin/settings`: what operators change while the nodes run.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, Request, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use common::{Code, Version, text::printable};
use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::{
    commands::failure::Failure,
    edge::{
        body::{self, BodyReader},
        entity_tag::{self, Condition},
        identity::{Operator, RequiredIdentity, check_admin},
        problem::Problem,
        query::Parameters,
    },
    settings::{Asker, Refused, RuntimeSettings, SettingView},
    store::settings::SettingChange,
};

/// The device of requests over HTTP that name none.
const DEVICE: &str = "http";

/// Changes in a page of the history, where nothing else is asked for, and at most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1000;

/// The version that a condition does not name.
#[derive(Serialize)]
struct AtVersion<'a> {
    name: &'a str,
    version: u64,
}

#[derive(Serialize)]
struct History {
    changes: Vec<SettingChange>,
}

fn refused(name: &str) -> impl Fn(Refused) -> Problem {
    move |refused| match refused {
        Refused::NotFound => {
            Failure::new(Code::NotFound, format!("there is no setting {}", printable(name))).into()
        }
        Refused::Version(version) => Failure {
            precondition: true,
            payload: to_raw_value(&AtVersion { name, version }).ok(),
            ..Failure::new(Code::Conflict, format!("the setting is at version {version}"))
        }
        .into(),
        Refused::Invalid(error) => body::invalid(&error),
        Refused::Store(error) => Failure::from(error).into(),
    }
}

fn tagged(view: SettingView) -> Response {
    ([(header::ETAG, entity_tag::of(Version(view.version)))], Json(view)).into_response()
}

fn asker(Operator(identity): Operator) -> Result<Asker, Problem> {
    let device = DEVICE.parse().map_err(|_| Problem::bad_request("the device has no name"))?;
    Ok(Asker { user: identity.user, device })
}

/// The versions that `If-Match` names; `None` for any, and where it is missing.
fn versions(headers: &HeaderMap) -> Result<Option<Vec<u64>>, Problem> {
    let condition = Condition::read(headers, &header::IF_MATCH)?;
    let named = condition.as_ref().and_then(Condition::strong_versions);
    Ok(named.map(|named| named.into_iter().map(|version| version.0).collect()))
}

pub(in crate::edge) async fn list(
    State(settings): State<Arc<RuntimeSettings>>,
    _: Operator,
) -> Result<Response, Problem> {
    Ok(Json(settings.list().await.map_err(refused(""))?).into_response())
}

pub(in crate::edge) async fn get(
    State(settings): State<Arc<RuntimeSettings>>,
    _: Operator,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    settings.get(&name).await.map(tagged).map_err(refused(&name))
}

pub(in crate::edge) async fn set(
    State(settings): State<Arc<RuntimeSettings>>,
    State(bodies): State<BodyReader>,
    operator: Operator,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    let versions = versions(request.headers())?;
    let bytes = bodies.bytes(request).await?;
    let set = settings.set(&name, versions.as_deref(), body::text(&bytes)?, asker(operator)?).await;
    set.map(tagged).map_err(refused(&name))
}

pub(in crate::edge) async fn unset(
    State(settings): State<Arc<RuntimeSettings>>,
    RequiredIdentity(identity): RequiredIdentity,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Problem> {
    check_admin(&identity)?;
    let parameters = Parameters::of(request.uri(), &["reason"])?;
    let reason = parameters.text("reason").map(str::to_owned);
    let versions = versions(request.headers())?;
    let unset = settings.unset(&name, versions.as_deref(), reason, asker(Operator(identity))?).await;
    unset.map(tagged).map_err(refused(&name))
}

pub(in crate::edge) async fn history(
    State(settings): State<Arc<RuntimeSettings>>,
    RequiredIdentity(identity): RequiredIdentity,
    request: Request,
) -> Result<Response, Problem> {
    check_admin(&identity)?;
    let parameters = Parameters::of(request.uri(), &["name", "before", "limit"])?;
    let before = parameters.number("before")?.unwrap_or(u64::MAX);
    let limit = parameters.number::<u32>("limit")?.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        return Err(Problem::bad_request(format!("limit must be 1 to {PAGE_MAX}")));
    }
    let changes = settings.history(parameters.text("name"), before, limit).await.map_err(refused(""))?;
    Ok(Json(History { changes }).into_response())
}
