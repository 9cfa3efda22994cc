//! Whether a cluster stays as it is for as long as it runs. Pure.

use std::time::Duration;

use clap::Args;

use super::series::{Point, growth};
use crate::{
    measure::{latency, summary::Check},
    run::arguments,
};

/// Its thresholds.
#[derive(Debug, Clone, Args)]
pub(crate) struct EnduranceArgs {
    /// By how much the memory of all nodes together may grow, where all users stay or are replaced, in MB.
    #[arg(long, value_name = "MB", default_value_t = 10)]
    growth_max: u32,
    /// By how much the 95th percentile of changes on other devices may rise meanwhile.
    #[arg(long, default_value = "10ms", value_parser = arguments::duration)]
    rise_max: Duration,
}

impl EnduranceArgs {
    /// Whether memory and latency stay, between two moments at which all users are here. Both are the
    /// median of the slopes between all pairs of points, times the length: a few odd points do not move it.
    pub(crate) fn checks(&self, points: &[Point], from: Duration, to: Duration) -> [Check; 2] {
        let memory = growth(points, from, to, |point| point.nodes_resident_bytes);
        let rise = growth(points, from, to, |point| point.arrival_p95_us.map(|us| us as f64));
        let megabytes = |bytes: f64| format!("{:.1} MB", bytes / 1e6);
        let time = |us: f64| if us < 0.0 { "none".to_owned() } else { latency::time(us as u64) };
        let (growth_max, rise_max) = (f64::from(self.growth_max) * 1e6, self.rise_max.as_secs_f64() * 1e6);
        [
            Check::at_most("growth of the nodes' memory", memory, growth_max, megabytes),
            Check::at_most("rise of the p95 of changes on other devices", rise, rise_max, time),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::nodes::Reading,
        measure::summary::Verdict,
        users::series::{Sample, Series},
    };

    const ARGS: EnduranceArgs = EnduranceArgs { growth_max: 10, rise_max: Duration::from_millis(10) };

    /// A minute in which memory grows, and changes become slower, by so much a second.
    fn verdicts(bytes: f64, micros: u64) -> [Verdict; 2] {
        let lasts = Duration::from_secs(60);
        let mut series = Series::new(lasts);
        for second in 0..=60u32 {
            let at = Duration::from_secs(u64::from(second));
            // One odd point changes nothing.
            let odd = if second == 30 { 1e9 } else { 0.0 };
            let resident_bytes = Some(5e7 + odd + bytes * f64::from(second));
            let nodes = Some(Reading { resident_bytes, ..Reading::default() });
            series.sample(at, Sample { nodes, ..Sample::default() });
            series.change(at, 1);
            series.arrival(at, Duration::from_micros(2_000 + micros * u64::from(second)));
        }
        ARGS.checks(&series.points(), Duration::ZERO, lasts).map(|check| check.verdict)
    }

    #[test]
    fn what_grows_too_much_breaks() {
        use Verdict::{Broken, Held};
        assert_eq!(verdicts(0.0, 0), [Held, Held]);
        assert_eq!(verdicts(160_000.0, 160), [Held, Held]);
        assert_eq!(verdicts(180_000.0, 0), [Broken, Held]);
        assert_eq!(verdicts(0.0, 180), [Held, Broken]);
        assert_eq!(verdicts(-180_000.0, 0), [Held, Held], "less is no growth");
    }

    #[test]
    fn what_was_not_measured_is_not_known() {
        let none = ARGS.checks(&[], Duration::ZERO, Duration::MAX).map(|check| check.verdict);
        assert_eq!(none, [Verdict::Unknown; 2]);
    }
}
