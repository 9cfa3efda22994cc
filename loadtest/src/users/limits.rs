//! What users may wait for, and how often something may fail. Pure.

use serde::Serialize;

use crate::measure::summary::Check;

/// Thresholds of a run with users.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    /// Until 95 % of the devices that were to connect know their drafts, microseconds.
    pub(crate) connect_p95_us: u64,
    /// Until 95 % of the changes are on a user's other devices, from their intended moments.
    pub(crate) arrival_p95_us: u64,
    /// Of the connections, and of the changes on other devices.
    pub(crate) success_percent: f64,
}

/// What is compared with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Measured {
    pub(crate) connects_due: u64,
    pub(crate) connected: u64,
    pub(crate) connect_p95_us: Option<u64>,
    /// Changes, once for each device on which they were to arrive.
    pub(crate) arrivals_due: u64,
    pub(crate) arrived: u64,
    pub(crate) arrival_p95_us: Option<u64>,
}

impl Limits {
    pub(crate) fn checks(&self, measured: &Measured) -> [Check; 4] {
        let Measured { connects_due, connected, arrivals_due, arrived, .. } = *measured;
        let percent = self.success_percent;
        [
            Check::within("95% connected within", measured.connect_p95_us, self.connect_p95_us),
            Check::within(
                "95% of changes on other devices within",
                measured.arrival_p95_us,
                self.arrival_p95_us,
            ),
            Check::part("devices that connected", connected, connects_due, percent),
            Check::part("changes that reached other devices", arrived, arrivals_due, percent),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::summary::Verdict;

    const LIMITS: Limits =
        Limits { connect_p95_us: 1_000_000, arrival_p95_us: 50_000, success_percent: 99.0 };

    const GOOD: Measured = Measured {
        connects_due: 100,
        connected: 99,
        connect_p95_us: Some(1_000_000),
        arrivals_due: 1000,
        arrived: 990,
        arrival_p95_us: Some(50_000),
    };

    fn broken(measured: Measured) -> Vec<String> {
        let checks = LIMITS.checks(&measured).into_iter();
        checks.filter(|check| check.verdict == Verdict::Broken).map(|check| check.name).collect()
    }

    #[test]
    fn each_limit_holds_up_to_itself_and_breaks_beyond() {
        assert!(broken(GOOD).is_empty());
        for (measured, name) in [
            (Measured { connect_p95_us: Some(1_000_001), ..GOOD }, "95% connected within"),
            (Measured { arrival_p95_us: Some(50_001), ..GOOD }, "95% of changes on other devices within"),
            (Measured { connected: 98, ..GOOD }, "devices that connected"),
            (Measured { arrived: 989, ..GOOD }, "changes that reached other devices"),
        ] {
            assert_eq!(broken(measured), [name]);
        }
        assert_eq!(broken(Measured::default()).len(), 4, "nothing happened");
    }
}
