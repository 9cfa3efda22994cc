//! Bounds on looks at who is present in a topic.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Looks at once. Each follows its topic meanwhile, and takes a third of a second where nobody attends the topic through
/// this node.
const LOOKS_MAX: usize = 256;

/// Looks without a token at once: a share of [`LOOKS_MAX`], so that what anybody may do takes no place from users and
/// backends.
const ANONYMOUS_MAX: usize = 64;

/// The looks under way.
pub(super) struct Looks {
    all: Semaphore,
    anonymous: Semaphore,
}

/// The place of a look, until it is dropped.
pub(super) struct Place<'a> {
    _all: SemaphorePermit<'a>,
    _anonymous: Option<SemaphorePermit<'a>>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { all: Semaphore::new(LOOKS_MAX), anonymous: Semaphore::new(ANONYMOUS_MAX) }
    }
}

impl Looks {
    /// Takes a place for a look; `None` where there are too many.
    pub(super) fn take(&self, is_anonymous: bool) -> Option<Place<'_>> {
        let anonymous = if is_anonymous { Some(self.anonymous.try_acquire().ok()?) } else { None };
        Some(Place { _all: self.all.try_acquire().ok()?, _anonymous: anonymous })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_without_a_token_leave_places_to_others() {
        let looks = Looks::default();
        let anonymous: Vec<_> = std::iter::from_fn(|| looks.take(true)).collect();
        assert_eq!(anonymous.len(), ANONYMOUS_MAX);
        let others: Vec<_> = std::iter::from_fn(|| looks.take(false)).collect();
        assert_eq!(others.len(), LOOKS_MAX - ANONYMOUS_MAX);
        drop(anonymous);
        assert!(looks.take(true).is_some());
        assert!(looks.take(false).is_some());
    }
}
