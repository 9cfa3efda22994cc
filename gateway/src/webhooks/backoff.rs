//! When a delivery that failed is tried again. Pure.

use std::time::{Duration, SystemTime};

/// The pause after the first failure.
const FIRST: Duration = Duration::from_secs(1);

/// The longest pause that a receiver may ask for.
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// Returns the pause after `attempts` failures in a row: doubling up to `max`, half of it by chance, so that
/// webhooks of a receiver that comes back do not all come at once. `chance` is from 0 to 1.
pub(super) fn pause(attempts: u32, max: Duration, chance: f64) -> Duration {
    let whole = FIRST.saturating_mul(1_u32.checked_shl(attempts).unwrap_or(u32::MAX)).min(max);
    whole / 2 + (whole / 2).mul_f64(chance.clamp(0.0, 1.0))
}

/// Reads `Retry-After` (RFC 9110 section 10.2.3): seconds, or a date.
pub(super) fn asked(field: &str, now: SystemTime) -> Option<Duration> {
    let field = field.trim();
    let asked = if !field.is_empty() && field.bytes().all(|byte| byte.is_ascii_digit()) {
        Duration::from_secs(field.parse().unwrap_or(u64::MAX))
    } else {
        httpdate::parse_http_date(field).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(asked.min(ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn pauses_double_up_to_a_bound() {
        let most = |attempts| pause(attempts, MINUTE, 1.0);
        assert_eq!([0, 1, 2, 5].map(most), [1, 2, 4, 32].map(Duration::from_secs));
        for attempts in [6, 31, 32, u32::MAX] {
            assert_eq!(most(attempts), MINUTE, "{attempts}");
            assert_eq!(pause(attempts, MINUTE, 0.0), MINUTE / 2, "{attempts}");
        }
        assert_eq!(pause(0, Duration::from_millis(100), 1.0), Duration::from_millis(100));
    }

    #[test]
    fn a_receiver_may_ask_for_a_pause() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        assert_eq!(asked("120", now), Some(Duration::from_secs(120)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:07 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(asked("Sun, 06 Nov 1994 08:49:07 GMT", now), Some(Duration::ZERO));
        assert_eq!(asked("99999999999999999999999", now), Some(ASKED_MAX));
        for bad in ["", "soon", "-1", "1.5"] {
            assert_eq!(asked(bad, now), None, "{bad:?} was taken");
        }
    }
}
