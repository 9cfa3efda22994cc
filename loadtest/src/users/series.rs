//! A run as it went, second by second: what is drawn, and what is looked at to find when something began.

use std::time::Duration;

use serde::Serialize;

use crate::{cluster::nodes::Reading, measure::stats};

/// Points of one run, about; longer runs have wider ones.
const POINTS: u32 = 1_200;

/// The narrowest point.
const WIDTH_MIN: Duration = Duration::from_secs(1);

/// What happened, by the moment at which it was to happen; times since the plan's beginning.
#[derive(Debug)]
pub(crate) struct Series {
    width: Duration,
    buckets: Vec<Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// Devices that were to connect, and how long it took those that did, microseconds.
    connects_due: u64,
    connects_us: Vec<u32>,
    /// Changes that were to be made.
    changes_due: u64,
    /// On how many other devices they were to arrive, and how long that took.
    arrivals_due: u64,
    arrivals_us: Vec<u32>,
    /// At its beginning.
    sample: Option<Sample>,
}

/// The state at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) nodes: Option<Reading>,
    /// Of this process, so far.
    pub(crate) generator_cpu_seconds: f64,
    pub(crate) users: u64,
    pub(crate) devices: u64,
}

/// A stretch of the run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) connects_due: u64,
    pub(crate) connected: u64,
    pub(crate) changes_due: u64,
    pub(crate) arrivals_due: u64,
    /// In order, microseconds.
    pub(crate) arrivals_us: Vec<u32>,
}

/// A point to draw. What was not measured, or did not happen, is `None`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    /// Where it begins, since the plan's beginning.
    pub(crate) at_seconds: f64,
    /// The state at its end.
    pub(crate) users: Option<u64>,
    pub(crate) devices: Option<u64>,
    pub(crate) nodes_resident_bytes: Option<f64>,
    /// What was to happen in it, and how much of it did, then or later.
    pub(crate) connects_due: u64,
    pub(crate) connected: u64,
    pub(crate) connect_p95_us: Option<u64>,
    pub(crate) changes_due: u64,
    pub(crate) arrivals_due: u64,
    pub(crate) arrived: u64,
    pub(crate) arrival_p50_us: Option<u64>,
    pub(crate) arrival_p95_us: Option<u64>,
    pub(crate) arrival_max_us: Option<u64>,
    /// Processors in use during it.
    pub(crate) nodes_cpu: Option<f64>,
    pub(crate) redis_cpu: Option<f64>,
    pub(crate) postgres_cpu: Option<f64>,
    pub(crate) generator_cpu: Option<f64>,
    pub(crate) commits_per_second: Option<f64>,
    pub(crate) commit_mean_us: Option<f64>,
    /// At its end.
    pub(crate) write_queue: Option<f64>,
    pub(crate) pool_waiting: Option<f64>,
}

impl Series {
    /// For a run of this length; what happens after it belongs to its last point.
    pub(crate) fn new(lasts: Duration) -> Self {
        let seconds = (lasts / POINTS).max(WIDTH_MIN).as_secs_f64().ceil();
        let width = Duration::from_secs_f64(seconds);
        let count = (lasts.as_secs_f64() / seconds).ceil().max(1.0) as usize;
        let mut buckets = Vec::new();
        // One more, for the sample at the end.
        buckets.resize_with(count + 1, Bucket::default);
        Self { width, buckets }
    }

    /// How long a point is.
    pub(crate) fn width(&self) -> Duration {
        self.width
    }

    fn bucket(&mut self, at: Duration) -> &mut Bucket {
        let last = self.buckets.len().saturating_sub(2);
        let index = (at.as_nanos() / self.width.as_nanos()) as usize;
        &mut self.buckets[index.min(last)]
    }

    /// A device was to connect at a moment; `None` when it did not.
    pub(crate) fn connect(&mut self, at: Duration, took: Option<Duration>) {
        let bucket = self.bucket(at);
        bucket.connects_due += 1;
        bucket.connects_us.extend(took.map(micros));
    }

    /// A change was to be made at a moment, and to arrive on this many other devices.
    pub(crate) fn change(&mut self, at: Duration, others: u64) {
        let bucket = self.bucket(at);
        bucket.changes_due += 1;
        bucket.arrivals_due += others;
    }

    /// One that was to be made at a moment has arrived on one of them.
    pub(crate) fn arrival(&mut self, at: Duration, took: Duration) {
        self.bucket(at).arrivals_us.push(micros(took));
    }

    /// How it stands now.
    pub(crate) fn sample(&mut self, at: Duration, sample: Sample) {
        // Timers come a little late.
        let index = (at.as_nanos() / self.width.as_nanos()) as usize;
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.sample = Some(sample);
        }
    }

    /// What was to happen from one moment to another, in the points that begin between the two.
    pub(crate) fn window(&self, from: Duration, to: Duration) -> Window {
        self.window_of(|at| from <= at && at < to)
    }

    /// What was to happen in the points that ended within `lasts` before `to`: the last one at least, however wide
    /// it is.
    pub(crate) fn window_before(&self, to: Duration, lasts: Duration) -> Window {
        let from = to.saturating_sub(lasts.max(self.width * 2));
        self.window_of(|at| from <= at && at + self.width <= to)
    }

    fn window_of(&self, is_within: impl Fn(Duration) -> bool) -> Window {
        let mut window = Window::default();
        for (index, bucket) in (0u32..).zip(&self.buckets) {
            if is_within(self.width * index) {
                window.add(bucket);
            }
        }
        window.arrivals_us.sort_unstable();
        window
    }

    /// All points, those at the end without anything left out.
    pub(crate) fn points(&self) -> Vec<Point> {
        let mut points: Vec<Point> = (0u32..)
            .zip(self.buckets.windows(2))
            .map(|(index, two)| point(self.width * index, self.width, &two[0], two[1].sample))
            .collect();
        while points
            .pop_if(|last| last.users.is_none() && last.connects_due + last.changes_due == 0)
            .is_some()
        {}
        points
    }
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
}

fn point(at: Duration, width: Duration, bucket: &Bucket, then: Option<Sample>) -> Point {
    let mut window = Window::default();
    window.add(bucket);
    window.arrivals_us.sort_unstable();
    let mut connects = bucket.connects_us.clone();
    connects.sort_unstable();
    let both = bucket.sample.zip(then);
    let spent = both.and_then(|(now, then)| Some(then.nodes?.since(&now.nodes?)));
    let each_second = |used: Option<f64>| used.map(|used| used / width.as_secs_f64());
    let end = then.and_then(|then| then.nodes);
    Point {
        at_seconds: at.as_secs_f64(),
        users: then.map(|then| then.users),
        devices: then.map(|then| then.devices),
        nodes_resident_bytes: end.and_then(|end| end.resident_bytes),
        connects_due: window.connects_due,
        connected: window.connected,
        connect_p95_us: quantile(&connects, connects.len() as u64, 0.95),
        changes_due: window.changes_due,
        arrivals_due: window.arrivals_due,
        arrived: window.arrivals_us.len() as u64,
        arrival_p50_us: window.arrived(0.5),
        arrival_p95_us: window.arrived(0.95),
        arrival_max_us: window.arrived(1.0),
        nodes_cpu: each_second(spent.and_then(|spent| spent.cpu_seconds)),
        redis_cpu: each_second(spent.and_then(|spent| spent.redis_cpu_seconds)),
        postgres_cpu: each_second(spent.and_then(|spent| spent.postgres_cpu_seconds)),
        generator_cpu: each_second(
            both.map(|(now, then)| then.generator_cpu_seconds - now.generator_cpu_seconds),
        ),
        commits_per_second: each_second(spent.map(|spent| spent.commits)),
        commit_mean_us: spent
            .filter(|spent| spent.commits > 0.0)
            .map(|spent| spent.commit_seconds * 1e6 / spent.commits),
        write_queue: end.map(|end| end.write_queue),
        pool_waiting: end.map(|end| end.pool_waiting),
    }
}

impl Window {
    fn add(&mut self, bucket: &Bucket) {
        self.connects_due += bucket.connects_due;
        self.connected += bucket.connects_us.len() as u64;
        self.changes_due += bucket.changes_due;
        self.arrivals_due += bucket.arrivals_due;
        self.arrivals_us.extend(&bucket.arrivals_us);
    }

    /// How long it took until this part of the changes had arrived, of those that have.
    fn arrived(&self, part: f64) -> Option<u64> {
        quantile(&self.arrivals_us, self.arrivals_us.len() as u64, part)
    }

    /// The same of all that were due: `None` when that many have not arrived, or none was due.
    pub(crate) fn due(&self, part: f64) -> Option<u64> {
        quantile(&self.arrivals_us, self.arrivals_due, part)
    }
}

/// The smallest of the numbers that this part of `count` is not above; the numbers are the first of as
/// many, in order.
fn quantile(sorted: &[u32], count: u64, part: f64) -> Option<u64> {
    let rank = (count as f64 * part).ceil().max(1.0) as usize;
    if count == 0 { None } else { sorted.get(rank - 1).copied().map(u64::from) }
}

/// How much a number grows over the points between two moments, from the first to the last; `None` of
/// fewer than three.
pub(crate) fn growth(
    points: &[Point],
    from: Duration,
    to: Duration,
    number: impl Fn(&Point) -> Option<f64>,
) -> Option<f64> {
    let within = |point: &&Point| (from.as_secs_f64()..to.as_secs_f64()).contains(&point.at_seconds);
    let numbers: Vec<f64> = points.iter().filter(within).filter_map(number).collect();
    (numbers.len() >= 3).then(|| stats::slope(&numbers) * (numbers.len() - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn sample(cpu: f64, resident: f64) -> Sample {
        let nodes = Reading { cpu_seconds: Some(cpu), resident_bytes: Some(resident), ..Reading::default() };
        Sample { nodes: Some(nodes), generator_cpu_seconds: cpu / 2.0, users: 3, devices: 9 }
    }

    #[test]
    fn what_was_due_is_told_where_it_was_due() {
        let mut series = Series::new(ms(2500));
        for second in 0..=3 {
            series.sample(s(second) + ms(3), sample(second as f64, 100.0));
        }
        series.connect(ms(10), Some(ms(7)));
        series.connect(ms(20), None);
        series.change(ms(1100), 2);
        series.arrival(ms(1100), ms(4));
        series.change(s(9), 2);
        let points = series.points();
        assert_eq!(points.len(), 3);
        assert_eq!((points[0].connects_due, points[0].connected), (2, 1));
        assert_eq!(points[0].connect_p95_us, Some(7_000));
        assert_eq!((points[1].arrivals_due, points[1].arrived), (2, 1));
        assert_eq!(points[1].arrival_p95_us, Some(4_000));
        assert_eq!((points[1].nodes_cpu, points[1].generator_cpu), (Some(1.0), Some(0.5)));
        assert_eq!(points[2].changes_due, 1, "what is late belongs to the last");
        assert_eq!(points[2].users, Some(3));
    }

    #[test]
    fn long_runs_have_wide_points() {
        let series = Series::new(s(24 * 3600));
        assert_eq!(series.width(), s(72));
        assert!(series.points().is_empty(), "nothing happened");
    }

    #[test]
    fn what_has_not_arrived_is_slower_than_all_that_has() {
        let mut series = Series::new(s(3));
        for n in 1..=95 {
            series.change(ms(1500), 1);
            series.arrival(ms(1500), ms(n));
        }
        assert_eq!(series.window(s(1), s(2)).due(0.95), Some(91_000));
        for _ in 0..5 {
            series.change(ms(1500), 1);
        }
        assert_eq!(series.window(s(1), s(2)).due(0.95), Some(95_000));
        series.change(ms(1500), 1);
        assert_eq!(series.window(s(1), s(2)).due(0.95), None);
        assert_eq!(series.window(s(0), s(1)), Window::default());
    }

    #[test]
    fn a_point_that_has_not_ended_is_no_part_of_what_was_before() {
        let mut series = Series::new(s(1800));
        assert_eq!(series.width(), s(2));
        for second in 0..10 {
            series.change(s(second), 1);
        }
        for second in 0..8 {
            series.arrival(s(second), ms(4));
        }
        assert_eq!(series.window_before(ms(8100), s(5)).due(0.95), Some(4_000));
        let mut day = Series::new(s(24 * 3600));
        day.change(s(80), 1);
        day.arrival(s(80), ms(5));
        assert_eq!(day.window_before(s(200), s(5)).due(0.95), Some(5_000));
        assert_eq!(day.window_before(s(140), s(5)).due(0.95), None, "the second point has not ended");
    }

    #[test]
    fn growth_is_from_the_first_point_to_the_last() {
        let mut series = Series::new(s(12));
        for second in 0..=12 {
            series.sample(s(second), sample(0.0, 1000.0 + 10.0 * second as f64));
        }
        let resident = |point: &Point| point.nodes_resident_bytes;
        assert_eq!(growth(&series.points(), s(0), s(12), resident), Some(110.0));
        assert_eq!(growth(&series.points(), s(5), s(8), resident), Some(20.0));
        assert_eq!(growth(&series.points(), s(5), s(7), resident), None, "two points are no line");
    }
}
