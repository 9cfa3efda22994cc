//! Verifies tokens: from a token to an identity.

use std::{sync::Arc, time::Instant};

use common::operations::{Operation, Outcome};
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::{
    AuthError, Identity, Rules, TopicToken,
    cache::{self, Cache},
    jwks::Jwks,
    key::{self, Key},
    secret::Secret,
    settings::{KeySource, Settings},
};

/// The longest token that is parsed, in bytes: several times what fits into a header of the
/// servers on the way, and little to decode.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Verifies tokens. Shared by all connections of a node.
#[derive(Debug)]
pub struct Verifier {
    keys: watch::Sender<Arc<KeyRing>>,
    rules: Rules,
    cache: Cache,
}

/// The keys that are in use.
#[derive(Debug)]
struct KeyRing {
    keys: Keys,
    /// The secret that tokens can be signed with, if this node has one.
    secret: Option<Secret>,
    /// How often the configuration was read again before these keys came into use.
    reloads: u64,
}

#[derive(Debug)]
enum Keys {
    Fixed(Key),
    Published(Jwks),
}

/// Why no verifier could be made.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// The generated secret can be neither read nor made.
    #[error("the token secret beside the database: {0}")]
    Secret(#[from] std::io::Error),
    /// Published keys that are to replace others cannot be fetched.
    #[error("the keys of JWT_JWKS_URL cannot be fetched")]
    NotFetched,
    /// The client that fetches published keys cannot be built.
    #[error("the client for JWT_JWKS_URL: {0}")]
    Client(#[from] reqwest::Error),
}

impl Verifier {
    /// Creates a verifier with the configured keys. Published ones are not fetched yet; see [`Self::keep_keys_fresh`].
    /// For them, [`super::install_crypto`] must have been called.
    ///
    /// # Errors
    /// When a generated secret cannot be read or made, or the HTTP client not built.
    pub fn new(settings: &Settings) -> Result<Self, VerifierError> {
        let keys = Arc::new(KeyRing::new(&settings.keys, 0)?);
        Ok(Self { keys: watch::Sender::new(keys), rules: settings.rules.clone(), cache: Cache::default() })
    }

    /// Replaces the keys by those of a configuration that was read again. Tokens of the old keys are refused from
    /// now on; connections that they have opened stay.
    ///
    /// # Errors
    /// When the new keys cannot be read or fetched; the old ones stay in use.
    pub async fn reload(&self, keys: &KeySource) -> Result<(), VerifierError> {
        let old = self.key_ring();
        if let (Keys::Published(jwks), KeySource::Jwks(url)) = (&old.keys, keys)
            && jwks.is_at(url)
        {
            return if jwks.refresh().await { Ok(()) } else { Err(VerifierError::NotFetched) };
        }
        let new = KeyRing::new(keys, old.reloads + 1)?;
        if let Keys::Published(jwks) = &new.keys
            && !jwks.refresh().await
        {
            return Err(VerifierError::NotFetched);
        }
        self.keys.send_replace(Arc::new(new));
        Ok(())
    }

    /// Fetches published keys now, and returns how many can be used; none where the key is a fixed one.
    ///
    /// # Errors
    /// Why they cannot be fetched.
    pub(crate) async fn fetch_keys(&self) -> Result<usize, String> {
        match &self.key_ring().keys {
            Keys::Fixed(_) => Ok(0),
            Keys::Published(jwks) => jwks.fetch_or_say_why().await,
        }
    }

    /// Returns the secret that tokens can be signed with; `None` where this node holds public keys only.
    pub(crate) fn signing_secret(&self) -> Option<Secret> {
        self.key_ring().secret.clone()
    }

    fn key_ring(&self) -> Arc<KeyRing> {
        self.keys.borrow().clone()
    }

    /// Returns whose token it is, and what it allows, at `now` (Unix milliseconds).
    ///
    /// The signature of a token that was verified less than five minutes ago is not checked again.
    /// With a fixed key this never waits. With published keys it may fetch them, when no known key verifies the
    /// token, for at most `FETCH_TIMEOUT` and at a bounded rate. Dropping the
    /// call is safe.
    ///
    /// # Errors
    /// The reason for the refusal, safe to show to the client.
    pub async fn verify(&self, token: &str, now: u64) -> Result<Identity, AuthError> {
        let began = Instant::now();
        let identity = self.identity(token, now).await;
        Operation::Verify.meter().record(Outcome::of(&identity), began.elapsed());
        identity
    }

    async fn identity(&self, token: &str, now: u64) -> Result<Identity, AuthError> {
        if token.is_empty() {
            return Err(AuthError::Missing);
        }
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::TooLong);
        }
        let ring = self.key_ring();
        let cache_key = cache::key(token, ring.version());
        if let Some(identity) = self.cache.get(&cache_key, now) {
            return Ok(identity);
        }
        let identity = self.rules.check(&ring.claims(token).await?, now)?;
        self.cache.insert(cache_key, &identity, now);
        Ok(identity)
    }

    /// How many tokens are remembered.
    pub(crate) fn cached(&self) -> usize {
        self.cache.len()
    }

    /// Returns for which topic the token is, and what it allows there, at `now` (Unix milliseconds). Waits as
    /// [`Self::verify`] does.
    ///
    /// # Errors
    /// The reason for the refusal, safe to show to the client.
    pub(crate) async fn verify_topic(&self, token: &str, now: u64) -> Result<TopicToken, AuthError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::TooLong);
        }
        let began = Instant::now();
        let claims = self.key_ring().claims(token).await;
        Operation::Verify.meter().record(Outcome::of(&claims), began.elapsed());
        self.rules.check_topic(&claims?, now)
    }

    /// Fetches published keys, now and again every `REFRESH_INTERVAL`; never returns.
    /// With a fixed key it only waits. Run it as a task, and drop it at the end.
    pub async fn keep_keys_fresh(&self) {
        let mut keys = self.keys.subscribe();
        loop {
            let ring = keys.borrow_and_update().clone();
            tokio::select! {
                () = ring.keep_fresh() => {}
                // The sender is a field of `self`, so the channel cannot be closed.
                _ = keys.changed() => {}
            }
        }
    }

    #[cfg(test)]
    pub(super) fn of_jwks(jwks: Jwks, rules: Rules) -> Self {
        let ring = KeyRing { keys: Keys::Published(jwks), secret: None, reloads: 0 };
        Self { keys: watch::Sender::new(Arc::new(ring)), rules, cache: Cache::default() }
    }
}

impl KeyRing {
    fn new(source: &KeySource, reloads: u64) -> Result<Self, VerifierError> {
        let secret = source.signing_secret()?;
        let keys = match (source, &secret) {
            (KeySource::PublicKey(key), _) => Keys::Fixed(key.clone()),
            (KeySource::Jwks(url), _) => Keys::Published(Jwks::new(url.clone())?),
            (KeySource::Secret(_) | KeySource::Generated { .. }, secret) => {
                let secret = secret.as_ref().expect("both of these sources have a secret");
                Keys::Fixed(Key::from_secret(secret))
            }
        };
        Ok(Self { keys, secret, reloads })
    }

    /// Checks the signature, and returns the claims.
    async fn claims(&self, token: &str) -> Result<Map<String, Value>, AuthError> {
        let header = key::header(token)?;
        match &self.keys {
            Keys::Fixed(key) => key.verify(token, &header),
            Keys::Published(jwks) => jwks.verify(token, &header).await,
        }
    }

    fn version(&self) -> cache::KeysVersion {
        let fetches = match &self.keys {
            Keys::Fixed(_) => 0,
            Keys::Published(jwks) => jwks.generation(),
        };
        cache::KeysVersion { reloads: self.reloads, fetches }
    }

    async fn keep_fresh(&self) {
        match &self.keys {
            Keys::Fixed(_) => std::future::pending().await,
            Keys::Published(jwks) => jwks.keep_fresh().await,
        }
    }
}
