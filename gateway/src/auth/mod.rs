//! Tokens: who is on the other side, until when, and with which rights.
//!
//! A token is a JWT (RFC 7519). Its algorithm follows from the kind of key that the operator set and
//! never from the token's own header, so neither `none` nor a public key used as an HMAC secret can
//! pass. The signature is checked before any claim is looked at.

mod cache;
mod claim_path;
mod claims;
mod error;
mod expiry;
pub mod jwks;
pub mod key;
pub mod mint;
mod scopes;
pub mod secret;
#[cfg(test)]
mod tests;
mod verifier;

pub use claim_path::ClaimPath;
pub use claims::{Identity, Rules};
pub use error::AuthError;
pub use expiry::{Expiry, TokenState};
pub use scopes::Scopes;
pub use verifier::{TOKEN_BYTES_MAX, Verifier, VerifierError};

use crate::config::{KeySource, Secret};

/// Makes ring the process's TLS cryptography, which the clients of JWKS, Redis and Postgres need
/// before they are built. Called again, it does nothing.
pub fn install_crypto() {
    // The error says that one is installed already, which is all that is wanted.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The secret that this node may sign tokens with: the configured one, or the one beside the embedded
/// store, made if missing. `None` where somebody else signs and this node holds public keys only.
///
/// # Errors
/// When the file can be neither read nor made.
pub fn signing_secret(keys: &KeySource) -> std::io::Result<Option<Secret>> {
    match keys {
        KeySource::Secret(secret) => Ok(Some(secret.clone())),
        KeySource::Generated { dir } => secret::load_or_create(dir).map(Some),
        KeySource::PublicKey(_) | KeySource::Jwks(_) => Ok(None),
    }
}
