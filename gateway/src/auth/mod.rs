//! Tokens: whose they are, until when they are accepted, and which rights they give.
//!
//! A token is a JWT (RFC 7519). Its algorithm follows from the kind of key that the operator set and
//! never from the token's own header, so neither `none` nor a public key used as an HMAC secret can
//! pass. The signature is checked before any claim is looked at.

mod backend;
mod cache;
mod claim_path;
mod claims;
mod error;
mod expiry;
mod generated_secret;
mod jwks;
mod key;
pub(crate) mod mint;
mod scopes;
mod secret;
mod settings;
#[cfg(test)]
mod tests;
mod topic_token;
mod verifier;

pub use backend::BackendSettings;
pub(crate) use backend::{Backend, Unanswered, Verdict};
pub use claim_path::ClaimPath;
pub use claims::{Identity, Rules};
pub use error::AuthError;
pub use expiry::{Expiry, TokenState};
pub use key::Key;
pub use scopes::Scopes;
pub use secret::Secret;
pub(crate) use secret::{SECRET_BYTES_MIN, redacted};
pub use settings::{KeySource, Settings};
pub(crate) use topic_token::TopicToken;
pub use verifier::{TOKEN_BYTES_MAX, Verifier, VerifierError};

/// Installs ring as the process's TLS cryptography, which the clients of JWKS, Redis and Postgres need
/// before they are built. A second call does nothing.
pub fn install_crypto() {
    // The error says that one is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
