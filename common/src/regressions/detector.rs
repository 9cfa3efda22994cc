//! All metrics of a node.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Rules, WINDOW_SLICES,
    metric::{Measure, Metric, Quantile},
    series::{Series, Slice},
    watch::{News, Regression, Watch},
};
use crate::operations::Window;

/// Operations and ratios that are watched at most. What comes later is not.
const METRICS_MAX: usize = 256;

/// What there was in a slice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// What an operation did.
    Operation(String, Window),
    /// How often something happened, or what it cost, and among or for how many.
    Ratio(Measure, f64, f64),
}

impl Input {
    /// What several nodes, or several slices, had together. Operations and ratios of one name add up.
    pub fn merge(inputs: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let mut merged: BTreeMap<Key, Self> = BTreeMap::new();
        for input in inputs {
            let key = match &input {
                Self::Operation(name, _) => Key::Operation(name.clone()),
                Self::Ratio(measure, ..) => Key::Ratio(*measure),
            };
            match (merged.get_mut(&key), input) {
                (Some(Self::Operation(_, all)), Self::Operation(_, window)) => all.merge(&window),
                (Some(Self::Ratio(_, parts, wholes)), Self::Ratio(_, part, whole)) => {
                    *parts += part;
                    *wholes += whole;
                }
                (_, input) => {
                    merged.insert(key, input);
                }
            }
        }
        merged.into_values().collect()
    }
}

/// Watches metrics, slice by slice.
#[derive(Debug)]
pub struct Detector {
    rules: Rules,
    watched: BTreeMap<Key, Watched>,
    /// Slices so far, up to those of a window and its baseline.
    slices: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Operation(String),
    Ratio(Measure),
}

#[derive(Debug)]
struct Watched {
    series: Series,
    watches: Vec<(Metric, Watch)>,
}

impl Watched {
    fn new(key: &Key, rules: &Rules) -> Self {
        let metrics: Vec<Metric> = match key {
            Key::Ratio(measure) => vec![Metric { operation: None, measure: *measure }],
            Key::Operation(name) => Quantile::ALL
                .map(Measure::Latency)
                .into_iter()
                .chain([Measure::Errors])
                .map(|measure| Metric { operation: Some(name.clone()), measure })
                .collect(),
        };
        let watches = metrics.into_iter().map(|metric| (metric, Watch::new(rules))).collect();
        Self { series: Series::default(), watches }
    }
}

impl Detector {
    /// Watches nothing yet.
    pub fn new(rules: Rules) -> Self {
        Self { rules, watched: BTreeMap::new(), slices: 0 }
    }

    /// Takes what there was in the slice that ends at `at`, Unix milliseconds. Returns what has changed. Of what is not
    /// among `inputs`, nothing was.
    ///
    /// There is no verdict before the baseline is complete: a node that has just begun becomes faster, not slower.
    pub fn observe(&mut self, at: u64, inputs: Vec<Input>) -> Vec<News> {
        let Self { rules, watched, slices } = self;
        let mut present: BTreeMap<Key, Slice> = inputs
            .into_iter()
            .map(|input| match input {
                Input::Operation(name, window) => (Key::Operation(name), Slice::of_window(window)),
                Input::Ratio(measure, part, whole) => (Key::Ratio(measure), Slice::of_ratio(part, whole)),
            })
            .collect();
        for (key, watched) in &mut *watched {
            watched.series.push(present.remove(key).unwrap_or_default(), rules);
        }
        watched.retain(|_, watched| {
            let is_present = watched.watches.iter().any(|(_, watch)| watch.present().is_some());
            is_present || !watched.series.is_empty()
        });
        for (key, slice) in present {
            if watched.len() < METRICS_MAX {
                let mut new = Watched::new(&key, rules);
                new.series.push(slice, rules);
                watched.insert(key, new);
            }
        }
        let full = rules.baseline_slices + WINDOW_SLICES;
        *slices = (*slices + 1).min(full);
        if *slices < full {
            return Vec::new();
        }
        let mut news = Vec::new();
        for Watched { series, watches } in watched.values_mut() {
            let changed =
                watches.iter_mut().filter_map(|(metric, watch)| watch.judge(metric, series, rules, at));
            news.extend(changed);
        }
        news
    }

    /// Returns whether there is a baseline.
    pub fn is_ready(&self) -> bool {
        self.slices >= self.rules.baseline_slices + WINDOW_SLICES
    }

    /// The regressions that are present, the worst first.
    pub fn present(&self) -> Vec<&Regression> {
        let watches = self.watched.values().flat_map(|watched| &watched.watches);
        let mut present: Vec<_> = watches.filter_map(|(_, watch)| watch.present()).collect();
        present.sort_by(|one, other| {
            other.severity.cmp(&one.severity).then(other.change.total_cmp(&one.change))
        });
        present
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
