//! How long something took, many times over: counted in fixed buckets, so that it is bounded, can be recorded without a
//! lock, and adds up over time and over nodes.
//!
//! Buckets are a tenth of a microsecond wide up to 10 µs, and from there on a hundredth of the next power of ten: 90 for
//! each decade, at most 10 % wide. Their bounds are decimal, so those of Prometheus (1, 2, 5, 10 ms) are among them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The unit that is counted in.
const UNIT_NANOS: u64 = 100;

/// Buckets of one unit each.
const LINEAR: u32 = 100;

/// Buckets of each further decade.
const PER_DECADE: u32 = 90;

/// Further decades: up to 100 s.
const DECADES: u32 = 7;

/// All buckets; the last one is for what took 100 s or longer.
pub(super) const BUCKETS: usize = (LINEAR + DECADES * PER_DECADE + 1) as usize;

/// The bucket of a duration.
pub(super) fn bucket_of(duration: Duration) -> usize {
    const BEYOND: u64 = 10_u64.pow(DECADES + 2);
    let units = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX) / UNIT_NANOS;
    if units >= BEYOND {
        return BUCKETS - 1;
    }
    #[allow(clippy::cast_possible_truncation)]
    let units = units as u32;
    let bucket = if units < LINEAR {
        units
    } else {
        let decade = units.ilog10() - 1;
        LINEAR + (decade - 1) * PER_DECADE + units / 10_u32.pow(decade) - 10
    };
    bucket as usize
}

/// The shortest duration of a bucket, in nanoseconds.
fn lower_nanos(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    let (linear, per_decade) = (u64::from(LINEAR), u64::from(PER_DECADE));
    if bucket < linear {
        return bucket * UNIT_NANOS;
    }
    let above = bucket - linear;
    let decade = u32::try_from(above / per_decade).unwrap_or(DECADES) + 1;
    (10 + above % per_decade) * 10_u64.pow(decade) * UNIT_NANOS
}

/// The first bucket that reaches beyond `bound`: all before it hold only shorter durations.
pub fn bucket_below(bound: Duration) -> u16 {
    // There are fewer than 2¹⁶ buckets.
    u16::try_from(bucket_of(bound)).unwrap_or(u16::MAX)
}

/// Durations of which only the buckets are known, their sum and the longest. Histograms of slices of time, or of several
/// nodes, [merge](Self::merge) to the histogram of all of them, whatever the order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct Histogram {
    /// Buckets that are not empty and how many durations are in each, in ascending order.
    counts: Vec<(u16, u64)>,
    /// The sum of all durations.
    sum_nanos: u64,
    /// The longest one.
    max_nanos: u64,
}

impl Histogram {
    pub(super) fn new(counts: Vec<(u16, u64)>, sum_nanos: u64, max_nanos: u64) -> Self {
        Self { counts, sum_nanos, max_nanos }
    }

    /// Adds one duration.
    pub fn record(&mut self, duration: Duration) {
        self.record_many(duration, 1);
    }

    /// Adds `count` durations that are the same.
    pub fn record_many(&mut self, duration: Duration, count: u64) {
        if count > 0 {
            let (bucket, nanos) = (bucket_below(duration), nanos(duration));
            let sum_nanos = nanos.saturating_mul(count);
            self.merge(&Self { counts: vec![(bucket, count)], sum_nanos, max_nanos: nanos });
        }
    }

    /// Adds all durations of the other one.
    pub fn merge(&mut self, other: &Self) {
        let (mut one, mut two) = (self.counts.iter().peekable(), other.counts.iter().peekable());
        let mut counts = Vec::with_capacity(self.counts.len().max(other.counts.len()));
        while let (Some((a, n)), Some((b, m))) = (one.peek(), two.peek()) {
            if a <= b {
                one.next();
            }
            if b <= a {
                two.next();
            }
            let count = if a < b {
                *n
            } else if b < a {
                *m
            } else {
                n.saturating_add(*m)
            };
            counts.push((*a.min(b), count));
        }
        counts.extend(one.chain(two));
        self.counts = counts;
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
        self.max_nanos = self.max_nanos.max(other.max_nanos);
    }

    /// What was added since `before`, an earlier state of this one. The longest duration cannot be told from the two and
    /// is given.
    pub(super) fn since(&self, before: &Self, max_nanos: u64) -> Self {
        let mut earlier = before.counts.iter().peekable();
        let counts = self.counts.iter().filter_map(|(bucket, count)| {
            let known = earlier.next_if(|(other, _)| other == bucket).map_or(0, |(_, known)| *known);
            let added = count.saturating_sub(known);
            (added > 0).then_some((*bucket, added))
        });
        let sum_nanos = self.sum_nanos.saturating_sub(before.sum_nanos);
        Self { counts: counts.collect(), sum_nanos, max_nanos }
    }

    /// The same with the end of its last bucket as the longest duration, where that is not known.
    pub(super) fn bounded_by_its_buckets(self) -> Self {
        let last = self.counts.last().map(|(bucket, _)| usize::from(*bucket));
        let max_nanos = last.map_or(0, |last| lower_nanos((last + 1).min(BUCKETS - 1)));
        Self { max_nanos, ..self }
    }

    /// How many durations there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().map(|(_, count)| count).sum()
    }

    /// How many are in buckets before `bucket`.
    pub fn count_before(&self, bucket: u16) -> u64 {
        self.counts.iter().take_while(|(own, _)| *own < bucket).map(|(_, count)| count).sum()
    }

    /// Their sum.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// Their mean; zero for none.
    pub fn mean(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos.checked_div(self.count()).unwrap_or(0))
    }

    /// The longest one; zero for none.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_nanos)
    }

    /// The duration that a part of `quantile` (0 to 1) does not exceed; zero where there are none. It is off by one bucket
    /// at most, so by 10 % or a tenth of a microsecond, and never longer than the longest. Of what took 100 s or longer
    /// only the longest is known.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let count = self.count();
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rank = ((quantile * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut before = 0;
        for (bucket, within) in &self.counts {
            if usize::from(*bucket) == BUCKETS - 1 {
                break;
            }
            if before + within >= rank {
                let (from, to) = (lower_nanos((*bucket).into()), lower_nanos(usize::from(*bucket) + 1));
                let reached = u128::from(to - from) * u128::from(rank - before) / u128::from(*within);
                let estimate = from.saturating_add(u64::try_from(reached).unwrap_or(u64::MAX));
                return Duration::from_nanos(estimate.min(self.max_nanos.max(from)));
            }
            before += within;
        }
        self.max()
    }
}

/// A histogram as nodes send it to each other.
#[derive(Serialize, Deserialize)]
struct Written {
    counts: Vec<(u16, u64)>,
    sum: u64,
    max: u64,
}

impl From<Histogram> for Written {
    fn from(Histogram { counts, sum_nanos, max_nanos }: Histogram) -> Self {
        Self { counts, sum: sum_nanos, max: max_nanos }
    }
}

/// Buckets that are none, or not in ascending order.
#[derive(Debug, thiserror::Error)]
#[error("the buckets of a histogram must ascend and be fewer than {BUCKETS}")]
struct NotBuckets;

impl TryFrom<Written> for Histogram {
    type Error = NotBuckets;

    fn try_from(Written { counts, sum, max }: Written) -> Result<Self, NotBuckets> {
        let ascends = counts.is_sorted_by(|(one, _), (next, _)| one < next);
        let known = counts.last().is_none_or(|(last, _)| usize::from(*last) < BUCKETS);
        if ascends && known { Ok(Self::new(counts, sum, max)) } else { Err(NotBuckets) }
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn histogram(durations: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        durations.iter().for_each(|nanos| histogram.record(Duration::from_nanos(*nanos)));
        histogram
    }

    /// Durations of all sizes alike.
    fn durations() -> impl Strategy<Value = Vec<u64>> {
        let one = (0_u32..36, any::<u64>()).prop_map(|(bits, random)| random & ((1 << bits) - 1));
        prop::collection::vec(one, 0..200)
    }

    #[test]
    fn buckets_follow_each_other_without_a_hole() {
        for bucket in 0..BUCKETS - 1 {
            let (from, to) = (lower_nanos(bucket), lower_nanos(bucket + 1));
            assert_eq!(bucket_of(Duration::from_nanos(from)), bucket);
            assert_eq!(bucket_of(Duration::from_nanos(to - 1)), bucket);
            assert_eq!(bucket_of(Duration::from_nanos(to)), bucket + 1);
            assert!(to - from <= UNIT_NANOS || (to - from) * 10 <= from, "bucket {bucket} is too wide");
        }
        assert_eq!(lower_nanos(BUCKETS - 1), 100_000_000_000);
        assert_eq!(bucket_of(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn bounds_of_prometheus_are_bounds_of_buckets() {
        for micros in [500, 1000, 2000, 5000, 10_000, 100_000, 60_000_000] {
            let bound = Duration::from_micros(micros);
            assert_eq!(lower_nanos(bucket_below(bound).into()), nanos(bound));
        }
    }

    #[test]
    fn of_what_takes_too_long_the_longest_is_known() {
        let (short, long) = (Duration::from_secs(1), Duration::from_secs(1000));
        let histogram = histogram(&[nanos(short), nanos(long)]);
        assert_eq!((histogram.quantile(1.0), histogram.max(), histogram.count()), (long, long, 2));
        assert_eq!(Histogram::default().quantile(0.5), Duration::ZERO);
    }

    #[test]
    fn buckets_that_are_none_are_refused() {
        for text in [
            r#"{"counts":[[3,1],[3,1]],"sum":0,"max":0}"#,
            r#"{"counts":[[3,1],[2,1]],"sum":0,"max":0}"#,
            r#"{"counts":[[731,1]],"sum":0,"max":0}"#,
            r#"{"counts":[[-1,1]],"sum":0,"max":0}"#,
        ] {
            assert!(serde_json::from_str::<Histogram>(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(durations in durations()) {
            let histogram = histogram(&durations);
            let text = serde_json::to_string(&histogram).unwrap_or_default();
            prop_assert_eq!(serde_json::from_str::<Histogram>(&text).ok(), Some(histogram));
        }

        #[test]
        fn a_quantile_is_off_by_one_bucket_at_most(mut durations in durations(), quantile in 0.0..=1.0_f64) {
            prop_assume!(!durations.is_empty());
            let estimate = nanos(histogram(&durations).quantile(quantile));
            durations.sort_unstable();
            let rank = ((quantile * durations.len() as f64).ceil() as usize).clamp(1, durations.len());
            let exact = durations[rank - 1];
            let bound = UNIT_NANOS.max(exact / 10 + 1);
            prop_assert!(estimate.abs_diff(exact) <= bound, "{estimate} for {exact}");
            prop_assert!(estimate <= *durations.last().unwrap());
        }

        #[test]
        fn merging_is_recording_everything_in_one(one in durations(), two in durations(), three in durations()) {
            let all: Vec<u64> = one.iter().chain(&two).chain(&three).copied().collect();
            let (one, two, three) = (histogram(&one), histogram(&two), histogram(&three));
            let mut forth = one.clone();
            forth.merge(&two);
            forth.merge(&three);
            let mut back = three;
            back.merge(&two);
            back.merge(&one);
            prop_assert_eq!(&forth, &histogram(&all));
            prop_assert_eq!(&back, &forth);
            prop_assert_eq!(forth.count(), all.len() as u64);
        }

        #[test]
        fn a_difference_is_what_was_added(before in durations(), added in durations()) {
            let earlier = histogram(&before);
            let added = histogram(&added);
            let mut later = earlier.clone();
            later.merge(&added);
            prop_assert_eq!(later.since(&earlier, added.max_nanos), added);
        }
    }
}
