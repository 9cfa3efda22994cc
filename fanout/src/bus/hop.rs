//! How long copies travel between nodes, by the clocks of both.

use std::time::Duration;

use common::operations::{Operation, Outcome};
use metrics::counter;

use super::metrics::HOPS_NOT_MEASURED;

/// The longest time that a copy is taken to have travelled, and the furthest in the future that it may have been sent.
/// The bus drops what waits for longer than a second: beyond this, the clocks of the two nodes differ, and one such copy
/// would hide the others in every mean.
const HOP_MAX: Duration = Duration::from_secs(10);

/// Returns how long a copy has travelled, from and to these Unix microseconds; `None` where the clocks cannot be right.
fn hop(committed_at: u64, now: u64) -> Option<Duration> {
    let differ = Duration::from_micros(now.abs_diff(committed_at));
    // Where the clocks differ a little, a copy may come before it was sent.
    (differ <= HOP_MAX).then(|| Duration::from_micros(now.saturating_sub(committed_at)))
}

/// Measures the hop of a copy with so many events. Returns how long it took, where that can be told.
pub(crate) fn measure(committed_at: u64, now: u64, events: usize) -> Option<Duration> {
    let hop = hop(committed_at, now);
    match hop {
        Some(hop) => Operation::Hop.meter().record_many(Outcome::Ok, hop, events as u64),
        None => counter!(HOPS_NOT_MEASURED).increment(events as u64),
    }
    hop
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_wrong_makes_no_hop() {
        const NOW: u64 = 1_700_000_000_000_000;
        let second = 1_000_000;
        assert_eq!(hop(NOW - 900, NOW), Some(Duration::from_micros(900)));
        assert_eq!(hop(NOW - 10 * second, NOW), Some(HOP_MAX));
        assert_eq!(hop(NOW + second, NOW), Some(Duration::ZERO));
        for wrong in [0, NOW - 11 * second, NOW + 11 * second, u64::MAX] {
            assert_eq!(hop(wrong, NOW), None, "{wrong}");
        }
    }
}
