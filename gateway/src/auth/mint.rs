//! Signs tokens: for `draftwire token`, the demonstration page, and tests.

use std::time::Duration;

use common::{TopicName, UserId};
use jsonwebtoken::{EncodingKey, Header, encode, errors::Error};
use serde_json::{Map, Value};

use super::{Rules, claims::TOPIC_CLAIM, secret::Secret};

/// What a new token grants.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    /// The user; `None` only for the token of a topic, which is then for whoever has it.
    pub user: Option<UserId>,
    /// The topic, where it is a token of one topic.
    pub topic: Option<TopicName>,
    /// The rights, separated by spaces; empty for none.
    pub scope: String,
    /// How long it is valid; whole seconds, at least one.
    pub ttl: Duration,
}

/// Returns a token signed with HS256, valid from `now` (Unix milliseconds), with the claims that these rules ask
/// for.
///
/// # Errors
/// When the library cannot sign, which no input is known to cause.
pub(crate) fn mint(secret: &Secret, grant: &Grant, rules: &Rules, now: u64) -> Result<String, Error> {
    let iat = now / 1000;
    let mut claims = Map::new();
    let mut claim = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    if let Some(user) = &grant.user {
        // `sub` is there also where the rules want the user elsewhere: proxies tell users apart by it.
        claim("sub", user.as_str().into());
        claim(rules.user.as_str(), user.as_str().into());
    }
    if let Some(topic) = &grant.topic {
        claim(TOPIC_CLAIM, topic.as_str().into());
    }
    claim("iat", iat.into());
    claim("exp", iat.saturating_add(grant.ttl.as_secs().max(1)).into());
    if !grant.scope.is_empty() {
        claim(rules.scope.as_str(), grant.scope.as_str().into());
    }
    if let Some(audience) = &rules.audience {
        claim("aud", audience.as_str().into());
    }
    if let Some(issuer) = &rules.issuer {
        claim("iss", issuer.as_str().into());
    }
    encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.reveal().as_bytes()))
}
