//! The whole way of a change, of which only the parts are measured.

use std::time::Duration;

use crate::operations::{Histogram, Window};

/// The name of the path among operations.
pub const PATH: &str = "path";

/// Durations that stand for those of a slice.
const SAMPLES_MAX: u64 = 200;

/// How long the whole way took, if whoever was slow in one part was slow in all: each quantile is the sum of those of the
/// parts. It is longer than the real one, and grows with any part, which is what a comparison with itself needs.
///
/// `changes` is how many went that way. A part that nothing went through takes no time.
pub fn path<'a>(parts: impl IntoIterator<Item = &'a Window>, changes: u64) -> Window {
    let parts: Vec<_> = parts.into_iter().collect();
    let samples = changes.min(SAMPLES_MAX);
    let mut durations = Histogram::default();
    for sample in 0..samples {
        let quantile = (sample as f64 + 0.5) / samples as f64;
        let whole: Duration = parts.iter().map(|part| part.durations.quantile(quantile)).sum();
        // All together are as many as went that way: whoever compares needs to know the load.
        let upto = |sample: u64| u128::from(changes) * u128::from(sample) / u128::from(samples);
        let count = upto(sample + 1) - upto(sample);
        durations.record_many(whole, u64::try_from(count).unwrap_or(u64::MAX));
    }
    Window { durations, errors: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(millis: impl Iterator<Item = u64>) -> Window {
        let mut window = Window::default();
        millis.for_each(|millis| window.durations.record(Duration::from_millis(millis)));
        window
    }

    #[test]
    fn quantiles_are_the_sums_of_those_of_the_parts() {
        let (one, two) = (part(1..=100), part((1..=100).map(|n| 3 * n)));
        let whole = path([&one, &two, &Window::default()], 1000);
        assert_eq!(whole.durations.count(), 1000);
        for (quantile, expected) in [(0.5, 200.0), (0.95, 380.0), (0.99, 396.0)] {
            let millis = whole.durations.quantile(quantile).as_secs_f64() * 1000.0;
            assert!((millis / expected - 1.0).abs() < 0.1, "{quantile}: {millis}");
        }
    }

    #[test]
    fn nothing_has_no_path() {
        assert_eq!(path([&part(1..=9)], 0), Window::default());
    }
}
