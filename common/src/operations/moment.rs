//! A moment in four bytes.

use std::{
    ops::Add,
    sync::LazyLock,
    time::{Duration, Instant},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// When something happened, in microseconds since the process first asked, modulo 2³²: good for what lies less than an
/// hour back, and small enough to be kept with each event in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment(u32);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        #[allow(clippy::cast_possible_truncation)]
        Self(START.elapsed().as_micros() as u32)
    }

    /// How long ago it was.
    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// The time from `earlier` to this moment.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.wrapping_sub(earlier.0).into())
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        #[allow(clippy::cast_possible_truncation)]
        Self(self.0.wrapping_add(duration.as_micros() as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_between_two_moments_is_right_across_the_wrap() {
        assert_eq!(Moment(5).since(Moment(u32::MAX - 4)), Duration::from_micros(10));
        assert_eq!(Moment(1_000_000).since(Moment(0)), Duration::from_secs(1));
        let later = Moment(u32::MAX) + Duration::from_micros(3);
        assert_eq!(later.since(Moment(u32::MAX)), Duration::from_micros(3));
    }
}
