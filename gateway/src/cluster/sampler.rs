//! How fast things happen: what was counted, compared with what it was some seconds ago. Pure: the time is an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::facts::{Rates, Totals};
use crate::operations::rounded;

/// Over how long rates are taken.
const WINDOW: Duration = Duration::from_secs(10);

/// Over how long reconnections are counted.
const MINUTE: Duration = Duration::from_secs(60);

/// What is kept: a minute, at one a second, and a few more where the clock is late.
const SAMPLES_MAX: usize = 64;

/// What was counted at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) totals: Totals,
    /// Time on processors so far, in seconds.
    pub(super) cpu_seconds: f64,
}

/// The samples of the last minute.
#[derive(Debug, Default)]
pub(super) struct Sampler(VecDeque<Sample>);

impl Sampler {
    /// Adds a sample. Returns the rates, and how many processors are used.
    pub(super) fn add(&mut self, now: Sample) -> (Rates, f64) {
        while self.0.len() >= SAMPLES_MAX || self.0.front().is_some_and(|first| now.at - first.at > MINUTE) {
            self.0.pop_front();
        }
        let since = |window: Duration| self.0.iter().find(|sample| now.at - sample.at <= window).copied();
        let minute = since(MINUTE).unwrap_or(now);
        let before = since(WINDOW).unwrap_or(now);
        self.0.push_back(now);
        let seconds = (now.at - before.at).as_secs_f64();
        let per_second = |value: f64| if seconds > 0.0 { rounded(value / seconds) } else { 0.0 };
        let rate =
            |of: fn(&Totals) -> u64| per_second(of(&now.totals).saturating_sub(of(&before.totals)) as f64);
        let reconnections = now.totals.reconnections.saturating_sub(minute.totals.reconnections);
        let rates = Rates {
            messages_in: rate(|totals| totals.messages_in),
            messages_out: rate(|totals| totals.messages_out),
            bytes_in: rate(|totals| totals.bytes_in),
            bytes_out: rate(|totals| totals.bytes_out),
            connections: rate(|totals| totals.connections),
            reconnections_per_minute: reconnections as f64,
        };
        (rates, per_second(now.cpu_seconds - before.cpu_seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_ten_seconds_and_reconnections_of_the_last_minute() {
        let (mut sampler, start) = (Sampler::default(), Instant::now());
        let mut last = (Rates::default(), 0.0);
        for second in 0..=120_u64 {
            // Nothing happens in the first half.
            let busy = second.saturating_sub(60);
            let totals = Totals { messages_out: 50 * busy, reconnections: 2 * busy, ..Totals::default() };
            let at = start + Duration::from_secs(second);
            last = sampler.add(Sample { at, totals, cpu_seconds: 0.5 * busy as f64 });
            if second <= 60 {
                assert_eq!(last, (Rates::default(), 0.0), "second {second}");
            }
        }
        let (rates, processors) = last;
        assert_eq!((rates.messages_out, rates.reconnections_per_minute, processors), (50.0, 120.0, 0.5));
        assert!(sampler.0.len() <= SAMPLES_MAX);
    }
}
