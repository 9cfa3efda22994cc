//! Fetches and caches the public keys that the issuer of the tokens publishes (RFC 7517).
//!
//! Keys are fetched at start, then every `REFRESH_INTERVAL`, and when none of them verifies a token, because
//! issuers rotate them. Anybody can make such a token, so these fetches are rare: one at a time, and not
//! again within `Pace`. While the issuer does not answer, the last keys stay in use: its outage is not ours.
//!
//! A name (`kid`) is optional in keys and in tokens (RFC 7517 section 4.5, RFC 7515 section 4.1.4). Where
//! one is missing, every key of the token's algorithm may be the right one, and they are tried in turn.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::{Header, jwk::Jwk};
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use super::{AuthError, key::Key, secret::redacted};

/// How long one fetch may take.
pub(super) const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// How often keys are fetched without a token that needs them. A key that the issuer takes back stays in use for at
/// most this long, as long as the issuer answers.
pub(super) const REFRESH_INTERVAL: Duration = Duration::from_secs(300);

/// The largest answer that is read, in bytes.
const RESPONSE_BYTES_MAX: usize = 1 << 20;

/// The most keys that are kept; the first ones win. Issuers publish two or three.
const KEYS_MAX: usize = 256;

/// The most keys that are tried on one token: each costs a signature check, and anybody can send a token.
const KEYS_TRIED_MAX: usize = 8;

/// How soon a token with an unknown key may cause the next fetch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// After a fetch that worked: the token's key is likely an invention.
    pub(super) after_success: Duration,
    /// After a fetch that failed: devices are waiting for the issuer to be back.
    pub(super) after_failure: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self { after_success: Duration::from_secs(10), after_failure: Duration::from_secs(1) }
    }
}

/// The published keys.
pub(super) struct Jwks {
    url: Url,
    client: Client,
    pace: Pace,
    /// `None` until the first fetch that worked.
    cached: RwLock<Option<Arc<KeySet>>>,
    /// Counts the fetches that worked.
    fetches: AtomicU64,
    /// When the last fetch began, and whether it worked. The lock is held while a fetch runs, so that there is one
    /// at a time.
    last: Mutex<Option<(Instant, bool)>>,
}

/// Keys and their names, in the order in which they were published.
#[derive(Debug)]
struct KeySet(Vec<(Option<String>, Key)>);

/// What a set of keys says of a token.
enum Verdict {
    /// One of the keys verifies it. These are its claims.
    Verified(Map<String, Value>),
    /// It is refused, whatever other keys there may be.
    Refused(AuthError),
    /// None of these keys verifies it, for this reason. A key that was published since may do so.
    NoKey(AuthError),
}

/// Why a fetch did not work; for the log.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("it answers with status {0}")]
    Status(u16),
    #[error("its answer is over {RESPONSE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("its answer is no JSON object with keys: {0}")]
    Format(#[from] serde_json::Error),
    #[error("none of its keys can be used")]
    NoKeys,
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jwks({})", self.shown_url())
    }
}

impl Jwks {
    pub(super) fn new(url: Url) -> Result<Self, reqwest::Error> {
        Self::with_pace(url, Pace::default())
    }

    pub(super) fn with_pace(url: Url, pace: Pace) -> Result<Self, reqwest::Error> {
        // A redirect could lead from https to http, and from the issuer to anybody.
        let client = Client::builder().timeout(FETCH_TIMEOUT).redirect(redirect::Policy::none()).build()?;
        Ok(Self {
            url,
            client,
            pace,
            cached: RwLock::default(),
            fetches: AtomicU64::new(0),
            last: Mutex::default(),
        })
    }

    /// Checks the signature with the key that the token needs, which may have to be fetched, and returns the claims.
    pub(super) async fn verify(&self, token: &str, header: &Header) -> Result<Map<String, Value>, AuthError> {
        let seen = self.generation();
        let reason = match self.verify_with_cached(token, header) {
            Verdict::Verified(claims) => return Ok(claims),
            Verdict::Refused(error) => return Err(error),
            Verdict::NoKey(reason) => reason,
        };
        let mut last = self.last.lock().await;
        let worked = match *last {
            // Whoever held the lock has just fetched them.
            _ if self.generation() != seen => true,
            Some((at, true)) if at.elapsed() < self.pace.after_success => true,
            Some((at, false)) if at.elapsed() < self.pace.after_failure => false,
            _ => self.fetch(&mut last).await,
        };
        drop(last);
        if !worked {
            return Err(AuthError::KeysUnavailable);
        }
        if self.generation() == seen {
            return Err(reason);
        }
        match self.verify_with_cached(token, header) {
            Verdict::Verified(claims) => Ok(claims),
            Verdict::Refused(error) | Verdict::NoKey(error) => Err(error),
        }
    }

    fn verify_with_cached(&self, token: &str, header: &Header) -> Verdict {
        match self.cached() {
            Some(set) => set.verify(token, header),
            None => Verdict::NoKey(AuthError::KeysUnavailable),
        }
    }

    /// Returns a number that grows whenever the keys may have changed: they may refuse what earlier ones verified.
    pub(super) fn generation(&self) -> u64 {
        self.fetches.load(Ordering::Acquire)
    }

    /// Returns whether these are the keys of this address.
    pub(super) fn is_at(&self, url: &Url) -> bool {
        self.url == *url
    }

    /// Fetches the keys now and returns whether that worked.
    pub(super) async fn refresh(&self) -> bool {
        self.fetch(&mut *self.last.lock().await).await
    }

    /// Fetches the keys now and returns how many there are, or why that did not work.
    pub(super) async fn fetch_or_say_why(&self) -> Result<usize, String> {
        let mut last = self.last.lock().await;
        let set = self.download().await.map_err(|error| {
            // The innermost cause says it, such as a refused connection.
            let mut cause: &dyn std::error::Error = &error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            cause.to_string()
        })?;
        let count = set.0.len();
        *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
        self.fetches.fetch_add(1, Ordering::AcqRel);
        *last = Some((Instant::now(), true));
        Ok(count)
    }

    /// Fetches the keys again and again; never returns.
    pub(super) async fn keep_fresh(&self) {
        loop {
            let worked = self.refresh().await;
            let has_keys = self.cached().is_some();
            sleep(if worked || has_keys { REFRESH_INTERVAL } else { FETCH_TIMEOUT }).await;
        }
    }

    /// Fetches the keys once and returns whether that worked. If not, the cached keys stay.
    async fn fetch(&self, last: &mut Option<(Instant, bool)>) -> bool {
        // The time is noted first, so that a caller that is dropped in the middle does not lift the limit.
        let began = Instant::now();
        *last = Some((began, false));
        match self.download().await {
            Ok(set) => {
                *self.cached.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(set));
                self.fetches.fetch_add(1, Ordering::AcqRel);
                *last = Some((began, true));
                true
            }
            Err(error) => {
                let url = self.shown_url();
                tracing::warn!(url, %error, "the keys that verify tokens cannot be fetched");
                false
            }
        }
    }

    async fn download(&self) -> Result<KeySet, FetchError> {
        let mut response =
            self.client.get(self.url.clone()).send().await.map_err(reqwest::Error::without_url)?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(reqwest::Error::without_url)? {
            if body.len() + chunk.len() > RESPONSE_BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        KeySet::parse(&body)
    }

    /// Returns the URL without its query, which may hold a key of its own.
    fn shown_url(&self) -> String {
        redacted(self.url.as_str())
    }

    fn cached(&self) -> Option<Arc<KeySet>> {
        self.cached.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl KeySet {
    /// Reads the keys that can be used and skips the others: RFC 7517 section 5 wants unknown
    /// kinds ignored.
    fn parse(body: &[u8]) -> Result<Self, FetchError> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Value>,
        }

        let document: Document = serde_json::from_slice(body)?;
        let keys: Vec<(Option<String>, Key)> = document
            .keys
            .into_iter()
            .filter_map(|value| serde_json::from_value::<Jwk>(value).ok())
            .filter_map(|jwk| Key::from_jwk(&jwk).ok().map(|key| (jwk.common.key_id, key)))
            .take(KEYS_MAX)
            .collect();
        if keys.is_empty() { Err(FetchError::NoKeys) } else { Ok(Self(keys)) }
    }

    fn verify(&self, token: &str, header: &Header) -> Verdict {
        let named = |(kid, _): &&(Option<String>, Key)| kid.is_some() && *kid == header.kid;
        if self.0.iter().any(|key| named(&key)) {
            // The issuer says which key it is: there is nothing to wait for.
            return match verify_with(self.0.iter().filter(named), token, header) {
                Ok(claims) => Verdict::Verified(claims),
                Err(error) => Verdict::Refused(error),
            };
        }
        // A token without a `kid` may need any key, and a token with one may need a key without a name.
        let nameless = |(kid, _): &&(Option<String>, Key)| kid.is_none() || header.kid.is_none();
        match verify_with(self.0.iter().filter(nameless), token, header) {
            Ok(claims) => Verdict::Verified(claims),
            Err(error @ (AuthError::BadSignature | AuthError::WrongAlgorithm)) => {
                let names_one = header.kid.is_some();
                Verdict::NoKey(if names_one { AuthError::UnknownKey } else { error })
            }
            Err(error) => Verdict::Refused(error),
        }
    }
}

/// Tries the keys of the token's algorithm in turn, [`KEYS_TRIED_MAX`] at most.
fn verify_with<'a>(
    keys: impl Iterator<Item = &'a (Option<String>, Key)>,
    token: &str,
    header: &Header,
) -> Result<Map<String, Value>, AuthError> {
    let mut refused = AuthError::WrongAlgorithm;
    for (_, key) in keys.filter(|(_, key)| key.is_for(header.alg)).take(KEYS_TRIED_MAX) {
        match key.verify(token, header) {
            Err(AuthError::BadSignature) => refused = AuthError::BadSignature,
            outcome => return outcome,
        }
    }
    Err(refused)
}
