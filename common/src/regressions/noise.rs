//! How much a metric usually changes from a baseline to the window after it.

/// Changes are more than noise from this multiple of the usual change on.
pub(super) const NOISE_MIN: f64 = 4.0;

/// Slices after which half of what was learned is forgotten: an hour, at twelve slices a minute.
const HALF_LIFE: f64 = 720.0;

/// A single change counts at most as this multiple of the usual one, so that a real regression, which is there for the
/// length of a baseline, is hardly learned.
const STEP_MAX: f64 = 3.0;

/// The standard deviation of the logarithm of window over baseline, learned from what has been.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise {
    variance: f64,
    /// What is supposed at first, and the least that is supposed later.
    least: f64,
}

impl Noise {
    /// Nothing is known: a change of the logarithm by `threshold` is just no noise.
    pub(super) fn new(threshold: f64) -> Self {
        let least = (threshold / NOISE_MIN).powi(2);
        Self { variance: least, least }
    }

    /// Learns a change, up or down, of the logarithm.
    pub(super) fn learn(&mut self, change: f64) {
        let square = change.powi(2).min(STEP_MAX.powi(2) * self.variance);
        self.variance += (square - self.variance) * (1.0 - (-1.0 / HALF_LIFE).exp2());
        self.variance = self.variance.max(self.least);
    }

    /// Returns whether a change of the logarithm is more than noise. `error` is its standard error.
    pub(super) fn is_exceeded_by(&self, change: f64, error: f64) -> bool {
        change >= NOISE_MIN * self.variance.sqrt().max(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn at_first_the_threshold_decides() {
        let noise = Noise::new(0.15);
        assert!(noise.is_exceeded_by(0.151, 0.0));
        assert!(!noise.is_exceeded_by(0.149, 0.0));
        assert!(!noise.is_exceeded_by(0.39, 0.1));
    }

    #[test]
    fn what_is_usual_is_noise_and_is_forgotten() {
        let mut noise = Noise::new(0.15);
        (0..4000).for_each(|n| noise.learn(if n % 2 == 0 { 0.2 } else { -0.2 }));
        assert!(!noise.is_exceeded_by(0.7, 0.0));
        assert!(noise.is_exceeded_by(0.81, 0.0));
        (0..6000).for_each(|_| noise.learn(0.0));
        assert!(noise.is_exceeded_by(0.16, 0.0));
    }

    #[test]
    fn a_regression_for_the_length_of_a_baseline_is_hardly_learned() {
        let mut noise = Noise::new(0.15);
        (0..72).for_each(|_| noise.learn(0.3));
        assert!(noise.is_exceeded_by(0.21, 0.0));
    }

    proptest! {
        #[test]
        fn it_is_never_below_the_threshold(changes in prop::collection::vec(-10.0..10.0_f64, 0..500)) {
            let mut noise = Noise::new(0.15);
            changes.iter().for_each(|change| noise.learn(*change));
            prop_assert!(!noise.is_exceeded_by(0.149, 0.0));
            prop_assert!(noise.is_exceeded_by(f64::MAX, 0.0));
        }
    }
}
