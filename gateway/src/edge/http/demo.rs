//! The demo page: files that are compiled into the binary. Its script is built from `gateway/demo/src` and the package of
//! `clients/js`, and committed.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{FromRef, Query, State},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use common::{UserId, time::unix_ms};
use serde::Serialize;

use super::asset::{self, Asset, asset};
use crate::{
    auth::{Rules, Verifier, mint},
    edge::problem::Problem,
};

/// What demo tokens are made with.
#[derive(Clone)]
pub(crate) struct DemoTokens {
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) rules: Arc<Rules>,
}

/// How long a demo token is valid. Short enough that the page shows a renewal when left open.
const TOKEN_TTL: Duration = Duration::from_secs(15 * 60);

/// The longest list of rights in a demo token. A token has to fit into headers on its way back here.
const SCOPE_BYTES_MAX: usize = 512;

const ASSETS: &[Asset] = &[
    asset!("/", "demo/index.html"),
    asset!("/demo/base.css", "demo/base.css"),
    asset!("/demo/style.css", "demo/style.css"),
    asset!("/demo/match.css", "demo/match.css"),
    asset!("/demo/app.js", "demo/app.js"),
    asset!("/demo/icon.svg", "demo/icon.svg"),
];

/// The page, and tokens for it when the demo is on.
pub(in crate::edge) fn routes<S>(tokens: bool) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    DemoTokens: FromRef<S>,
{
    let router = asset::routes(ASSETS);
    if tokens { router.route("/demo/token", get(token)) } else { router }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    token: String,
    user_id: UserId,
    expires_at: u64,
}

/// `GET /demo/token?user=&scope=`: a token for whoever asks, with the rights that are asked for. Only
/// where `DEMO` is on, and only where the node has a secret to sign with.
async fn token(
    State(tokens): State<DemoTokens>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Problem> {
    let Some(secret) = tokens.verifier.signing_secret() else { return Err(Problem::no_route()) };
    let user: UserId = query
        .get("user")
        .map_or("", String::as_str)
        .parse()
        .map_err(|error| Problem::bad_request(format!("{error}")))?;
    let scope = query.get("scope").cloned().unwrap_or_default();
    if scope.len() > SCOPE_BYTES_MAX {
        return Err(Problem::bad_request(format!("scope: {SCOPE_BYTES_MAX} bytes at most")));
    }
    let grant = mint::Grant { user: Some(user.clone()), topic: None, scope, ttl: TOKEN_TTL };
    let now = unix_ms();
    let token = mint::mint(&secret, &grant, &tokens.rules, now)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    let expires_at = now + u64::try_from(TOKEN_TTL.as_millis()).unwrap_or(u64::MAX);
    let body = Json(Token { token, user_id: user, expires_at });
    Ok(([(header::CACHE_CONTROL, "no-store")], body).into_response())
}
