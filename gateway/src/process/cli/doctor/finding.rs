//! What the doctor says of one thing.

use std::fmt;

use serde::Serialize;

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Ok,
    Warning,
    Failed,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        })
    }
}

/// What was found about one thing.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// The thing, such as `postgres.rights`.
    pub(super) check: &'static str,
    pub(super) state: State,
    /// A sentence, which says what to mend where something is wrong.
    pub(super) message: String,
}

impl Finding {
    pub(super) fn ok(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Ok, message: message.into() }
    }

    pub(super) fn warning(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Warning, message: message.into() }
    }

    pub(super) fn failed(check: &'static str, message: impl Into<String>) -> Self {
        Self { check, state: State::Failed, message: message.into() }
    }
}

/// How a clock compares with this machine's; `what` is whose it is.
pub(super) fn clock(check: &'static str, what: &str, difference_ms: i64) -> Finding {
    /// What nothing notices.
    const SLIGHT_MS: u64 = 1_000;
    /// As much as the tokens of an issuer may differ by, unless JWT_LEEWAY says otherwise.
    const GREAT_MS: u64 = 60_000;
    let (by, way) = (difference_ms.unsigned_abs(), if difference_ms > 0 { "ahead" } else { "behind" });
    let sentence = format!("the clock of {what} is {:.1} s {way}", by as f64 / 1000.0);
    let mend = "have both machines set theirs by NTP";
    if by <= SLIGHT_MS {
        Finding::ok(check, format!("the clock of {what} agrees with this machine's"))
    } else if by <= GREAT_MS {
        Finding::warning(check, format!("{sentence}: latencies and times of events are off; {mend}"))
    } else {
        Finding::failed(check, format!("{sentence}: tokens and times cannot be relied on; {mend}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_a_second() {
        for (difference, state, part) in [
            (0, State::Ok, "agrees"),
            (-1_000, State::Ok, "agrees"),
            (1_001, State::Warning, "1.0 s ahead"),
            (-60_000, State::Warning, "60.0 s behind"),
            (60_001, State::Failed, "NTP"),
            (i64::MIN, State::Failed, "behind"),
        ] {
            let found = clock("redis.clock", "Redis", difference);
            assert_eq!(found.state, state, "{difference}");
            assert!(found.message.contains(part), "{}", found.message);
        }
    }
}
