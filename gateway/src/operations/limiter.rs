//! How often something is logged. Pure.

use std::time::{Duration, Instant};

/// Lets so many lines through at once, and then one at each interval; counts the others.
#[derive(Debug)]
pub(crate) struct Limiter {
    burst: u32,
    interval: Duration,
    /// When the next line would be due if lines came at the interval; `None` before the first.
    due: Option<Instant>,
    left_out: u64,
}

/// How many lines were left out since the last one that was let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left(pub(crate) u64);

impl Limiter {
    /// `burst` lines at once, and one more at each `interval`.
    pub(crate) const fn new(burst: u32, interval: Duration) -> Self {
        Self { burst, interval, due: None, left_out: 0 }
    }

    /// Whether a line may be written now; `None` where it is left out.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Left> {
        let due = self.due.map_or(now, |due| due.max(now));
        if due.duration_since(now) > self.interval * self.burst.saturating_sub(1) {
            self.left_out += 1;
            return None;
        }
        self.due = Some(due + self.interval);
        Some(Left(std::mem::take(&mut self.left_out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_one_at_each_interval_which_says_how_many_were_left_out() {
        let mut limiter = Limiter::new(3, Duration::from_secs(2));
        let start = Instant::now();
        let passed = (0..10).filter(|_| limiter.take(start).is_some()).count();
        assert_eq!(passed, 3);
        assert_eq!(limiter.take(start + Duration::from_millis(1999)), None);
        assert_eq!(limiter.take(start + Duration::from_secs(2)), Some(Left(8)));
        assert_eq!(limiter.take(start + Duration::from_secs(2)), None);
        assert_eq!(limiter.take(start + Duration::from_secs(5)), Some(Left(1)));
        let later = start + Duration::from_secs(60);
        let passed = (0..10).filter(|_| limiter.take(later).is_some()).count();
        assert_eq!(passed, 3, "a pause gives no more than a burst");
    }

    #[test]
    fn what_comes_slower_than_the_interval_is_all_let_through() {
        let mut limiter = Limiter::new(1, Duration::from_secs(1));
        let start = Instant::now();
        assert!((0..100).all(|n| limiter.take(start + Duration::from_secs(n)) == Some(Left(0))));
    }
}
