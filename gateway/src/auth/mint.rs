//! Makes tokens: for `draftwire token`, the demonstration page, and tests.

use std::time::Duration;

use common::UserId;
use jsonwebtoken::{EncodingKey, Header, encode, errors::Error};
use serde::Serialize;

use crate::config::Secret;

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct Grant {
    /// For whom.
    pub user: UserId,
    /// The rights, separated by spaces; empty for none.
    pub scope: String,
    /// How long it is valid; whole seconds, at least one.
    pub ttl: Duration,
    /// The `aud` that the server expects, if it does.
    pub audience: Option<String>,
    /// The `iss` that the server expects, if it does.
    pub issuer: Option<String>,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

/// A token signed with HS256, valid from `now` (Unix milliseconds).
///
/// # Errors
/// When the library cannot sign, which no input is known to cause.
pub fn mint(secret: &Secret, grant: &Grant, now: u64) -> Result<String, Error> {
    let iat = now / 1000;
    let claims = Claims {
        sub: grant.user.as_str(),
        iat,
        exp: iat.saturating_add(grant.ttl.as_secs().max(1)),
        scope: &grant.scope,
        aud: grant.audience.as_deref(),
        iss: grant.issuer.as_deref(),
    };
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.reveal().as_bytes()))
}
