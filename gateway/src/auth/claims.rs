//! What a verified token says, held against what the operator expects. Pure: the time is an argument.

use common::UserId;
use serde_json::{Map, Value};

use super::{AuthError, Scopes};

/// How far `nbf` may lie ahead, in milliseconds: a fresh token of an issuer whose clock is a little
/// ahead of ours is the common, harmless case. `exp` has no such leeway: a token ends when it says so,
/// and connections are closed at that moment.
pub const NBF_LEEWAY_MS: u64 = 5000;

/// What tokens must name besides their user and expiry.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// The audience; `None` refuses tokens that name any (RFC 7519 section 4.1.3).
    pub audience: Option<String>,
    /// The issuer; `None` takes any.
    pub issuer: Option<String>,
}

/// Who is on the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The user, `sub`.
    pub user: UserId,
    /// When it ends, `exp`: Unix milliseconds.
    pub expires_at: u64,
    /// What it allows, `scope`.
    pub scopes: Scopes,
}

impl Rules {
    /// Judges the claims of a token whose signature is good. `now` is in Unix milliseconds.
    pub(super) fn judge(&self, claims: &Map<String, Value>, now: u64) -> Result<Identity, AuthError> {
        let expires_at = claims.get("exp").and_then(unix_ms).ok_or(AuthError::NoExpiry)?;
        if now >= expires_at {
            return Err(AuthError::Expired);
        }
        if let Some(not_before) = present(claims, "nbf") {
            let not_before = unix_ms(not_before).ok_or(AuthError::Malformed)?;
            if now.saturating_add(NBF_LEEWAY_MS) < not_before {
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
        let user = claims.get("sub").and_then(Value::as_str).and_then(|sub| sub.parse().ok());
        let scopes = match present(claims, "scope") {
            None => Scopes::new(""),
            Some(Value::String(list)) => Scopes::new(list),
            Some(_) => return Err(AuthError::Malformed),
        };
        Ok(Identity { user: user.ok_or(AuthError::BadSubject)?, expires_at, scopes })
    }
}

/// A claim that is there; `null` is not.
fn present<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    claims.get(name).filter(|value| !value.is_null())
}

/// A NumericDate (seconds, possibly with a fraction) in milliseconds. Dates before 1970 become 1970,
/// those beyond the range its end.
fn unix_ms(date: &Value) -> Option<u64> {
    if let Some(seconds) = date.as_u64() {
        return Some(seconds.saturating_mul(1000));
    }
    // Float casts saturate, which is what is wanted here.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    date.as_f64().map(|seconds| (seconds * 1000.0) as u64)
}
