//! Pauses between attempts.

use std::time::Duration;

/// The longest pause grows from `first` to `most`; each is random below it (full jitter), so that clients that
/// lost their node together do not come back together.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    most: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, attempts: 0 }
    }

    /// What was tried has worked.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        self.at(rand::random::<f64>())
    }

    /// The next pause, at this part of the longest one.
    fn at(&mut self, part: f64) -> Duration {
        let longest = self.first.saturating_mul(2_u32.saturating_pow(self.attempts)).min(self.most);
        self.attempts = self.attempts.saturating_add(1);
        longest.mul_f64(part.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_begin_anew() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
        let longest: Vec<u64> = (0..5).map(|_| backoff.at(1.0).as_secs()).collect();
        assert_eq!(longest, [1, 2, 4, 5, 5]);
        assert_eq!(backoff.at(0.0), Duration::ZERO);
        backoff.reset();
        assert_eq!(backoff.at(0.5), Duration::from_millis(500));
        for _ in 0..100 {
            assert!(backoff.next() <= Duration::from_secs(5));
        }
    }
}
