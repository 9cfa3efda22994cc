//! Who makes a request: where it carries its token, and what that says.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    extract::{FromRef, FromRequestParts, MatchedPath, Query},
    http::{HeaderMap, Uri, header, request::Parts},
};
use common::{Code, ids::InvalidId, time::unix_ms};
use metrics::counter;

use super::{problem::Problem, query::Parameters};
use crate::{
    auth::{AuthError, Identity, Scopes, Verifier},
    commands::failure::Failure,
    config::Live,
    operations::Limiter,
};

/// Requests of operators that a node takes at once, and the pause between later ones: 50 a second.
const ADMIN_BURST: u32 = 100;
const ADMIN_INTERVAL: Duration = Duration::from_millis(20);

/// The paths of operators.
const ADMIN: &str = "/v1/admin/";

/// A request that came by the private listener, where that serves operators: it needs no token.
#[derive(Clone, Copy)]
pub(super) struct PrivateListener;

/// The token: the first of `Authorization: Bearer` (RFC 6750 section 2.1), a subprotocol entry, the
/// query parameter `token`.
fn token<'a>(
    headers: &'a HeaderMap,
    subprotocol: Option<&'a str>,
    query: &'a HashMap<String, String>,
) -> Result<&'a str, AuthError> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        // The scheme's name has no case (RFC 9110 section 11.1).
        let (scheme, token) =
            value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(AuthError::Malformed)?;
        return if scheme.eq_ignore_ascii_case("bearer") {
            Ok(token.trim())
        } else {
            Err(AuthError::Malformed)
        };
    }
    subprotocol.or_else(|| query.get("token").map(String::as_str)).ok_or(AuthError::Missing)
}

/// Finds out who a request speaks for.
#[derive(Clone)]
pub(crate) struct Authenticator {
    verifier: Arc<Verifier>,
    /// Says whether there are topics that may be followed without a token.
    live: Arc<Live>,
    /// What operators may ask for.
    admin: Arc<Mutex<Limiter>>,
}

impl Authenticator {
    /// Without a token requests are let in while there is anything to follow without one.
    pub(crate) fn new(verifier: Arc<Verifier>, live: Arc<Live>) -> Self {
        let admin = Arc::new(Mutex::new(Limiter::new(ADMIN_BURST, ADMIN_INTERVAL)));
        Self { verifier, live, admin }
    }

    /// Refuses a flood of requests of operators. Those of others do not count: they must not keep operators out.
    fn limit_admin(&self, parts: &Parts, identity: &Identity) -> Result<(), Problem> {
        let path = parts.extensions.get::<MatchedPath>();
        let counts = identity.scopes.is_admin() && path.is_some_and(|path| path.as_str().starts_with(ADMIN));
        let mut admin = self.admin.lock().unwrap_or_else(PoisonError::into_inner);
        if counts && admin.take(Instant::now()).is_none() {
            let message = "too many requests below /v1/admin/ on this node";
            return Err(Failure::new(Code::RateLimited, message).into());
        }
        Ok(())
    }

    /// Returns who a request speaks for: `None` for one that shows no token where that is allowed. Refusals
    /// are counted here, for handshakes and for the API.
    pub(super) async fn identify(
        &self,
        headers: &HeaderMap,
        subprotocol: Option<&str>,
        query: &HashMap<String, String>,
    ) -> Result<Option<Identity>, AuthError> {
        let verified = match token(headers, subprotocol, query) {
            Ok(token) => self.verifier.verify(token, unix_ms()).await.map(Some),
            Err(AuthError::Missing) if !self.live.node().websocket.public_topics.is_empty() => Ok(None),
            Err(error) => Err(error),
        };
        verified.inspect_err(|error| {
            counter!("draftwire_tokens_refused_total", "why" => error.label()).increment(1);
        })
    }

    /// Returns who a request over HTTP speaks for, of its headers and its query.
    pub(super) async fn visitor(&self, headers: &HeaderMap, uri: &Uri) -> Result<Option<Identity>, Problem> {
        let Query(query) = Query::<HashMap<String, String>>::try_from_uri(uri)
            .map_err(|_| Problem::bad_request("the query cannot be read"))?;
        self.identify(headers, None, &query).await.map_err(|error| Failure::from(error).into())
    }
}

/// Who makes a request over HTTP, if it shows a token; with a bad one the answer is 401.
pub(super) struct OptionalIdentity(pub(super) Option<Identity>);

impl<S: Send + Sync> FromRequestParts<S> for OptionalIdentity
where
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Authenticator::from_ref(state).visitor(&parts.headers, &parts.uri).await.map(Self)
    }
}

/// Who makes a request over HTTP; without a valid token the answer is 401.
pub(super) struct RequiredIdentity(pub(super) Identity);

impl<S: Send + Sync> FromRequestParts<S> for RequiredIdentity
where
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let identity = if parts.extensions.get::<PrivateListener>().is_some() {
            operator()?
        } else {
            let OptionalIdentity(identity) = OptionalIdentity::from_request_parts(parts, state).await?;
            identity.ok_or_else(|| Failure::from(AuthError::Missing))?
        };
        Authenticator::from_ref(state).limit_admin(parts, &identity)?;
        Ok(Self(identity))
    }
}

/// Who makes a request by the private listener.
fn operator() -> Result<Identity, Problem> {
    let user = "operator".parse().map_err(|error: InvalidId| Problem::bad_request(error.to_string()))?;
    let scopes = Scopes::new("admin admin:payload");
    Ok(Identity { user, expires_at: u64::MAX, ends_at: u64::MAX, scopes })
}

/// A request by an operator that takes no parameters.
pub(super) struct Operator(pub(super) Identity);

impl<S: Send + Sync> FromRequestParts<S> for Operator
where
    Authenticator: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let RequiredIdentity(identity) = RequiredIdentity::from_request_parts(parts, state).await?;
        check_admin(&identity)?;
        Parameters::of(&parts.uri, &[])?;
        Ok(Self(identity))
    }
}

/// Refuses whoever may not use the paths below `/v1/admin/`.
pub(super) fn check_admin(identity: &Identity) -> Result<(), Problem> {
    if identity.scopes.is_admin() {
        return Ok(());
    }
    Err(Failure::new(Code::Forbidden, "this needs the scope admin").into())
}
