//! When a token ends, and when its client is told so. Pure: the time is an argument.
//!
//! A token ends by the wall clock, and timers run by the monotonic one. The two part when the wall clock is
//! set, or when the host was suspended. So nothing here is a moment of a timer: whoever waits asks how long,
//! and asks again whenever it wakes.

use std::time::Duration;

use super::{Identity, claims::Validity};

/// The longest wait that is returned: deadlines must be representable, and some tokens last for centuries.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

/// When a token ends. Times are Unix milliseconds.
#[derive(Debug, Clone)]
pub struct Expiry {
    /// The token's own `exp`; once that has passed, the same as `ends_at`.
    expires_at: u64,
    /// When the token is no longer accepted.
    ends_at: u64,
    /// When the client is to be warned; `None` once it was.
    warn_at: Option<u64>,
}

/// The state of a token, which says what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenState {
    /// There is nothing to do yet.
    Good,
    /// The client is to be told, once, that the token expires after this time.
    Ending(Duration),
    /// It is no longer accepted.
    Ended,
}

impl Expiry {
    /// Creates the expiry of a token of which the client is warned this long before its `exp`: the leeway is for
    /// clocks that differ, and not for the client to use. A token that has reached its `exp` already counts as one
    /// that expires with the leeway.
    ///
    /// When less than twice `warning` is left, the client is warned when half of the rest is over: otherwise the next
    /// warning would come at once, and a client that heeds them would do nothing else.
    pub fn of(identity: &Identity, warning: Duration, now: u64) -> Self {
        let &Identity { expires_at, ends_at, .. } = identity;
        Self::within(Validity { expires_at, ends_at }, warning, now)
    }

    /// Creates the same for a token of one topic.
    pub(crate) fn within(validity: Validity, warning: Duration, now: u64) -> Self {
        let Validity { expires_at, ends_at } = validity;
        let expires_at = if now < expires_at { expires_at } else { ends_at };
        let notice = warning.min(until(expires_at, now) / 2);
        let notice = u64::try_from(notice.as_millis()).unwrap_or(u64::MAX);
        Self { expires_at, ends_at, warn_at: Some(expires_at.saturating_sub(notice)) }
    }

    /// Returns what to do now. A warning is returned once.
    pub fn look(&mut self, now: u64) -> TokenState {
        if self.has_ended(now) {
            return TokenState::Ended;
        }
        match self.warn_at {
            Some(warn_at) if now >= warn_at => {
                self.warn_at = None;
                TokenState::Ending(until(self.expires_at, now))
            }
            _ => TokenState::Good,
        }
    }

    /// Returns whether the token is no longer accepted.
    pub(crate) fn has_ended(&self, now: u64) -> bool {
        now >= self.ends_at
    }

    /// Returns after how long to look again, if the wall clock goes on evenly.
    pub fn wait(&self, now: u64) -> Duration {
        until(self.warn_at.unwrap_or(self.ends_at), now).min(WAIT_MAX)
    }

    /// Returns the same for callers that need the end alone.
    pub(crate) fn wait_for_end(&self, now: u64) -> Duration {
        until(self.ends_at, now).min(WAIT_MAX)
    }
}

fn until(moment: u64, now: u64) -> Duration {
    Duration::from_millis(moment.saturating_sub(now))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::auth::Scopes;

    const START: u64 = 1_700_000_000_000;
    const MINUTE: Duration = Duration::from_secs(60);

    fn token(lifetime_ms: u64) -> Expiry {
        with_leeway(lifetime_ms, 0, START)
    }

    fn with_leeway(lifetime_ms: u64, leeway_ms: u64, now: u64) -> Expiry {
        let expires_at = START.saturating_add(lifetime_ms);
        let identity = Identity {
            user: "alice".parse().unwrap(),
            expires_at,
            ends_at: expires_at.saturating_add(leeway_ms),
            scopes: Scopes::new(""),
        };
        Expiry::of(&identity, MINUTE, now)
    }

    #[test]
    fn a_client_is_warned_once_and_then_it_is_over() {
        let mut expiry = token(300_000);
        assert_eq!(expiry.wait(START), Duration::from_secs(240));
        assert_eq!(expiry.look(START + 239_999), TokenState::Good);
        assert_eq!(expiry.look(START + 240_000), TokenState::Ending(MINUTE));
        assert_eq!(expiry.look(START + 240_000), TokenState::Good);
        assert_eq!(expiry.wait(START + 240_000), MINUTE);
        assert_eq!(expiry.look(START + 299_999), TokenState::Good);
        assert_eq!(expiry.look(START + 300_000), TokenState::Ended);
        assert_eq!(expiry.wait(START + 300_001), Duration::ZERO);
    }

    #[test]
    fn a_short_token_is_warned_of_half_way() {
        let mut expiry = token(10_000);
        assert_eq!(expiry.wait(START), Duration::from_secs(5));
        assert_eq!(expiry.look(START + 5000), TokenState::Ending(Duration::from_secs(5)));
    }

    #[test]
    fn a_client_is_to_renew_before_the_leeway_begins() {
        let mut expiry = with_leeway(300_000, 60_000, START);
        assert_eq!(expiry.look(START + 240_000), TokenState::Ending(MINUTE));
        assert_eq!(expiry.look(START + 359_999), TokenState::Good);
        assert_eq!(expiry.look(START + 360_000), TokenState::Ended);
    }

    #[test]
    fn a_token_in_its_leeway_is_warned_of_half_way() {
        let late = START + 20_000;
        let mut expiry = with_leeway(0, 60_000, late);
        assert_eq!(expiry.look(late), TokenState::Good);
        assert_eq!(expiry.look(late + 20_000), TokenState::Ending(Duration::from_secs(20)));
        assert_eq!(expiry.look(late + 40_000), TokenState::Ended);
    }

    #[test]
    fn a_clock_that_jumps_ahead_ends_it_and_one_that_jumps_back_does_not() {
        let mut expiry = token(300_000);
        assert_eq!(expiry.look(START - 3_600_000), TokenState::Good);
        assert_eq!(expiry.wait(START - 3_600_000), Duration::from_secs(3840));
        // Past the warning too: there is nothing left to warn of.
        assert_eq!(expiry.look(START + 3_600_000), TokenState::Ended);
        assert!(expiry.has_ended(START + 3_600_000) && !expiry.has_ended(START));
    }

    #[test]
    fn a_token_for_centuries_is_waited_for_in_pieces() {
        let mut expiry = token(u64::MAX);
        assert_eq!((expiry.wait(START), expiry.wait_for_end(START)), (WAIT_MAX, WAIT_MAX));
        assert_eq!(expiry.look(START), TokenState::Good);
    }
}
