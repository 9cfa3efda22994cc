//! The last minutes of a meter.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    histogram::Histogram,
    meter::{Meter, Totals},
};

/// How long a slice of time is.
pub const SLICE: Duration = Duration::from_secs(5);

/// Slices that are kept: five minutes.
pub const SLICES_MAX: usize = 60;

/// What an operation did in a while.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How long each took, whatever its outcome.
    pub durations: Histogram,
    /// How many of them ended with an error.
    pub errors: u64,
}

impl Window {
    /// Adds what another slice of time has counted.
    pub fn merge(&mut self, other: &Self) {
        self.durations.merge(&other.durations);
        self.errors = self.errors.saturating_add(other.errors);
    }
}

/// The slices of a meter: what it counted between one reading and the next. So the meter itself is never set back, and
/// nothing that is counted meanwhile is lost.
#[derive(Debug, Default)]
pub struct Slices {
    /// The meter at the end of the last slice.
    before: Totals,
    /// The newest last.
    slices: VecDeque<Window>,
}

impl Slices {
    /// Ends a slice of these meters, which are one operation's. Called every [`SLICE`].
    pub fn turn(&mut self, meters: &[Meter]) {
        let totals = Totals::of_all(meters);
        let max_nanos = meters.iter().map(Meter::take_max).max().unwrap_or(0);
        let slice = self.added(&totals, max_nanos);
        self.slices.push_back(slice);
        if self.slices.len() > SLICES_MAX {
            self.slices.pop_front();
        }
        self.before = totals;
    }

    /// The last slices, with the one that has begun: so many of them for each window.
    pub fn last<const WINDOWS: usize>(
        &self,
        meters: &[Meter],
        slices: [usize; WINDOWS],
    ) -> [Window; WINDOWS] {
        let max_nanos = meters.iter().map(Meter::max_nanos).max().unwrap_or(0);
        let begun = self.added(&Totals::of_all(meters), max_nanos);
        slices.map(|count| {
            let mut window = begun.clone();
            self.slices.iter().rev().take(count).for_each(|slice| window.merge(slice));
            window
        })
    }

    fn added(&self, totals: &Totals, max_nanos: u64) -> Window {
        let mut durations = totals.ok.since(&self.before.ok, max_nanos);
        let errors = totals.errors.since(&self.before.errors, 0);
        durations.merge(&errors);
        Window { errors: errors.count(), durations }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Outcome, *};

    #[test]
    fn a_window_holds_the_slices_that_it_names_and_no_older_ones() {
        let (meters, mut slices) = ([const { Meter::new() }; 2], Slices::default());
        meters[0].record(Outcome::Ok, Duration::from_secs(2));
        slices.turn(&meters);
        meters[1].record(Outcome::Error, Duration::from_millis(20));
        slices.turn(&meters);
        meters[0].record(Outcome::Ok, Duration::from_millis(1));
        let windows = slices.last(&meters, [0, 1, 2]);
        let counts = windows.map(|window| (window.durations.count(), window.errors, window.durations.max()));
        let expected = [
            (1, 0, Duration::from_millis(1)),
            (2, 1, Duration::from_millis(20)),
            (3, 1, Duration::from_secs(2)),
        ];
        assert_eq!(counts, expected);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let (meters, mut slices) = ([const { Meter::new() }; 2], Slices::default());
        meters[0].record(Outcome::Ok, Duration::from_secs(2));
        (0..=SLICES_MAX).for_each(|_| slices.turn(&meters));
        assert_eq!(slices.slices.len(), SLICES_MAX);
        assert_eq!(slices.last(&meters, [SLICES_MAX]), [Window::default()]);
    }
}
