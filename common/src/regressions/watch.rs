//! When a metric becomes a regression, and when it is none any more.

use super::{
    Rules, WINDOW_SLICES,
    metric::{Measure, Metric},
    noise::Noise,
    series::{Baseline, Series},
};

/// Slices in a row after which a verdict counts. The median of a window shows a burst for as many slices as the burst has, and
/// one more: so no burst shorter than two thirds of a window has an effect, and what lasts is known after five quarters.
const HOLD: usize = 3 * WINDOW_SLICES / 4;

/// The rank sum from which on slices differ: one in a thousand.
const RANK_SUM_MIN: f64 = 3.09;

/// The part of a threshold below which a regression has passed it in the other direction.
const LEAVE: f64 = 2.0 / 3.0;

/// Baselines after which a regression is the usual.
const USUAL_AFTER: usize = 12;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Worth a look.
    Warning,
    /// Worth taking something back.
    Critical,
}

impl Severity {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Warning, Self::Critical];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    fn of(change: f64, rules: &Rules) -> Option<Self> {
        if change >= rules.critical {
            Some(Self::Critical)
        } else {
            (change >= rules.warning).then_some(Self::Warning)
        }
    }

    fn threshold(self, rules: &Rules) -> f64 {
        match self {
            Self::Warning => rules.warning,
            Self::Critical => rules.critical,
        }
    }
}

/// A metric that is worse than it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Regression {
    /// Which.
    pub metric: Metric,
    /// How bad it is.
    pub severity: Severity,
    /// Its value before, in the unit of its measure.
    pub baseline: f64,
    /// Its value in the last window.
    pub now: f64,
    /// By which part it is worse: 0.3 for 30 %. Where there was next to nothing, of what is noticeable.
    pub change: f64,
    /// The end of the first slice at which it was worse, Unix milliseconds.
    pub since: u64,
}

/// Why there is no regression any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The metric is as good as before.
    Recovered,
    /// It has been so for twelve baselines and is the new measure.
    Usual,
    /// For the length of a baseline there was too little to compare.
    Unmeasured,
}

impl Ended {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Usual => "usual",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// What a slice has changed.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A metric became worse.
    Began(Regression),
    /// It has another severity.
    Changed(Regression),
    /// It is over.
    Ended(Regression, Ended),
}

/// The state of one metric.
#[derive(Debug)]
pub(super) struct Watch {
    noise: Noise,
    present: Option<Present>,
    /// Verdicts in a row that were worse than what is present.
    worse: Option<Streak>,
    /// Verdicts in a row that were better than what is present.
    better: usize,
}

#[derive(Debug)]
struct Present {
    regression: Regression,
    baseline: Baseline,
    /// Slices since it began.
    age: usize,
    /// Slices in a row without a verdict.
    unmeasured: usize,
}

#[derive(Debug, Clone, Copy)]
struct Streak {
    slices: usize,
    /// The least bad verdict of it.
    severity: Severity,
    since: u64,
}

impl Watch {
    pub(super) fn new(rules: &Rules) -> Self {
        Self { noise: Noise::new(rules.warning.ln_1p()), present: None, worse: None, better: 0 }
    }

    /// The regression that is present.
    pub(super) fn present(&self) -> Option<&Regression> {
        self.present.as_ref().map(|present| &present.regression)
    }

    /// Judges the window that ends at `at`, Unix milliseconds.
    pub(super) fn judge(&mut self, metric: &Metric, series: &Series, rules: &Rules, at: u64) -> Option<News> {
        let measure = metric.measure;
        let comparison = series.compare(measure);
        let rolling = comparison.as_ref().map(|found| change(measure, found.baseline.value, found.now));
        // Before it is learned, so that a change is compared with what was usual without it.
        let is_noise = comparison
            .as_ref()
            .zip(rolling)
            .is_none_or(|(found, change)| !self.noise.is_exceeded_by(logarithm(change), found.error()));
        if let Some(rolling) = rolling {
            self.noise.learn(logarithm(rolling));
        }
        if self.present.is_some() {
            return self.follow(series, rules, at);
        }
        let severity = comparison.as_ref().zip(rolling).and_then(|(found, change)| {
            let enough =
                found.now - found.baseline.value >= measure.noticeable() && found.has_events_enough();
            let severity = Severity::of(change, rules)?;
            (enough && !is_noise && found.rank_sum() >= RANK_SUM_MIN).then_some(severity)
        });
        let streak = self.lengthen(severity, at)?;
        let (comparison, change) = comparison.zip(rolling)?;
        let regression = Regression {
            metric: metric.clone(),
            severity: streak.severity,
            baseline: comparison.baseline.value,
            now: comparison.now,
            change,
            since: streak.since,
        };
        let baseline = comparison.baseline;
        self.present = Some(Present { regression: regression.clone(), baseline, age: 0, unmeasured: 0 });
        Some(News::Began(regression))
    }

    /// Counts verdicts in a row. Returns the streak once it is long enough, and begins anew.
    fn lengthen(&mut self, severity: Option<Severity>, at: u64) -> Option<Streak> {
        let Some(severity) = severity else {
            self.worse = None;
            return None;
        };
        let streak = self.worse.get_or_insert(Streak { slices: 0, severity, since: at });
        streak.slices += 1;
        streak.severity = streak.severity.min(severity);
        if streak.slices >= HOLD { self.worse.take() } else { None }
    }

    /// What becomes of the regression that is present.
    fn follow(&mut self, series: &Series, rules: &Rules, at: u64) -> Option<News> {
        let present = self.present.as_mut()?;
        present.age += 1;
        let measure = present.regression.metric.measure;
        let Some(now) = series.now(measure, &present.baseline) else {
            present.unmeasured += 1;
            if present.unmeasured >= rules.baseline_slices {
                return self.end(Ended::Unmeasured);
            }
            return None;
        };
        present.unmeasured = 0;
        let severity = present.regression.severity;
        let change = change(measure, present.baseline.value, now);
        (present.regression.now, present.regression.change) = (now, change);
        if present.age >= USUAL_AFTER * rules.baseline_slices {
            return self.end(Ended::Usual);
        }
        self.better = if change < LEAVE * severity.threshold(rules) { self.better + 1 } else { 0 };
        if self.better >= HOLD {
            self.better = 0;
            if severity == Severity::Critical && change >= LEAVE * rules.warning {
                return self.set(Severity::Warning);
            }
            return self.end(Ended::Recovered);
        }
        let worse = Severity::of(change, rules).filter(|found| *found > severity);
        let streak = self.lengthen(worse, at)?;
        self.set(streak.severity)
    }

    fn set(&mut self, severity: Severity) -> Option<News> {
        let present = self.present.as_mut()?;
        present.regression.severity = severity;
        Some(News::Changed(present.regression.clone()))
    }

    fn end(&mut self, why: Ended) -> Option<News> {
        let present = self.present.take()?;
        (self.worse, self.better) = (None, 0);
        Some(News::Ended(present.regression, why))
    }
}

/// By which part `now` is worse.
fn change(measure: Measure, baseline: f64, now: f64) -> f64 {
    (now - baseline) / baseline.max(measure.noticeable())
}

/// The logarithm of one and a change, which is symmetrical; finite for whatever change.
fn logarithm(change: f64) -> f64 {
    change.max(-0.99).ln_1p()
}
