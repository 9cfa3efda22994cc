//! What a verified token says, compared with what the operator expects. Pure: the time is an argument.

use std::time::Duration;

use common::UserId;
use serde_json::{Map, Value};

use super::{
    AuthError, Scopes,
    claim_path::{ClaimPath, present},
};

/// The claim that names the topic of a token that is for one topic alone.
pub(super) const TOPIC_CLAIM: &str = "topic";

/// How far the clocks of an issuer and of this node may differ, unless it is configured.
const LEEWAY: Duration = Duration::from_secs(60);

/// The values that name a user. Larger numbers have lost digits by the time they are compared, and two users
/// could become one.
const USER_TYPES: &str = "text or a whole number of up to 64 bits";

/// The claims that tokens must have, and where they have them.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The audience that tokens must name; `None` refuses tokens that name any (RFC 7519 section 4.1.3).
    pub audience: Option<String>,
    /// The issuer that tokens must name; `None` accepts any.
    pub issuer: Option<String>,
    /// The claim that holds the user.
    pub user: ClaimPath,
    /// The claim that holds the rights.
    pub scope: ClaimPath,
    /// How far the clocks of issuers and of this node may differ, for `exp` and for `nbf`.
    pub leeway: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            audience: None,
            issuer: None,
            user: ClaimPath::named("sub"),
            scope: ClaimPath::named("scope"),
            leeway: LEEWAY,
        }
    }
}

/// The user that a verified token speaks for, and what the token allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub user: UserId,
    /// When the token says that it ends, `exp`: Unix milliseconds.
    pub expires_at: u64,
    /// When the token is no longer accepted, which is the leeway later: Unix milliseconds.
    pub ends_at: u64,
    /// The rights.
    pub scopes: Scopes,
}

/// When a token ends. Times are Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    /// When the token says that it ends, `exp`.
    pub(crate) expires_at: u64,
    /// When it is no longer accepted, which is the leeway later.
    pub(crate) ends_at: u64,
}

impl Rules {
    /// Checks the claims of a token whose signature is good. `now` is in Unix milliseconds.
    pub(super) fn check(&self, claims: &Map<String, Value>, now: u64) -> Result<Identity, AuthError> {
        let Validity { expires_at, ends_at } = self.check_valid(claims, now)?;
        if present(claims, TOPIC_CLAIM).is_some() {
            return Err(AuthError::OfTopic);
        }
        Ok(Identity { user: self.user(claims)?, expires_at, ends_at, scopes: self.scopes(claims)? })
    }

    /// Checks that the token holds now, and here.
    pub(super) fn check_valid(&self, claims: &Map<String, Value>, now: u64) -> Result<Validity, AuthError> {
        let leeway = u64::try_from(self.leeway.as_millis()).unwrap_or(u64::MAX);
        let expires_at = present(claims, "exp").ok_or(AuthError::NoExpiry)?;
        let expires_at = unix_ms(expires_at).ok_or(AuthError::BadExpiry)?;
        let ends_at = expires_at.saturating_add(leeway);
        if now >= ends_at {
            return Err(AuthError::Expired);
        }
        if let Some(not_before) = present(claims, "nbf") {
            let not_before = unix_ms(not_before).ok_or(AuthError::BadNotBefore)?;
            if now.saturating_add(leeway) < not_before {
                return Err(AuthError::NotYetValid);
            }
        }
        match (&self.audience, present(claims, "aud")) {
            (None, None) => {}
            (None, Some(_)) => return Err(AuthError::UnexpectedAudience),
            (Some(expected), Some(Value::String(named))) if named == expected => {}
            (Some(expected), Some(Value::Array(named)))
                if named.iter().any(|named| named == expected.as_str()) => {}
            (Some(_), _) => return Err(AuthError::WrongAudience),
        }
        if let Some(expected) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(expected)
        {
            return Err(AuthError::WrongIssuer);
        }
        Ok(Validity { expires_at, ends_at })
    }

    pub(super) fn user(&self, claims: &Map<String, Value>) -> Result<UserId, AuthError> {
        let bad = |rule| AuthError::BadUser { claim: self.user.clone(), rule };
        let user = match self.user.find(claims) {
            None => return Err(AuthError::NoUser { claim: self.user.clone() }),
            Some(Value::String(text)) => text.parse(),
            Some(Value::Number(number)) if number.is_u64() || number.is_i64() => number.to_string().parse(),
            Some(_) => return Err(bad(USER_TYPES)),
        };
        user.map_err(|invalid: common::ids::InvalidId| bad(invalid.rule))
    }

    /// Returns the rights: the words of a text (RFC 8693 section 4.2) or of a list, as other issuers write them.
    pub(super) fn scopes(&self, claims: &Map<String, Value>) -> Result<Scopes, AuthError> {
        let bad = || AuthError::BadScope { claim: self.scope.clone() };
        match self.scope.find(claims) {
            None => Ok(Scopes::new("")),
            Some(Value::String(words)) => Ok(Scopes::new(words)),
            Some(Value::Array(list)) => {
                let words: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                Ok(Scopes::from_list(words.ok_or_else(bad)?))
            }
            Some(_) => Err(bad()),
        }
    }
}

/// Returns a NumericDate (seconds, possibly with a fraction) in milliseconds. Dates before 1970 become 1970,
/// and dates beyond the range become its end.
fn unix_ms(date: &Value) -> Option<u64> {
    if let Some(seconds) = date.as_u64() {
        return Some(seconds.saturating_mul(1000));
    }
    // Float casts saturate, which is what is wanted here.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    date.as_f64().map(|seconds| (seconds * 1000.0) as u64)
}
