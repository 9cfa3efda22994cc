//! Remembers tokens that were verified a moment ago. A client that reconnects brings the same token, and after a
//! node has died thousands do at once: the signature of each is checked once.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use common::operations::Tally;
use metrics::counter;
use sha2::{Digest, Sha256};

use super::{Identity, Scopes};

/// How long a verified token is accepted without checking its signature again, in milliseconds.
const TTL_MS: u64 = 5 * 60 * 1000;

/// The most insertions into one generation; a token that is inserted again counts again. There are two
/// generations, so at most twice as many tokens are remembered.
const GENERATION_MAX: usize = 16 * 1024;

/// The size at which the texts of a generation are full, in bytes.
const GENERATION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Half of the SHA-256 of a token and of the version of the keys that verified it. Tokens themselves are not kept,
/// and whoever wants to pass for another's would have to find one with the same 128 bits.
type CacheKey = [u8; 16];

/// Which keys a token was verified with: other keys might refuse it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeysVersion {
    /// How often the configuration was read again.
    pub(super) reloads: u64,
    /// How often published keys were fetched since.
    pub(super) fetches: u64,
}

/// Identities by token, in two generations: when the young one is full, the old one is dropped and the young one
/// takes its place. An entry that is used moves from the old one to the young one.
#[derive(Debug, Default)]
pub(super) struct Cache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: Generation,
    old: Generation,
}

#[derive(Debug, Default)]
struct Generation {
    insertions: usize,
    entries: HashMap<CacheKey, Entry>,
    /// The users and scopes of the entries, one behind the other. As small allocations of their own they would keep
    /// the pages on which they lie from being given back to the system, long after the connections whose memory
    /// lay around them have gone.
    texts: String,
}

/// An identity, and when it was verified.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Where the user begins in the texts of the generation; the scopes follow.
    start: usize,
    user_bytes: usize,
    scopes_bytes: usize,
    /// Unix milliseconds.
    expires_at: u64,
    /// Unix milliseconds.
    ends_at: u64,
    /// Unix milliseconds.
    verified_at: u64,
}

impl Entry {
    fn is_valid(&self, now: u64) -> bool {
        let fresh = now < self.verified_at.saturating_add(TTL_MS) && now >= self.verified_at;
        fresh && now < self.ends_at
    }
}

/// Returns the key under which the cache has a token, while the keys are of this version.
pub(super) fn key(token: &str, keys: KeysVersion) -> CacheKey {
    let digest = Sha256::new()
        .chain_update(keys.reloads.to_be_bytes())
        .chain_update(keys.fetches.to_be_bytes())
        .chain_update(token)
        .finalize();
    std::array::from_fn(|at| digest[at])
}

impl Cache {
    /// Returns whose token it is, if it was verified not long ago and has not ended since.
    pub(super) fn get(&self, key: &CacheKey, now: u64) -> Option<Identity> {
        let identity = self.lock().get(key, now);
        if identity.is_some() {
            Tally::TokenHits.add(1);
            counter!("draftwire_token_cache_hits_total").increment(1);
        } else {
            Tally::TokenMisses.add(1);
            counter!("draftwire_token_cache_misses_total").increment(1);
        }
        identity
    }

    /// How many tokens it has.
    pub(super) fn len(&self) -> usize {
        let generations = self.lock();
        generations.young.entries.len() + generations.old.entries.len()
    }

    /// Remembers a token that was verified at `now`.
    pub(super) fn insert(&self, key: CacheKey, identity: &Identity, now: u64) {
        self.lock().insert(key, identity, now);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&mut self, key: &CacheKey, now: u64) -> Option<Identity> {
        if let Some(entry) = self.young.entries.get(key) {
            return self.young.identity(entry, now);
        }
        let entry = self.old.entries.remove(key)?;
        let identity = self.old.identity(&entry, now)?;
        self.insert(*key, &identity, entry.verified_at);
        Some(identity)
    }

    fn insert(&mut self, key: CacheKey, identity: &Identity, verified_at: u64) {
        if self.young.insertions >= GENERATION_MAX || self.young.texts.len() >= GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, identity, verified_at);
    }
}

impl Generation {
    fn insert(&mut self, key: CacheKey, identity: &Identity, verified_at: u64) {
        let (user, scopes) = (identity.user.as_str(), identity.scopes.as_str());
        let start = self.texts.len();
        let (user_bytes, scopes_bytes) = (user.len(), scopes.len());
        self.insertions += 1;
        self.texts.push_str(user);
        self.texts.push_str(scopes);
        let &Identity { expires_at, ends_at, .. } = identity;
        self.entries.insert(key, Entry { start, user_bytes, scopes_bytes, expires_at, ends_at, verified_at });
    }

    fn identity(&self, entry: &Entry, now: u64) -> Option<Identity> {
        if !entry.is_valid(now) {
            return None;
        }
        let texts = self.texts.get(entry.start..)?;
        let (user, rest) = texts.split_at_checked(entry.user_bytes)?;
        let scopes = Scopes::new(rest.get(..entry.scopes_bytes)?);
        let &Entry { expires_at, ends_at, .. } = entry;
        Some(Identity { user: user.parse().ok()?, expires_at, ends_at, scopes })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    fn identity(ends_at: u64) -> Identity {
        Identity { user: "alice".parse().unwrap(), expires_at: 0, ends_at, scopes: Scopes::new("") }
    }

    /// The key of a token while the first keys are in use.
    fn first(token: &str) -> CacheKey {
        key(token, KeysVersion::default())
    }

    #[test]
    fn a_token_is_remembered_for_a_while_and_never_past_its_end() {
        let cache = Cache::default();
        let (long, short) = (first("long"), first("short"));
        cache.insert(long, &identity(u64::MAX), 1000);
        cache.insert(short, &identity(2000), 1000);
        assert!(cache.get(&long, 1000).is_some());
        assert!(cache.get(&long, 999 + TTL_MS).is_some());
        assert!(cache.get(&long, 1000 + TTL_MS).is_none());
        assert!(cache.get(&long, 999).is_none(), "the clock went back");
        assert!(cache.get(&short, 1999).is_some());
        assert!(cache.get(&short, 2000).is_none());
        assert!(cache.get(&first("another"), 1000).is_none());
        assert!(
            cache.get(&key("long", KeysVersion { reloads: 0, fetches: 1 }), 1000).is_none(),
            "other keys were fetched"
        );
        let read = KeysVersion { reloads: 1, fetches: 0 };
        assert!(cache.get(&key("long", read), 1000).is_none(), "other keys were read");
    }

    #[test]
    fn hits_and_misses_are_counted() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let cache = Cache::default();
            let token = first("one");
            assert!(cache.get(&token, 0).is_none());
            cache.insert(token, &identity(2), 0);
            assert!(cache.get(&token, 0).is_some() && cache.get(&token, 1).is_some());
            assert!(cache.get(&token, 2).is_none(), "it has ended");
        });
        let page = recorder.handle().render();
        for line in ["draftwire_token_cache_hits_total 2", "draftwire_token_cache_misses_total 2"] {
            assert!(page.lines().any(|found| found == line), "{page}");
        }
    }

    #[test]
    fn what_is_not_used_is_forgotten() {
        let cache = Cache::default();
        let (used, unused) = (first("used"), first("unused"));
        for key in [used, unused] {
            cache.insert(key, &identity(u64::MAX), 0);
        }
        for n in 0..3 * GENERATION_MAX {
            cache.insert(first(&n.to_string()), &identity(u64::MAX), 0);
            if n % 1000 == 0 {
                assert!(cache.get(&used, 1).is_some());
            }
        }
        assert!(cache.get(&unused, 1).is_none());
        let generations = cache.lock();
        assert!(generations.young.entries.len() + generations.old.entries.len() <= 2 * GENERATION_MAX);
    }

    #[test]
    fn a_token_that_is_verified_again_and_again_takes_no_more_room() {
        let cache = Cache::default();
        for now in 0..5 * GENERATION_MAX as u64 {
            cache.insert(first("one"), &identity(u64::MAX), now);
        }
        let generations = cache.lock();
        assert!(
            generations.young.texts.len() + generations.old.texts.len() <= 2 * GENERATION_MAX * "alice".len()
        );
    }

    #[test]
    fn each_token_is_that_of_its_own_user_and_rights() {
        let cache = Cache::default();
        let of = |n: usize| Identity {
            user: format!("user-{n}ü").parse().unwrap(),
            expires_at: 10_000 + n as u64,
            ends_at: 20_000 + n as u64,
            scopes: Scopes::new(["", "subscribe:a", "publish:* subscribe:b"][n % 3]),
        };
        let name = |n: usize| first(&n.to_string());
        for n in 0..GENERATION_MAX + 9 {
            cache.insert(name(n), &of(n), 0);
        }
        // Those of the older generation, which pass into the younger, and those of the younger.
        for n in [0, 1, 2, GENERATION_MAX - 1, GENERATION_MAX, GENERATION_MAX + 8] {
            assert_eq!([cache.get(&name(n), 1), cache.get(&name(n), 2)], [Some(of(n)), Some(of(n))]);
        }
    }
}
