//! The slices of one operation, or of one ratio, and how the newest compare with those before.

use std::{collections::VecDeque, iter::repeat_n};

use super::{
    Rules, WINDOW_SLICES,
    metric::{Kind, Measure, Quantile},
    rank::rank_sum,
};
use crate::operations::{Histogram, Window};

/// Values that a window, and its baseline, have to consist of at least. Of quantiles and costs nearly every slice has to have
/// one: a value of several slices lets a short stall spread over all of them, and the median moves. Rates are counted
/// together, and may come from fewer.
fn values_min(measure: Measure) -> (usize, usize) {
    match measure.kind() {
        Kind::Rate => (4, 12),
        Kind::Quantile(_) | Kind::Cost => (WINDOW_SLICES - 2, 2 * WINDOW_SLICES),
    }
}

/// How many times the load of a slice of the baseline the present load may be, for a comparison of latencies and costs.
const LOAD_MAX: f64 = 1.5;

/// The standard deviation of what is normally distributed, of its median deviation; and the standard error of its median, of
/// that of its mean.
const DEVIATION_OF_MEDIAN: f64 = 1.4826;
const ERROR_OF_MEDIAN: f64 = 1.2533;

/// Events in a window from which on there is a rate, and by how many standard deviations they have to be too many.
const EVENTS_MIN: f64 = 8.0;
const EVENTS_DEVIATIONS: f64 = 5.0;

/// What there was in a slice.
#[derive(Debug, Clone, Default)]
pub(super) struct Slice {
    /// What happened, took or cost so much.
    part: f64,
    /// Among, or for, so many.
    whole: f64,
    durations: Histogram,
    /// The quantiles in milliseconds, where there are samples enough.
    quantiles: [Option<f64>; Quantile::ALL.len()],
}

impl Slice {
    /// Of an operation: its errors among its calls, and how long they took.
    pub(super) fn of_window(Window { durations, errors }: Window) -> Self {
        let count = durations.count();
        let quantiles = Quantile::ALL
            .map(|quantile| (count >= quantile.samples_min()).then(|| millis(&durations, quantile)));
        Self { part: errors as f64, whole: count as f64, durations, quantiles }
    }

    /// Of a ratio. Figures that are no numbers, or negative, are none.
    pub(super) fn of_ratio(part: f64, whole: f64) -> Self {
        let is_figure = |figure: f64| figure.is_finite() && figure >= 0.0;
        let (part, whole) = if is_figure(part) && is_figure(whole) { (part, whole) } else { (0.0, 0.0) };
        Self { part, whole, ..Self::default() }
    }
}

fn millis(durations: &Histogram, quantile: Quantile) -> f64 {
    durations.quantile(quantile.part()).as_secs_f64() * 1000.0
}

/// What a metric was before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Baseline {
    /// Its value.
    pub(super) value: f64,
    /// The median of the load of its slices.
    load: f64,
}

/// A window and what it is compared with.
#[derive(Debug, Clone)]
pub(super) struct Comparison {
    pub(super) baseline: Baseline,
    pub(super) now: f64,
    /// What has happened in the window, and what would have at the rate of the baseline; of rates.
    events: Option<(f64, f64)>,
    values: Vec<f64>,
    baseline_values: Vec<f64>,
}

impl Comparison {
    /// How many standard deviations the ranks of the window are too high.
    pub(super) fn rank_sum(&self) -> f64 {
        rank_sum(&self.values, &self.baseline_values)
    }

    /// The standard error of the logarithm of window over baseline, as far as slices do not depend on each other: that of
    /// two medians, from the median deviation of the baseline, which no burst moves. Zero for rates.
    pub(super) fn error(&self) -> f64 {
        if self.events.is_some() {
            return 0.0;
        }
        let mut logarithms: Vec<f64> =
            self.baseline_values.iter().map(|value| value.max(f64::MIN_POSITIVE).ln()).collect();
        let middle = median(&mut logarithms).unwrap_or_default();
        let mut deviations: Vec<f64> = logarithms.iter().map(|value| (value - middle).abs()).collect();
        let deviation = DEVIATION_OF_MEDIAN * median(&mut deviations).unwrap_or_default();
        let (now, before) = (self.values.len() as f64, self.baseline_values.len() as f64);
        ERROR_OF_MEDIAN * deviation * (1.0 / now + 1.0 / before).sqrt()
    }

    /// Returns whether there are as many events as no chance brings, if they come one by one. Where something is rare, a
    /// few of them double its rate.
    pub(super) fn has_events_enough(&self) -> bool {
        self.events.is_none_or(|(events, expected)| {
            events >= EVENTS_MIN && events - expected >= EVENTS_DEVIATIONS * expected.max(1.0).sqrt()
        })
    }
}

/// The newest slices, those of a window and of the baseline before it.
#[derive(Debug, Default)]
pub(super) struct Series {
    slices: VecDeque<Slice>,
}

impl Series {
    /// Adds a slice and forgets the oldest one.
    pub(super) fn push(&mut self, slice: Slice, rules: &Rules) {
        self.slices.push_back(slice);
        while self.slices.len() > rules.baseline_slices + WINDOW_SLICES {
            self.slices.pop_front();
        }
    }

    /// Returns whether nothing happened in any slice.
    pub(super) fn is_empty(&self) -> bool {
        self.slices.iter().all(|slice| slice.whole == 0.0)
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slices.len()
    }

    /// Compares the window with the slices before it; `None` where there are too few samples, or where nothing was before
    /// that can be compared.
    pub(super) fn compare(&self, measure: Measure) -> Option<Comparison> {
        let window = self.window()?;
        let present = median(&mut window.iter().map(|slice| slice.whole).collect::<Vec<_>>())?;
        let comparable = |slice: &&Slice| match measure.kind() {
            Kind::Rate => true,
            Kind::Quantile(_) | Kind::Cost => slice.whole * LOAD_MAX >= present,
        };
        let before: Vec<&Slice> =
            self.slices.iter().take(self.slices.len() - WINDOW_SLICES).filter(comparable).collect();
        let load = median(&mut before.iter().map(|slice| slice.whole).collect::<Vec<_>>())?;
        let (now_min, baseline_min) = values_min(measure);
        let (value, baseline_values) = values(&before, measure, 0.0).summary(measure, baseline_min)?;
        let values = values(&window, measure, load);
        let events = (measure.kind() == Kind::Rate).then_some((values.part, value * values.whole));
        let (now, values) = values.summary(measure, now_min)?;
        Some(Comparison { baseline: Baseline { value, load }, now, events, values, baseline_values })
    }

    /// The value of the window, to be compared with an earlier baseline.
    pub(super) fn now(&self, measure: Measure, baseline: &Baseline) -> Option<f64> {
        let (now, _) =
            values(&self.window()?, measure, baseline.load).summary(measure, values_min(measure).0)?;
        Some(now)
    }

    fn window(&self) -> Option<Vec<&Slice>> {
        let from = self.slices.len().checked_sub(WINDOW_SLICES)?;
        Some(self.slices.iter().skip(from).collect())
    }
}

/// The values of slices, where one has too few samples together with the next ones.
#[derive(Default)]
struct Values {
    /// Each of them, and how many slices it is of.
    each: Vec<(f64, usize)>,
    part: f64,
    whole: f64,
}

impl Values {
    /// One value for all of them, and each of them.
    fn summary(self, measure: Measure, count_min: usize) -> Option<(f64, Vec<f64>)> {
        if self.each.len() < count_min {
            return None;
        }
        let each = self.each.iter();
        let value = match measure.kind() {
            // Most slices have none.
            Kind::Rate => self.part / self.whole,
            // Half of the time, not of the samples: a burst has many.
            Kind::Quantile(_) | Kind::Cost => median(
                &mut each.clone().flat_map(|(value, slices)| repeat_n(*value, *slices)).collect::<Vec<_>>(),
            )?,
        };
        Some((value, each.map(|(value, _)| *value).collect()))
    }
}

/// The values of `slices`. Costs are divided by `load` units for each slice, where there were fewer.
fn values(slices: &[&Slice], measure: Measure, load: f64) -> Values {
    let mut values = Values::default();
    let (mut part, mut whole, mut count) = (0.0, 0.0, 0_usize);
    let mut durations = Histogram::default();
    for slice in slices {
        if let Kind::Quantile(quantile) = measure.kind() {
            if whole == 0.0
                && let Some(value) = slice.quantiles[quantile as usize]
            {
                values.each.push((value, 1));
                continue;
            }
            durations.merge(&slice.durations);
        }
        part += slice.part;
        whole += slice.whole;
        count += 1;
        if whole < measure.samples_min() {
            continue;
        }
        let value = match measure.kind() {
            Kind::Quantile(quantile) => millis(&durations, quantile),
            Kind::Rate => part / whole,
            Kind::Cost => part / whole.max(load * count as f64),
        };
        values.each.push((value, count));
        values.part += part;
        values.whole += whole;
        (part, whole, count) = (0.0, 0.0, 0);
        durations = Histogram::default();
    }
    values
}

/// The median; `None` of nothing.
fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const P50: Measure = Measure::Latency(Quantile::P50);

    fn slice(millis: f64, count: u64) -> Slice {
        let mut durations = Histogram::default();
        (0..count).for_each(|_| durations.record(Duration::from_secs_f64(millis / 1000.0)));
        Slice::of_window(Window { durations, errors: 0 })
    }

    fn series(slices: impl IntoIterator<Item = Slice>) -> Series {
        let mut series = Series::default();
        slices.into_iter().for_each(|slice| series.push(slice, &Rules::default()));
        series
    }

    #[test]
    fn a_window_is_compared_with_what_was_before() {
        let slices = (0..72).map(|n| slice(if n < 60 { 2.0 } else { 4.0 }, 10));
        let comparison = series(slices).compare(P50).unwrap();
        assert!((comparison.now / comparison.baseline.value - 2.0).abs() < 0.06, "{comparison:?}");
        assert!(comparison.rank_sum() > 5.0);
    }

    #[test]
    fn rates_put_slices_together_and_too_few_samples_are_no_verdict() {
        let sparse = |count: u64| series((0..72).map(|_| slice(2.0, count)));
        assert_eq!(sparse(8).compare(P50).unwrap().values.len(), 12);
        assert!(sparse(7).compare(P50).is_none());
        assert_eq!(sparse(5).compare(Measure::Errors).unwrap().values.len(), 6);
        assert!(sparse(3).compare(Measure::Errors).is_none());
        assert!(sparse(10).compare(Measure::Latency(Quantile::P99)).is_none());
        assert!(series((0..20).map(|_| slice(2.0, 10))).compare(P50).is_none(), "nothing was before");
    }

    #[test]
    fn latencies_under_less_than_two_thirds_of_the_load_are_not_compared() {
        let slices = |before: u64| series((0..72).map(|n| slice(2.0, if n < 60 { before } else { 100 })));
        assert!(slices(66).compare(P50).is_none());
        assert!(slices(67).compare(P50).is_some());
        assert!(slices(1000).compare(P50).is_some());
    }

    #[test]
    fn a_fixed_cost_is_not_divided_by_a_dip_of_the_load() {
        let dip = |part: f64| {
            let slices = (0..72).map(|n| {
                let whole = if n < 60 { 10_000.0 } else { 1000.0 };
                Slice::of_ratio(if n < 60 { 50.0 } else { part }, whole)
            });
            let comparison = series(slices).compare(Measure::Processor).unwrap();
            comparison.now / comparison.baseline.value
        };
        assert_eq!(dip(50.0), 1.0);
        assert_eq!(dip(100.0), 2.0, "it costs more although there is less to do");
    }

    #[test]
    fn a_rate_is_that_of_all_slices() {
        let slices = (0..72).map(|n| Slice::of_ratio(if n % 3 == 0 { 1.0 } else { 0.0 }, 10.0));
        let comparison = series(slices).compare(Measure::Errors).unwrap();
        assert!((comparison.now - 1.0 / 30.0).abs() < 1e-9);
        let refused = Slice::of_ratio(f64::NAN, 3.0);
        assert_eq!((refused.part, refused.whole), (0.0, 0.0));
    }

    #[test]
    fn the_median_of_even_and_odd() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
