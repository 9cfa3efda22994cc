//! Durations and sizes as people write them: a number with its unit.

use std::time::Duration;

const DURATIONS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

const SIZES: [(&str, u64); 4] = [("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// A duration with its unit: `500ms`, `25s`, `5m`, `1h`, `1d`. A bare number is refused, because
/// nobody can see whether seconds or milliseconds are meant.
pub fn duration(text: &str) -> Option<Duration> {
    scaled(text, &DURATIONS).map(Duration::from_millis)
}

/// A number of bytes: `65536`, `64KiB`, `1MiB`, `1GiB`.
pub fn size(text: &str) -> Option<u64> {
    scaled(text, &SIZES)
}

/// A whole number, digits only.
pub fn count(text: &str) -> Option<u64> {
    scaled(text, &[("", 1)])
}

fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// A duration in its largest whole unit; whole milliseconds at least.
pub fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATIONS)
}

/// A number of bytes in its largest whole unit.
pub fn show_size(bytes: u64) -> String {
    show(bytes, &SIZES)
}

fn show(value: u64, units: &[(&str, u64)]) -> String {
    let (unit, scale) =
        units.iter().rev().find(|(_, scale)| value > 0 && value.is_multiple_of(*scale)).unwrap_or(&units[0]);
    format!("{}{unit}", value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(duration("25s"), Some(Duration::from_secs(25)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(duration("0ms"), Some(Duration::ZERO));
        for text in ["", "25", "s", "-1s", "+1s", "1.5s", "1 s", "25S", "1h5m", "99999999999999999999s"] {
            assert_eq!(duration(text), None, "{text:?} was taken");
        }
        assert_eq!(duration(&format!("{}h", u64::MAX)), None);
    }

    #[test]
    fn sizes_may_be_plain_bytes() {
        assert_eq!(size("65536"), Some(65536));
        assert_eq!(size("64KiB"), Some(65536));
        assert_eq!(size("1MiB"), Some(1 << 20));
        for text in ["", "KiB", "64KB", "64k", "-1", "1.5MiB", "64 KiB"] {
            assert_eq!(size(text), None, "{text:?} was taken");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [0, 1, 900, 1000, 90_000, 60_000, 3_600_000, 86_400_000] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(value)), Some(value));
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(show_size(256 * 1024), "256KiB");
        assert_eq!(show_size(1000), "1000");
    }
}
