//! Load as nodes have it: durations of a few operations, slice by slice.

use std::{collections::VecDeque, f64::consts::TAU, time::Duration};

use common::{
    operations::{Histogram, Window},
    regressions::{Input, Measure, path},
};

/// Slices of five seconds.
pub(crate) const SLICES_PER_DAY: usize = 17_280;

/// How much there is to do, and how uneven it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    /// Changes a second, as the mean of a day.
    rate: f64,
    /// The standard deviation of the level of latencies, which drifts within minutes.
    drift: f64,
    /// Bursts of load in an hour.
    bursts: f64,
    /// Stalls in an hour, as of a checkpoint, in which everything takes several times as long.
    stalls: f64,
}

impl Shape {
    /// Ten changes a second.
    pub(crate) const SMALL: Self = Self { name: "small", rate: 10.0, drift: 0.02, bursts: 4.0, stalls: 6.0 };

    /// Hardly anything: one change a second.
    const SPARSE: Self = Self { name: "sparse", rate: 1.0, drift: 0.02, bursts: 4.0, stalls: 6.0 };

    /// Fifty changes a second.
    pub(crate) const BUSY: Self = Self { name: "busy", rate: 50.0, drift: 0.02, bursts: 4.0, stalls: 6.0 };

    /// The same on a machine that is shared with others.
    const ROUGH: Self = Self { name: "rough", rate: 50.0, drift: 0.06, bursts: 12.0, stalls: 20.0 };

    pub(crate) const ALL: [Self; 4] = [Self::BUSY, Self::SMALL, Self::ROUGH, Self::SPARSE];

    /// Whether stalls come every few minutes.
    pub(crate) fn is_rough(&self) -> bool {
        self.stalls > 10.0
    }
}

/// The operations: their name, the median in milliseconds, and how wide they spread (the logarithm's standard deviation).
const OPERATIONS: [(&str, f64, f64); 4] =
    [("queue", 0.4, 0.8), ("commit", 4.0, 0.5), ("hop", 0.8, 0.6), ("deliver", 0.3, 1.0)];

/// The part of durations that are in the heavy tail, and its exponent.
const TAIL: f64 = 0.01;
const TAIL_EXPONENT: f64 = 1.5;

/// Slices after which the drift has forgotten the most of what it was: two minutes.
const DRIFT_SLICES: f64 = 24.0;

pub(crate) struct Load {
    shape: Shape,
    random: Random,
    slice: usize,
    /// The drifts of the latencies, one for each operation, and of the rate.
    drifts: [f64; OPERATIONS.len() + 1],
    burst: Episode,
    stall: Episode,
    connections: VecDeque<f64>,
}

/// Something that happens now and then, and lasts.
#[derive(Default)]
struct Episode {
    left: usize,
    factor: f64,
}

impl Episode {
    /// The factor of this slice.
    fn step(&mut self, random: &mut Random, an_hour: f64, slices_max: f64, factor_max: f64) -> f64 {
        if self.left == 0 && random.part() < an_hour / 720.0 {
            self.left = 1 + (random.part() * slices_max) as usize;
            self.factor = 1.5 + random.part() * (factor_max - 1.5);
        }
        if self.left == 0 {
            return 1.0;
        }
        self.left -= 1;
        self.factor
    }
}

impl Load {
    pub(crate) fn new(shape: Shape, seed: u64) -> Self {
        Self {
            shape,
            random: Random(seed.wrapping_mul(0x9E37_79B9).wrapping_add(7)),
            slice: 0,
            drifts: [0.0; OPERATIONS.len() + 1],
            burst: Episode::default(),
            stall: Episode::default(),
            connections: VecDeque::new(),
        }
    }

    /// Begins later in the day.
    pub(crate) fn skip(&mut self, slices: usize) {
        self.slice += slices;
    }

    /// What there is in the next slice, with everything slower by `factor`.
    pub(crate) fn slice(&mut self, factor: f64) -> Vec<Input> {
        let Shape { rate, drift, bursts, stalls, .. } = self.shape;
        let random = &mut self.random;
        let hour = TAU * self.slice as f64 / SLICES_PER_DAY as f64;
        self.slice += 1;
        // From a fifth of the mean at night to the double of it.
        let rhythm = 1.1 - 0.9 * hour.cos();
        for (n, level) in self.drifts.iter_mut().enumerate() {
            let deviation = if n == OPERATIONS.len() { 0.1 } else { drift };
            let keep = (-1.0 / DRIFT_SLICES).exp();
            *level = *level * keep + random.normal() * deviation * (1.0 - keep * keep).sqrt();
        }
        let burst = self.burst.step(random, bursts, 8.0, 5.0);
        let stall = self.stall.step(random, stalls, 3.0, 6.0);
        let expected = 5.0 * rate * rhythm * self.drifts[OPERATIONS.len()].exp() * burst;
        let count = random.poisson(expected);
        // The busier it is, the longer everything takes.
        let busy = 1.0 + 0.3 * (expected / (5.0 * rate * 2.0)).powi(2).min(4.0);
        let mut windows = Vec::new();
        for (n, (name, median, spread)) in OPERATIONS.into_iter().enumerate() {
            let level = median * busy * stall * factor * self.drifts[n].exp();
            let mut durations = Histogram::default();
            for _ in 0..count {
                let tail = if random.part() < TAIL { random.part().powf(-1.0 / TAIL_EXPONENT) } else { 1.0 };
                let millis = (level * (spread * random.normal()).exp() * tail).min(60_000.0);
                durations.record(Duration::from_secs_f64(millis / 1000.0));
            }
            let errors = random.poisson(count as f64 * 0.002);
            windows.push((name.to_owned(), Window { durations, errors: errors.min(count) }));
        }
        let whole = path(windows.iter().map(|(_, window)| window), count);
        windows.push(("path".to_owned(), whole));
        let mut inputs: Vec<Input> =
            windows.into_iter().map(|(name, window)| Input::Operation(name, window)).collect();
        // Some of it is there without work; deliveries are ten for each change.
        let deliveries = 10.0 * count as f64;
        let processor = (100.0 + 0.03 * deliveries) * (1.0 + 0.1 * random.normal()).max(0.1) * factor;
        inputs.push(Input::Ratio(Measure::Processor, processor, deliveries));
        // Connections follow the load, slowly; memory follows them, and is not given back at once.
        self.connections.push_back(100.0 * rate * rhythm);
        if self.connections.len() > 60 {
            self.connections.pop_front();
        }
        let connections = self.connections.iter().sum::<f64>() / self.connections.len() as f64;
        let memory = 40e6 + 12e3 * connections * (1.0 + 0.01 * random.normal());
        inputs.push(Input::Ratio(Measure::Memory, memory, connections.round()));
        let attempts = random.poisson(connections / 100.0 * burst);
        let refused = random.poisson(attempts as f64 * 0.001).min(attempts);
        inputs.push(Input::Ratio(Measure::Refused, refused as f64, attempts as f64));
        let reconnections = random.poisson(connections / 500.0 * burst);
        inputs.push(Input::Ratio(Measure::Reconnections, reconnections as f64, connections / 12.0));
        inputs
    }
}

/// Numbers that look random and are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Between 0 and 1, without either.
    fn part(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// With the mean 0 and the standard deviation 1.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.part().ln()).sqrt() * (TAU * self.part()).cos()
    }

    /// How many there are of what is independent, with this mean.
    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.part(), 0);
        while product > limit {
            product *= self.part();
            count += 1;
        }
        count
    }
}
