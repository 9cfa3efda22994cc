//! What meters count from one reading to the next.

use super::{
    histogram::Histogram,
    meter::{Meter, Totals},
    slices::Window,
};

/// Reads a meter again and again, beside others that do the same.
#[derive(Debug, Default)]
pub struct Since {
    before: Totals,
}

impl Since {
    /// Begins with what the meter has counted so far.
    pub fn now(meter: &Meter) -> Self {
        Self { before: meter.totals() }
    }

    /// What the meter has counted since the last reading. Of the longest duration only the bucket is known.
    pub fn take(&mut self, meter: &Meter) -> Window {
        let totals = meter.totals();
        let added = |now: &Histogram, before: &Histogram| now.since(before, 0).bounded_by_its_buckets();
        let mut durations = added(&totals.ok, &self.before.ok);
        let errors = added(&totals.errors, &self.before.errors);
        durations.merge(&errors);
        self.before = totals;
        Window { errors: errors.count(), durations }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::Outcome, *};

    #[test]
    fn each_reading_has_what_was_counted_since_the_last_one() {
        let meter = Meter::new();
        meter.record(Outcome::Ok, Duration::from_secs(1));
        let mut since = Since::now(&meter);
        meter.record(Outcome::Ok, Duration::from_millis(15));
        meter.record(Outcome::Error, Duration::from_millis(2));
        let window = since.take(&meter);
        assert_eq!((window.durations.count(), window.errors), (2, 1));
        assert_eq!(window.durations.max(), Duration::from_millis(16), "the end of its bucket");
        assert_eq!(since.take(&meter), Window::default());
    }
}
