//! Tokens that were verified a moment ago. A client that comes back brings the same token, and after a
//! node has died thousands do at once: a signature is checked once.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metrics::counter;
use sha2::{Digest, Sha256};

use super::{Identity, Scopes};

/// How long a verified token is taken without looking at its signature again, in milliseconds.
const REMEMBERED_MS: u64 = 5 * 60 * 1000;

/// Tokens that one generation takes; one that comes again counts again. There are two, so at most twice as
/// many are remembered.
const GENERATION_MAX: usize = 16 * 1024;

/// Users and scopes in one generation, in bytes.
const GENERATION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Half of the SHA-256 of a token and of which keys verified it. Tokens themselves are not kept, and whoever wants
/// another's would have to find one that agrees in 128 bits.
type Key = [u8; 16];

/// Which keys a token was verified with: others may have taken it for bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct KeysVersion {
    /// How often the configuration was read again.
    pub(super) read: u64,
    /// How often published keys were fetched since.
    pub(super) fetched: u64,
}

/// Identities by token. Two generations: when the younger is full, the older one is forgotten. What is
/// used passes from the older to the younger.
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
    taken: usize,
    known: HashMap<Key, Known>,
    /// Users and scopes, one behind the other. As small pieces of their own they would keep the pages on which
    /// they lie from being given back, long after the connections that lay around them have gone.
    texts: String,
}

/// An identity, and when it was verified.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Where its user begins in the texts; the scopes follow.
    at: usize,
    user_bytes: usize,
    scopes_bytes: usize,
    /// Unix milliseconds.
    expires_at: u64,
    /// Unix milliseconds.
    ends_at: u64,
    /// Unix milliseconds.
    verified_at: u64,
}

impl Known {
    fn holds(&self, now: u64) -> bool {
        let fresh = now < self.verified_at.saturating_add(REMEMBERED_MS) && now >= self.verified_at;
        fresh && now < self.ends_at
    }
}

/// What the cache knows a token by, while the keys are of this version.
pub(super) fn key(token: &str, keys: KeysVersion) -> Key {
    let digest = Sha256::new()
        .chain_update(keys.read.to_be_bytes())
        .chain_update(keys.fetched.to_be_bytes())
        .chain_update(token)
        .finalize();
    std::array::from_fn(|at| digest[at])
}

impl Cache {
    /// Who the token speaks for, if it was verified not long ago and has not expired since.
    pub(super) fn get(&self, key: &Key, now: u64) -> Option<Identity> {
        let identity = self.lock().get(key, now);
        if identity.is_some() {
            counter!("draftwire_token_cache_hits_total").increment(1);
        } else {
            counter!("draftwire_token_cache_misses_total").increment(1);
        }
        identity
    }

    /// Takes a token that was verified at `now`.
    pub(super) fn insert(&self, key: Key, identity: &Identity, now: u64) {
        self.lock().insert(key, identity, now);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn get(&mut self, key: &Key, now: u64) -> Option<Identity> {
        if let Some(known) = self.young.known.get(key) {
            return self.young.identity(known, now);
        }
        let known = self.old.known.remove(key)?;
        let identity = self.old.identity(&known, now)?;
        self.insert(*key, &identity, known.verified_at);
        Some(identity)
    }

    fn insert(&mut self, key: Key, identity: &Identity, verified_at: u64) {
        if self.young.taken >= GENERATION_MAX || self.young.texts.len() >= GENERATION_BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, identity, verified_at);
    }
}

impl Generation {
    fn insert(&mut self, key: Key, identity: &Identity, verified_at: u64) {
        let (user, scopes) = (identity.user.as_str(), identity.scopes.as_str());
        let at = self.texts.len();
        let (user_bytes, scopes_bytes) = (user.len(), scopes.len());
        self.taken += 1;
        self.texts.push_str(user);
        self.texts.push_str(scopes);
        let &Identity { expires_at, ends_at, .. } = identity;
        self.known.insert(key, Known { at, user_bytes, scopes_bytes, expires_at, ends_at, verified_at });
    }

    fn identity(&self, known: &Known, now: u64) -> Option<Identity> {
        if !known.holds(now) {
            return None;
        }
        let texts = self.texts.get(known.at..)?;
        let (user, rest) = texts.split_at_checked(known.user_bytes)?;
        let scopes = Scopes::new(rest.get(..known.scopes_bytes)?);
        let &Known { expires_at, ends_at, .. } = known;
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

    /// The name of a token, under the first keys.
    fn first(token: &str) -> Key {
        key(token, KeysVersion::default())
    }

    #[test]
    fn a_token_is_remembered_for_a_while_and_never_past_its_end() {
        let cache = Cache::default();
        let (long, short) = (first("long"), first("short"));
        cache.insert(long, &identity(u64::MAX), 1000);
        cache.insert(short, &identity(2000), 1000);
        assert!(cache.get(&long, 1000).is_some());
        assert!(cache.get(&long, 999 + REMEMBERED_MS).is_some());
        assert!(cache.get(&long, 1000 + REMEMBERED_MS).is_none());
        assert!(cache.get(&long, 999).is_none(), "the clock went back");
        assert!(cache.get(&short, 1999).is_some());
        assert!(cache.get(&short, 2000).is_none());
        assert!(cache.get(&first("another"), 1000).is_none());
        assert!(
            cache.get(&key("long", KeysVersion { read: 0, fetched: 1 }), 1000).is_none(),
            "other keys were fetched"
        );
        let read = KeysVersion { read: 1, fetched: 0 };
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
        assert!(generations.young.known.len() + generations.old.known.len() <= 2 * GENERATION_MAX);
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
