//! Tokens that were verified a moment ago. A client that comes back brings the same token, and after a
//! node has died thousands do at once: a signature is checked once.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use metrics::counter;
use sha2::{Digest, Sha256};

use super::Identity;

/// How long a verified token is taken without looking at its signature again, in milliseconds.
const REMEMBERED_MS: u64 = 5 * 60 * 1000;

/// Tokens in one generation. There are two, so at most twice as many are remembered.
const GENERATION_MAX: usize = 16 * 1024;

/// The SHA-256 of a token, and which generation of keys verified it. Tokens themselves are not kept.
type Key = ([u8; 32], u64);

/// Identities by token. Two generations: when the younger is full, the older one is forgotten. What is
/// used passes from the older to the younger.
#[derive(Debug, Default)]
pub(super) struct Cache {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Key, Known>,
    old: HashMap<Key, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    identity: Identity,
    /// Unix milliseconds.
    verified_at: u64,
}

impl Known {
    fn holds(&self, now: u64) -> bool {
        let fresh = now < self.verified_at.saturating_add(REMEMBERED_MS) && now >= self.verified_at;
        fresh && now < self.identity.expires_at
    }
}

/// What the cache knows a token by, while the keys are of this generation.
pub(super) fn key(token: &str, keys: u64) -> Key {
    (Sha256::digest(token).into(), keys)
}

impl Cache {
    /// Who the token speaks for, if it was verified not long ago and has not expired since.
    pub(super) fn get(&self, key: &Key, now: u64) -> Option<Identity> {
        let mut generations = self.lock();
        let known = match generations.young.get(key) {
            Some(known) => known.clone(),
            None => {
                let known = generations.old.remove(key)?;
                if known.holds(now) {
                    generations.insert(*key, known.clone());
                }
                known
            }
        };
        if !known.holds(now) {
            return None;
        }
        counter!("draftwire_tokens_remembered_total").increment(1);
        Some(known.identity)
    }

    /// Takes a token that was verified at `now`.
    pub(super) fn insert(&self, key: Key, identity: Identity, now: u64) {
        self.lock().insert(key, Known { identity, verified_at: now });
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, key: Key, known: Known) {
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, known);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::auth::Scopes;

    fn identity(expires_at: u64) -> Identity {
        Identity { user: "alice".parse().unwrap(), expires_at, scopes: Scopes::new("") }
    }

    #[test]
    fn a_token_is_remembered_for_a_while_and_never_past_its_end() {
        let cache = Cache::default();
        let (long, short) = (key("long", 0), key("short", 0));
        cache.insert(long, identity(u64::MAX), 1000);
        cache.insert(short, identity(2000), 1000);
        assert!(cache.get(&long, 1000).is_some());
        assert!(cache.get(&long, 999 + REMEMBERED_MS).is_some());
        assert!(cache.get(&long, 1000 + REMEMBERED_MS).is_none());
        assert!(cache.get(&long, 999).is_none(), "the clock went back");
        assert!(cache.get(&short, 1999).is_some());
        assert!(cache.get(&short, 2000).is_none());
        assert!(cache.get(&key("another", 0), 1000).is_none());
        assert!(cache.get(&key("long", 1), 1000).is_none(), "the keys are others now");
    }

    #[test]
    fn what_is_not_used_is_forgotten() {
        let cache = Cache::default();
        let (used, unused) = (key("used", 0), key("unused", 0));
        for key in [used, unused] {
            cache.insert(key, identity(u64::MAX), 0);
        }
        for n in 0..3 * GENERATION_MAX {
            cache.insert(key(&n.to_string(), 0), identity(u64::MAX), 0);
            if n % 1000 == 0 {
                assert!(cache.get(&used, 1).is_some());
            }
        }
        assert!(cache.get(&unused, 1).is_none());
        let generations = cache.lock();
        assert!(generations.young.len() + generations.old.len() <= 2 * GENERATION_MAX);
    }
}
