//! Values of the command line.

use std::time::Duration;

/// Reads `250ms`, `60s`, `5m` or `1h`; up to a day.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number with a unit is needed: 250ms, 60s, 5m or 1h".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    let duration = Duration::from_millis(number.saturating_mul(milliseconds));
    if duration > LONGEST { Err("at most 24h".to_owned()) } else { Ok(duration) }
}

/// The highest rate that can be asked for, a second.
pub(crate) const RATE_MAX: f64 = 100_000.0;

/// Reads commands a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.01..=RATE_MAX).contains(&rate) => Ok(rate),
        _ => Err("a number from 0.01 to 100000 is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_a_bound() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86_400)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "25h", "99999999999999999999s", "1 s"] {
            assert!(duration(wrong).is_err(), "{wrong:?} was taken");
        }
    }
}
