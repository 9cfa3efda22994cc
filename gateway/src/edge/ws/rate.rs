//! How fast the commands of a connection are read. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// A token bucket: `per_second` on average, up to `burst` at once. Nothing is refused: what costs more than
/// is left is taken on credit, and the next message is not read until there is a token again.
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

    /// Takes `cost` tokens, on credit if need be.
    #[allow(clippy::cast_precision_loss)]
    pub(crate) fn charge(&mut self, cost: usize, now: Instant) {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + gained).min(self.burst) - cost as f64;
        self.at = now;
    }

    /// When there is a token again; `None` when there is one.
    pub(crate) fn exhausted_until(&self) -> Option<Instant> {
        (self.left < 1.0).then(|| {
            let wait = Duration::try_from_secs_f64((1.0 - self.left) / self.per_second);
            self.at + wait.unwrap_or(WAIT_MAX).min(WAIT_MAX)
        })
    }
}

/// More than any message that fits costs at the slowest rate.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads messages of these costs as soon as it may: when each is read.
    fn read(rate: &mut Rate, start: Instant, costs: &[usize]) -> Vec<Duration> {
        let mut now = start;
        let mut at = Vec::new();
        for cost in costs {
            now = rate.exhausted_until().map_or(now, |until| until.max(now));
            at.push(now - start);
            rate.charge(*cost, now);
        }
        at
    }

    #[test]
    fn it_allows_the_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut rate = Rate::new(10, 20, start);
        let at = read(&mut rate, start, &[1; 100]);
        assert_eq!(at.iter().filter(|at| at.is_zero()).count(), 20);
        let within = |seconds: u64| at.iter().filter(|at| **at < Duration::from_secs(seconds)).count();
        assert!(within(1).abs_diff(30) <= 1 && within(5).abs_diff(70) <= 1, "{at:?}");
        let much_later = start + Duration::from_secs(1000);
        rate.charge(0, much_later);
        let at = read(&mut rate, much_later, &[1; 100]);
        assert_eq!(at.iter().filter(|at| at.is_zero()).count(), 20, "no more than the burst");
    }

    #[test]
    fn what_is_large_is_read_on_credit_and_the_next_waits() {
        let start = Instant::now();
        let at = read(&mut Rate::new(10, 20, start), start, &[30, 1]);
        assert_eq!(at[0], Duration::ZERO);
        assert!(at[1].abs_diff(Duration::from_millis(1100)) < Duration::from_millis(1), "{at:?}");
    }

    proptest! {
        #[test]
        fn the_rate_holds_on_average(
            per_second in 1_u32..1000,
            costs in proptest::collection::vec(0_usize..100, 1..200),
        ) {
            let start = Instant::now();
            let burst = 2 * per_second;
            let at = read(&mut Rate::new(per_second, burst, start), start, &costs);
            let mut before = 0;
            for (at, cost) in at.iter().zip(&costs) {
                let allowed = f64::from(burst) + at.as_secs_f64() * f64::from(per_second);
                // What was read before fits, but for the last, which may have been on credit.
                #[allow(clippy::cast_precision_loss)]
                let taken = before as f64;
                prop_assert!(taken <= allowed + 0.01, "{taken} of {allowed}");
                before += cost;
            }
        }
    }
}
