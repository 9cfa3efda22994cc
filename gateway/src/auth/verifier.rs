//! From a token to an identity.

use super::{
    AuthError, Identity, Rules,
    cache::{self, Cache},
    jwks::Jwks,
    key::{self, Key},
    signing_secret,
};
use crate::config::{self, KeySource};

/// The longest token that is looked at, in bytes: several times what fits into a header of the
/// servers on the way, and little to decode.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Verifies tokens. Shared by all connections of a node.
#[derive(Debug)]
pub struct Verifier {
    keys: Keys,
    rules: Rules,
    cache: Cache,
}

#[derive(Debug)]
enum Keys {
    One(Key),
    Published(Jwks),
}

/// Why no verifier could be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// The generated secret can be neither read nor made.
    #[error("the token secret beside the database: {0}")]
    Secret(#[from] std::io::Error),
    /// The client that fetches published keys cannot be built.
    #[error("the client for JWT_JWKS_URL: {0}")]
    Client(#[from] reqwest::Error),
}

impl Verifier {
    /// Takes the configured keys. Published ones are not fetched yet; see [`Self::keep_keys_fresh`].
    /// For them, [`super::install_crypto`] must have been called.
    ///
    /// # Errors
    /// When a generated secret cannot be read or made, or the HTTP client not built.
    pub fn new(auth: &config::Auth) -> Result<Self, VerifierError> {
        let keys = match &auth.keys {
            KeySource::PublicKey(key) => Keys::One(key.clone()),
            KeySource::Jwks(url) => Keys::Published(Jwks::new(url.clone())?),
            source @ (KeySource::Secret(_) | KeySource::Generated { .. }) => {
                let secret = signing_secret(source)?.expect("both of these sources have a secret");
                Keys::One(Key::from_secret(&secret))
            }
        };
        Ok(Self { keys, rules: auth.rules.clone(), cache: Cache::default() })
    }

    /// Who the token speaks for at `now` (Unix milliseconds).
    ///
    /// The signature of a token that was verified less than five minutes ago is not checked again.
    /// With a fixed key this never waits. With published keys it may fetch them, when a token
    /// is of none that is known, for at most [`super::jwks::FETCH_TIMEOUT`] and at a bounded rate. Dropping the
    /// call is safe.
    ///
    /// # Errors
    /// The reason for the refusal, safe to show to the client.
    pub async fn verify(&self, token: &str, now: u64) -> Result<Identity, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::TooLong);
        }
        let generation = match &self.keys {
            Keys::One(_) => 0,
            Keys::Published(jwks) => jwks.generation(),
        };
        let remembered = cache::key(token, generation);
        if let Some(identity) = self.cache.get(&remembered, now) {
            return Ok(identity);
        }
        let header = key::header(token)?;
        let claims = match &self.keys {
            Keys::One(key) => key.open(token, &header)?,
            Keys::Published(jwks) => jwks.open(token, &header).await?,
        };
        let identity = self.rules.judge(&claims, now)?;
        self.cache.insert(remembered, &identity, now);
        Ok(identity)
    }

    /// Fetches published keys, now and again every [`super::jwks::REFRESH_INTERVAL`]; never returns.
    /// With a fixed key it only waits. To be run as a task, and dropped at the end.
    pub async fn keep_keys_fresh(&self) {
        match &self.keys {
            Keys::One(_) => std::future::pending().await,
            Keys::Published(jwks) => jwks.keep_fresh().await,
        }
    }

    #[cfg(test)]
    pub(super) fn of_jwks(jwks: Jwks, rules: Rules) -> Self {
        Self { keys: Keys::Published(jwks), rules, cache: Cache::default() }
    }
}
