//! Durations, sizes and counts as people write them: a number with its unit.

use std::time::Duration;

/// A kind of number, and the units in which people write it.
pub(super) struct Unit {
    /// What such a number is called, with its article.
    pub(super) name: &'static str,
    /// The units, the smallest first, each as a multiple of that one.
    scales: &'static [(&'static str, u64)],
}

/// A time, counted in milliseconds.
pub(super) static DURATION: Unit = Unit {
    name: "a duration",
    scales: &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)],
};

/// A number of bytes.
pub(super) static SIZE: Unit =
    Unit { name: "a size", scales: &[("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)] };

/// A number of things.
pub(super) static COUNT: Unit = Unit { name: "a whole number", scales: &[("", 1)] };

impl Unit {
    /// Reads digits and a unit.
    pub(super) fn parse(&self, text: &str) -> Option<u64> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (_, scale) = self.scales.iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(*scale)
    }

    /// Writes a number in its largest whole unit.
    pub(super) fn show(&self, value: u64) -> String {
        let whole = |(_, scale): &&(&str, u64)| value > 0 && value.is_multiple_of(*scale);
        let (unit, scale) = self.scales.iter().rev().find(whole).unwrap_or(&self.scales[0]);
        format!("{}{unit}", value / scale)
    }
}

/// Reads a duration with its unit: `500ms`, `25s`, `5m`, `1h`, `1d`. A bare number is refused, because
/// nobody can see whether seconds or milliseconds are meant.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    DURATION.parse(text).map(Duration::from_millis)
}

/// Writes a duration in its largest whole unit; whole milliseconds at least.
pub(crate) fn show_duration(duration: Duration) -> String {
    DURATION.show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
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
        assert_eq!(SIZE.parse("65536"), Some(65536));
        assert_eq!(SIZE.parse("64KiB"), Some(65536));
        assert_eq!(SIZE.parse("1MiB"), Some(1 << 20));
        for text in ["", "KiB", "64KB", "64k", "-1", "1.5MiB", "64 KiB"] {
            assert_eq!(SIZE.parse(text), None, "{text:?} was taken");
        }
    }

    #[test]
    fn what_is_shown_reads_back() {
        for ms in [0, 1, 900, 1000, 90_000, 60_000, 3_600_000, 86_400_000] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(&show_duration(value)), Some(value));
        }
        assert_eq!(show_duration(Duration::from_secs(90)), "90s");
        assert_eq!(SIZE.show(256 * 1024), "256KiB");
        assert_eq!(SIZE.show(1000), "1000");
    }
}
