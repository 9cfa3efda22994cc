//! What meters count from one reading to the next.

use super::{
    histogram::Histogram,
    meter::{Meter, Totals},
    slices::Window,
};

/// Reads the meters of an operation again and again, beside others that do the same.
#[derive(Debug, Default)]
pub struct Since {
    before: Totals,
}

impl Since {
    /// Begins with what the meters have counted so far.
    pub fn now(meters: &[Meter]) -> Self {
        Self { before: Totals::of_all(meters) }
    }

    /// What the meters have counted since the last reading. Of the longest duration only the bucket is known.
    pub fn take(&mut self, meters: &[Meter]) -> Window {
        let totals = Totals::of_all(meters);
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
        let meters = [const { Meter::new() }; 2];
        meters[0].record(Outcome::Ok, Duration::from_secs(1));
        let mut since = Since::now(&meters);
        meters[0].record(Outcome::Ok, Duration::from_millis(15));
        meters[1].record(Outcome::Error, Duration::from_millis(2));
        let window = since.take(&meters);
        assert_eq!((window.durations.count(), window.errors), (2, 1));
        assert_eq!(window.durations.max(), Duration::from_millis(16), "the end of its bucket");
        assert_eq!(since.take(&meters), Window::default());
    }
}
