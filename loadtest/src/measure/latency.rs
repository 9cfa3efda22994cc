//! How long things took: histograms, and how they are written.

use std::{collections::BTreeMap, fmt, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Longer times count as this long.
const LONGEST: Duration = Duration::from_secs(3600);

/// Times from a microsecond to an hour, to three digits.
#[derive(Debug)]
pub(crate) struct Latency(Histogram<u64>);

impl Latency {
    pub(crate) fn new() -> Self {
        Self(Histogram::new_with_bounds(1, micros(LONGEST), 3).expect("constant bounds that are in order"))
    }

    pub(crate) fn record(&mut self, time: Duration) {
        self.record_us(micros(time));
    }

    pub(crate) fn record_us(&mut self, micros: u64) {
        self.0.saturating_record(micros.max(1));
    }

    /// Adds what another one has recorded.
    pub(crate) fn add(&mut self, other: &Self) {
        // Both have the same bounds.
        let _ = self.0.add(&other.0);
    }

    /// What was recorded, for another process.
    pub(crate) fn counts(&self) -> Counts {
        Counts(self.0.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect())
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Percentiles {
            count: self.0.len(),
            p50_us: at(0.5),
            p90_us: at(0.9),
            p95_us: at(0.95),
            p99_us: at(0.99),
            p999_us: at(0.999),
            max_us: self.0.max(),
        }
    }
}

impl Default for Latency {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram on its way from one process to another: microseconds, and how often.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts(pub(crate) Vec<(u64, u64)>);

impl Counts {
    /// What was added since an earlier reading of the same histograms.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut left: BTreeMap<u64, u64> = BTreeMap::new();
        for (micros, count) in &self.0 {
            *left.entry(*micros).or_default() += count;
        }
        for (micros, count) in &earlier.0 {
            if let Some(now) = left.get_mut(micros) {
                *now = now.saturating_sub(*count);
            }
        }
        Self(left.into_iter().filter(|(_, count)| *count > 0).collect())
    }

    pub(crate) fn percentiles(&self) -> Percentiles {
        let mut latency = Latency::new();
        for (micros, count) in &self.0 {
            latency.0.saturating_record_n(*micros, *count);
        }
        latency.percentiles()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What is reported of a histogram: microseconds, exact to three digits. Zeros when nothing was
/// recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Percentiles {
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    pub(crate) p90_us: u64,
    pub(crate) p95_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == 0 {
            return f.write_str("none measured");
        }
        let [p50, p95, p99, max] = [self.p50_us, self.p95_us, self.p99_us, self.max_us].map(time);
        write!(f, "p50 {p50:>8}  p95 {p95:>8}  p99 {p99:>8}  max {max:>8}")
    }
}

/// A time to three digits, in the unit in which people say it.
pub(crate) fn time(micros: u64) -> String {
    let (value, unit) = match micros {
        // The borders are where rounding would give four digits.
        0..1_000 => return format!("{micros} µs"),
        1_000..999_500 => (micros as f64 / 1e3, "ms"),
        _ => (micros as f64 / 1e6, "s"),
    };
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        ..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        let cases = [
            (0, "0 µs"),
            (999, "999 µs"),
            (1_000, "1.00 ms"),
            (9_994, "9.99 ms"),
            (9_996, "10.0 ms"),
            (99_960, "100 ms"),
            (123_456, "123 ms"),
            (999_499, "999 ms"),
            (999_500, "1.00 s"),
            (61_000_000, "61.0 s"),
            (3_600_000_000, "3600 s"),
        ];
        for (micros, text) in cases {
            assert_eq!(time(micros), text);
        }
    }

    #[test]
    fn nothing_is_lost_between_processes() {
        let mut latency = Latency::new();
        for n in 1..1000 {
            latency.record(Duration::from_micros(n * n * 37));
        }
        assert_eq!(latency.counts().percentiles(), latency.percentiles());
        assert_eq!(Counts::default().percentiles(), Latency::new().percentiles());
    }

    #[test]
    fn a_stretch_is_what_was_added_in_it() {
        let mut latency = Latency::new();
        latency.record_us(5);
        latency.record_us(900);
        let earlier = latency.counts();
        latency.record_us(900);
        latency.record_us(70_000);
        let stretch = latency.counts().since(&earlier);
        assert_eq!(stretch.percentiles().count, 2);
        assert_eq!(stretch.percentiles().p50_us, 900);
        assert_eq!(latency.counts().since(&latency.counts()), Counts::default());
    }

    #[test]
    fn percentiles_are_of_what_was_recorded() {
        let mut latency = Latency::new();
        assert_eq!(latency.percentiles().to_string(), "none measured");
        for n in 1..=100 {
            latency.record(Duration::from_millis(n));
        }
        latency.record(Duration::from_secs(1 << 40));
        let percentiles = latency.percentiles();
        assert_eq!(percentiles.count, 101);
        let near = |got: u64, wanted: u64| got.abs_diff(wanted) <= wanted / 500;
        assert!(near(percentiles.p50_us, 51_000), "{percentiles:?}");
        assert!(near(percentiles.p90_us, 91_000), "{percentiles:?}");
        assert!(near(percentiles.p99_us, 100_000), "{percentiles:?}");
        assert!(near(percentiles.max_us, 3_600_000_000), "{percentiles:?}");
    }
}
