//! Tokens, good and bad.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use common::time::unix_ms;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

/// The `JWT_SECRET` of nodes that tests start.
pub const SECRET: &str = "a secret of at least thirty-two bytes, for tests alone";

const LIFETIME: Duration = Duration::from_secs(3600);

/// A valid token of `user`, good for an hour.
pub fn good(user: &str) -> String {
    sign(&claims(user, LIFETIME), SECRET)
}

/// A valid token that ends `lifetime` from now. Tokens count in whole seconds: it ends up to one early.
pub fn short(user: &str, lifetime: Duration) -> String {
    sign(&claims(user, lifetime), SECRET)
}

/// A valid token with a `scope`.
pub fn scoped(user: &str, scope: &str) -> String {
    let mut claims = claims(user, LIFETIME);
    claims["scope"] = json!(scope);
    sign(&claims, SECRET)
}

/// A valid token with an `aud`.
pub fn audience(user: &str, audience: &str) -> String {
    let mut claims = claims(user, LIFETIME);
    claims["aud"] = json!(audience);
    sign(&claims, SECRET)
}

/// A token that ended an hour ago.
pub fn expired(user: &str) -> String {
    sign(&json!({ "sub": user, "exp": unix_ms() / 1000 - 3600 }), SECRET)
}

/// A token without `exp`, signed with the right key.
pub fn endless(user: &str) -> String {
    sign(&json!({ "sub": user }), SECRET)
}

/// A token signed with another key.
pub fn forged(user: &str) -> String {
    sign(&claims(user, LIFETIME), "some other secret of at least thirty-two bytes")
}

/// A token that says that it needs no signature (`"alg": "none"`), and has none.
pub fn unsigned(user: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", part(&json!({ "alg": "none", "typ": "JWT" })), part(&claims(user, LIFETIME)))
}

/// Any claims, signed (HS256) with any secret.
///
/// # Panics
/// When the claims cannot be written as JSON, which a [`Value`] always can.
pub fn sign(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).expect("a value can be written")
}

fn claims(user: &str, lifetime: Duration) -> Value {
    json!({ "sub": user, "exp": unix_ms() / 1000 + lifetime.as_secs() })
}
