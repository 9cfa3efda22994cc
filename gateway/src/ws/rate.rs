//! How many commands a connection may send. Pure.

use tokio::time::Instant;

/// A token bucket: `per_second` on average, up to `burst` at once. What costs more than is left is
/// granted on credit, so that nothing is too large to be ever granted; the next one waits for it.
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    burst: f64,
    left: f64,
    /// When `left` was right.
    at: Instant,
}

impl Rate {
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { per_second: per_second.into(), burst: burst.into(), left: burst.into(), at: now }
    }

    /// Takes so many tokens, if there is one.
    pub(crate) fn take(&mut self, cost: usize, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + gained).min(self.burst);
        self.at = now;
        let granted = self.left >= 1.0;
        if granted {
            self.charge(cost);
        }
        granted
    }

    /// Takes so many tokens for what was granted, on credit if need be.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn charge(&mut self, cost: usize) {
        self.left -= cost as f64;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn it_allows_the_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(10, 20, start);
        let granted = (0..100).filter(|_| rate.take(1, start)).count();
        assert_eq!(granted, 20);
        let later = start + Duration::from_secs(1);
        assert_eq!((0..100).filter(|_| rate.take(1, later)).count(), 10);
        let much_later = start + Duration::from_secs(1000);
        assert_eq!((0..100).filter(|_| rate.take(1, much_later)).count(), 20, "no more than the burst");
        let rested = much_later + Duration::from_secs(2);
        assert!(rate.take(30, rested), "on credit");
        assert!(!rate.take(1, rested + Duration::from_secs(1)));
        assert!(rate.take(1, rested + Duration::from_millis(1100)));
    }
}
