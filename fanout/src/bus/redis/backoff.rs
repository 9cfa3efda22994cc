//! How long to wait before connecting again.

use std::time::Duration;

/// The first wait. Redis restarts in less; a shorter one would only be a busy loop.
const DELAY_MIN: Duration = Duration::from_millis(100);

/// The longest wait: while Redis is away followers ride on the sweep, so its return should be noticed soon.
const DELAY_MAX: Duration = Duration::from_secs(2);

/// A connection that lasted this long was a real one: the next wait is short again.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);

/// Doubles from [`DELAY_MIN`] to [`DELAY_MAX`]. Half of each wait is random, so that the nodes of a
/// cluster do not come back in step.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after a connection that lasted for `lasted`; zero for one that never came up.
    pub(super) fn next(&mut self, lasted: Duration) -> Duration {
        if lasted >= HEALTHY_AFTER {
            self.failures = 0;
        }
        let delay = DELAY_MIN.saturating_mul(2_u32.saturating_pow(self.failures)).min(DELAY_MAX);
        self.failures = self.failures.saturating_add(1);
        delay.mul_f64(rand::random_range(0.5..=1.0))
    }

    /// Starts over: the connection was given up on purpose.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_start_over_after_a_lasting_connection() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = (0..40).map(|_| backoff.next(Duration::ZERO)).collect();
        assert!(waits[0] <= DELAY_MIN && waits[0] >= DELAY_MIN / 2);
        assert!(waits.iter().all(|wait| *wait <= DELAY_MAX));
        assert!(waits[39] >= DELAY_MAX / 2);
        assert!(backoff.next(HEALTHY_AFTER) <= DELAY_MIN);
    }
}
