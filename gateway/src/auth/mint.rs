//! Makes tokens: for `draftwire token`, the demonstration page, and tests.

use std::time::Duration;

use common::UserId;
use jsonwebtoken::{EncodingKey, Header, encode, errors::Error};
use serde_json::{Map, Value};

use super::{Rules, secret::Secret};

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct Grant {
    /// For whom.
    pub user: UserId,
    /// The rights, separated by spaces; empty for none.
    pub scope: String,
    /// How long it is valid; whole seconds, at least one.
    pub ttl: Duration,
}

/// A token signed with HS256, valid from `now` (Unix milliseconds), that says what these rules ask for.
///
/// # Errors
/// When the library cannot sign, which no input is known to cause.
pub fn mint(secret: &Secret, grant: &Grant, rules: &Rules, now: u64) -> Result<String, Error> {
    let iat = now / 1000;
    let mut claims = Map::new();
    let mut say = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    // Also where the user is elsewhere: proxies tell users apart by it.
    say("sub", grant.user.as_str().into());
    say(rules.user.as_str(), grant.user.as_str().into());
    say("iat", iat.into());
    say("exp", iat.saturating_add(grant.ttl.as_secs().max(1)).into());
    if !grant.scope.is_empty() {
        say(rules.scope.as_str(), grant.scope.as_str().into());
    }
    if let Some(audience) = &rules.audience {
        say("aud", audience.as_str().into());
    }
    if let Some(issuer) = &rules.issuer {
        say("iss", issuer.as_str().into());
    }
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.reveal().as_bytes()))
}
