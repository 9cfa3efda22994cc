//! What records: counters that any thread may add to.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    histogram::{BUCKETS, Histogram, bucket_of, nanos},
    shard::{SHARDS, shard},
};

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// As it was meant to.
    Ok,
    /// With an error, or it was given up.
    Error,
}

impl Outcome {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ok, Self::Error];

    /// Of a result.
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        if result.is_ok() { Self::Ok } else { Self::Error }
    }

    /// The label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// Counts how often an operation has ended and how long it took, since the process began. Its counters only grow; memory
/// of buckets that nothing falls into is never touched.
#[derive(Debug)]
// No two meters share a cache line, nor a pair of them that is fetched together.
#[repr(align(128))]
pub struct Meter {
    by_outcome: [Counters; Outcome::ALL.len()],
    /// The longest duration since it was last taken.
    max_nanos: AtomicU64,
}

#[derive(Debug)]
struct Counters {
    buckets: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
}

/// Meters of one operation that many threads record all the time: each thread has one of them.
#[derive(Debug)]
pub struct Meters([Meter; SHARDS]);

/// All that a meter has counted.
#[derive(Debug, Clone, Default)]
pub struct Totals {
    /// What ended well.
    pub ok: Histogram,
    /// What did not.
    pub errors: Histogram,
}

impl Totals {
    /// What several meters of one operation have counted.
    pub fn of_all(meters: &[Meter]) -> Self {
        let mut all = Self::default();
        for Self { ok, errors } in meters.iter().map(Meter::totals) {
            all.ok.merge(&ok);
            all.errors.merge(&errors);
        }
        all
    }

    /// Those of one outcome.
    pub fn of(&self, outcome: Outcome) -> &Histogram {
        match outcome {
            Outcome::Ok => &self.ok,
            Outcome::Error => &self.errors,
        }
    }
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter {
    /// A meter that has counted nothing; for a `static`.
    pub const fn new() -> Self {
        Self {
            by_outcome: [const {
                Counters { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_nanos: AtomicU64::new(0) }
            }; Outcome::ALL.len()],
            max_nanos: AtomicU64::new(0),
        }
    }

    /// Counts one that took so long.
    pub fn record(&self, outcome: Outcome, duration: Duration) {
        self.record_many(outcome, duration, 1);
    }

    /// Counts `count` that took so long each.
    pub fn record_many(&self, outcome: Outcome, duration: Duration, count: u64) {
        let Counters { buckets, sum_nanos } = &self.by_outcome[outcome as usize];
        let nanos = nanos(duration);
        // Every counter is read by itself: a reader may see one without the other for a moment.
        buckets[bucket_of(duration)].fetch_add(count, Ordering::Relaxed);
        sum_nanos.fetch_add(nanos.saturating_mul(count), Ordering::Relaxed);
        if nanos > self.max_nanos.load(Ordering::Relaxed) {
            self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
        }
    }

    /// What was counted since the process began. The longest duration is not kept that long: it is zero here.
    pub fn totals(&self) -> Totals {
        let [ok, errors] = self.by_outcome.each_ref().map(Counters::read);
        Totals { ok, errors }
    }

    /// The longest duration since the last call of [`Meter::take_max`].
    pub(super) fn max_nanos(&self) -> u64 {
        self.max_nanos.load(Ordering::Relaxed)
    }

    /// The longest duration since the last call, which begins anew.
    pub(super) fn take_max(&self) -> u64 {
        self.max_nanos.swap(0, Ordering::Relaxed)
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}

impl Meters {
    /// Meters that have counted nothing; for a `static`.
    pub const fn new() -> Self {
        Self([const { Meter::new() }; SHARDS])
    }

    /// The one of this thread.
    pub fn own(&self) -> &Meter {
        &self.0[shard()]
    }

    /// All of them, which add up to what threads have recorded.
    pub fn all(&self) -> &[Meter] {
        &self.0
    }
}

impl Counters {
    fn read(&self) -> Histogram {
        let counts = self.buckets.iter().zip(0_u16..).filter_map(|(count, bucket)| {
            let count = count.load(Ordering::Relaxed);
            (count > 0).then_some((bucket, count))
        });
        Histogram::new(counts.collect(), self.sum_nanos.load(Ordering::Relaxed), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_by_outcome() {
        let meter = Meter::new();
        meter.record(Outcome::Ok, Duration::from_millis(2));
        meter.record_many(Outcome::Ok, Duration::from_millis(4), 3);
        meter.record(Outcome::Error, Duration::from_secs(1));
        let Totals { ok, errors } = meter.totals();
        assert_eq!((ok.count(), ok.sum()), (4, Duration::from_millis(14)));
        assert_eq!((errors.count(), errors.sum()), (1, Duration::from_secs(1)));
        assert_eq!(meter.take_max(), 1_000_000_000);
        assert_eq!(meter.max_nanos(), 0);
    }

    #[test]
    fn what_threads_record_adds_up() {
        static METERS: Meters = Meters::new();
        let record = || METERS.own().record(Outcome::Ok, Duration::from_millis(1));
        std::thread::scope(|scope| (0..2 * SHARDS).for_each(|_| drop(scope.spawn(record))));
        assert_eq!(Totals::of_all(METERS.all()).ok.count(), 2 * SHARDS as u64);
        let used = METERS.all().iter().filter(|meter| meter.totals().ok.count() > 0).count();
        assert!(used > 1, "all threads share one");
    }

    #[test]
    fn threads_lose_nothing() {
        let meter = Meter::new();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|n| meter.record(Outcome::Ok, Duration::from_micros(n))));
            }
        });
        assert_eq!(meter.totals().ok.count(), 40_000);
        assert_eq!(meter.totals().ok.sum(), Duration::from_micros(4 * (0..10_000).sum::<u64>()));
    }
}
