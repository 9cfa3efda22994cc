//! How soon changes are as quick as before, once most users have left. Pure.

use std::time::Duration;

use crate::users::series::Point;

/// So many points in a row that are calm are not calm by chance.
const CALM: usize = 3;

/// How long after `dropped` a few points in a row are calm: 95 % of their changes took no longer than that,
/// and none is missing. `None` when that does not happen.
pub(super) fn recovery(points: &[Point], dropped: Duration, calm_us: u64) -> Option<Duration> {
    let after = points.iter().filter(|point| point.at_seconds >= dropped.as_secs_f64());
    let after: Vec<&Point> = after.filter(|point| point.arrivals_due > 0).collect();
    let calm = |point: &&Point| {
        point.arrived >= point.arrivals_due && point.arrival_p95_us.is_some_and(|us| us <= calm_us)
    };
    let first = after.windows(CALM).position(|row| row.iter().all(calm))?;
    // Where the first one is calm, nothing had to recover.
    let took = if first == 0 { 0.0 } else { after[first].at_seconds - dropped.as_secs_f64() };
    Some(Duration::from_secs_f64(took))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::series::Series;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Seconds, by the milliseconds that a change took in each; nothing was due in those without.
    fn points(seconds: &[Option<u64>]) -> Vec<Point> {
        let mut series = Series::new(s(seconds.len() as u64));
        for (second, milliseconds) in (0..).zip(seconds) {
            if let Some(milliseconds) = milliseconds {
                series.change(s(second), 1);
                series.arrival(s(second), Duration::from_millis(*milliseconds));
            }
        }
        series.points()
    }

    #[test]
    fn recovered_is_when_it_stays_calm() {
        let [calm, slow] = [Some(5), Some(500)];
        let recovery = |seconds: &[Option<u64>], dropped| recovery(&points(seconds), s(dropped), 50_000);
        assert_eq!(recovery(&[slow, slow, calm, calm, calm], 2), Some(s(0)));
        assert_eq!(recovery(&[slow, None, None, calm, calm, calm], 1), Some(s(0)), "nothing was slow");
        assert_eq!(recovery(&[slow, slow, calm, slow, calm, calm, calm, slow], 1), Some(s(3)));
        assert_eq!(recovery(&[slow, calm, calm, slow], 1), None);
        assert_eq!(recovery(&[slow, None, None, None], 1), None, "nothing shows it");
    }

    #[test]
    fn a_change_that_never_arrives_is_not_calm() {
        let mut series = Series::new(s(6));
        for second in 0..6 {
            series.change(s(second), 2);
            series.arrival(s(second), Duration::from_millis(1));
        }
        assert_eq!(recovery(&series.points(), s(1), 50_000), None);
    }
}
