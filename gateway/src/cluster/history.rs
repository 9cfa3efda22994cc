//! The last hour of the cluster, in steps of ten seconds, as this node has seen it. Pure.

use std::collections::VecDeque;

use serde::Serialize;

/// How many seconds lie between two samples.
pub(super) const STEP_SECONDS: u64 = 10;

/// An hour.
const SAMPLES_MAX: usize = 360;

/// What is kept; a bounded number of numbers.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Sample>);

/// The cluster at a moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    /// When, Unix milliseconds, by the clock of the node.
    pub(super) at: u64,
    /// How late events were in the minute before, in milliseconds.
    pub(super) mean_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    /// In a second.
    pub(super) messages_in: f64,
    pub(super) messages_out: f64,
    pub(super) connections: u64,
    pub(super) users: u64,
    pub(super) reconnections_per_minute: f64,
}

/// The answer of `GET /v1/admin/cluster/history`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryView {
    step_ms: u64,
    samples: Vec<Sample>,
}

impl History {
    /// Takes a sample; the oldest one goes where there are too many.
    pub(super) fn push(&mut self, sample: Sample) {
        if self.0.len() == SAMPLES_MAX {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// From the oldest sample on.
    pub(super) fn view(&self) -> HistoryView {
        HistoryView { step_ms: STEP_SECONDS * 1000, samples: self.0.iter().cloned().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_kept() {
        let mut history = History::default();
        for at in 0..1000 {
            history.push(Sample {
                at,
                mean_ms: 0.0,
                p95_ms: 0.0,
                p99_ms: 0.0,
                messages_in: 0.0,
                messages_out: 0.0,
                connections: 0,
                users: 0,
                reconnections_per_minute: 0.0,
            });
        }
        let view = history.view();
        assert_eq!(view.samples.len() as u64 * view.step_ms, 60 * 60 * 1000);
        assert_eq!((view.samples[0].at, view.samples[SAMPLES_MAX - 1].at), (640, 999));
    }
}
