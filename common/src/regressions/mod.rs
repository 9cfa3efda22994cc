//! Whether a node got worse: compares the last minute with the minutes before it, metric by metric.
//!
//! Time comes in slices, twelve to a window. For each slice the [`Detector`] is given what operations did and what they
//! cost, and says what has become worse and what has recovered. It is pure: the same slices have the same answers.
//!
//! A metric is worse when all of this holds for three quarters of a window:
//! - **It is worse by enough**: the median over the slices of the window is over that of the baseline by
//!   [`Rules::warning`], and by what anybody would notice ([`Measure::noticeable`]). A median does not move before half
//!   of its slices have, so stalls and bursts of less than two thirds of a window do not count.
//! - **The slices differ**: the rank-sum test of Mann and Whitney (Annals of Mathematical Statistics 18, 1947), one-sided
//!   and with ties, at one in a thousand. It supposes no distribution, so heavy tails are no matter to it.
//! - **The metric does not always move so much**: the change is over four times what the metric usually
//!   changes from one window to the next, which is learned with a half-life of an hour, as in a control chart. Noise that
//!   lasts for minutes makes slices depend on each other, which the test above cannot see.
//!
//! A dip of the load is no change: there is no verdict from too few samples, costs are not divided by fewer units than
//! the baseline had, and latencies are not compared with those under less than two thirds of the present load.
//!
//! Once a metric is worse, the baseline is kept as it was, so that a regression does not become its own baseline. It
//! ends when the change is below two thirds of its threshold for three quarters of a window, when it has been there so long that it
//! is the usual, or when nothing can be compared any more.

mod detector;
mod metric;
mod noise;
mod path;
mod rank;
mod series;
mod watch;

pub use self::{
    detector::{Detector, Input},
    metric::{Measure, Metric, Quantile},
    path::{PATH, path},
    watch::{Ended, News, Regression, Severity},
};

/// Slices of a window.
pub const WINDOW_SLICES: usize = 12;

/// How long the windows are and what counts as worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// Slices of the baseline: those before the window.
    pub baseline_slices: usize,
    /// The part by which a metric is worse from which on it is a warning: 0.15 for 15 %.
    pub warning: f64,
    /// From which on it is critical.
    pub critical: f64,
}

impl Default for Rules {
    /// A baseline five times as long as the window, a warning at 15 %, critical at 30 %.
    fn default() -> Self {
        Self { baseline_slices: 5 * WINDOW_SLICES, warning: 0.15, critical: 0.3 }
    }
}
