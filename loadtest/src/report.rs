//! What a run found, for people and as JSON.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use serde::Serialize;

use crate::{
    checks::Fault,
    effort::{Costs, Effort},
    fleet::Connections,
    latency::Percentiles,
    outcome::{Check, Summary},
};

/// Faults that are told one by one; of further ones only how many.
const FAULTS_TOLD_MAX: usize = 20;

/// Devices with faults that are told apart; of a run with more, that many are counted.
const DEVICES_KNOWN_MAX: usize = 10_000;

/// A whole run.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) scenario: &'static str,
    /// How long the load went on.
    pub(crate) edited_seconds: f64,
    pub(crate) commands: Commands,
    /// From the intended moment of sending to the acknowledgement.
    pub(crate) answered: Percentiles,
    pub(crate) deliveries: Deliveries,
    pub(crate) connections: Connections,
    pub(crate) spent: Option<Spent>,
    pub(crate) verified: Verified,
    pub(crate) broken: Broken,
}

/// What the load has cost, from its beginning until its last answer.
#[derive(Debug, Serialize)]
pub(crate) struct Spent {
    effort: Effort,
    /// For each event that a device received, its author's included.
    each_delivery: Costs,
    /// For each event that another device than its author's received.
    each_other: Costs,
}

impl Spent {
    pub(crate) fn of(effort: Effort, deliveries: u64, others: u64) -> Self {
        Self { each_delivery: effort.costs(deliveries), each_other: effort.costs(others), effort }
    }
}

/// What became of the commands of the load.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Commands {
    /// How many the whole run would have had.
    pub(crate) planned: u64,
    pub(crate) sent: u64,
    pub(crate) acked: u64,
    pub(crate) conflicts: u64,
    /// Other refusals by code.
    pub(crate) errors: BTreeMap<String, u64>,
    /// Without an answer at the end: they may have been carried out.
    pub(crate) unanswered: u64,
}

/// Acknowledged changes on the devices that did not make them.
#[derive(Debug, Serialize)]
pub(crate) struct Deliveries {
    pub(crate) expected: u64,
    /// From the intended moment of sending.
    pub(crate) from_intended: Percentiles,
    /// From when its author had the acknowledgement; zero where the others were faster.
    pub(crate) from_ack: Percentiles,
}

/// What was looked at in the end.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Verified {
    pub(crate) users: u64,
    pub(crate) devices: u64,
    pub(crate) drafts: u64,
    /// Events received, on all devices together.
    pub(crate) events: u64,
    /// Acknowledged commands, those that made the drafts included.
    pub(crate) acked: u64,
    /// Users whose stream began a new history, in which acknowledged changes may be lost.
    pub(crate) epoch_changes: u64,
}

/// The promises that were broken.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Broken {
    /// How many faults of each kind.
    pub(crate) gaps: u64,
    pub(crate) repeats: u64,
    pub(crate) reorders: u64,
    /// Devices short of the head, or with other drafts than the database.
    pub(crate) not_converged: u64,
    /// Acknowledged changes that are missing somewhere, or acknowledged wrongly.
    pub(crate) acknowledged: u64,
    pub(crate) others: u64,
    /// The first of them.
    pub(crate) told: Vec<String>,
    /// The devices that they were found on.
    #[serde(skip)]
    devices: BTreeSet<String>,
}

impl Broken {
    pub(crate) fn add(&mut self, user: &str, fault: &Fault) {
        let count = match fault {
            Fault::Gap { .. } => &mut self.gaps,
            Fault::Repeat { .. } => &mut self.repeats,
            Fault::Reorder { .. } => &mut self.reorders,
            Fault::Short { .. } | Fault::Differs { .. } => &mut self.not_converged,
            Fault::Lost { .. } | Fault::NoEvent { .. } | Fault::Shared { .. } | Fault::Value { .. } => {
                &mut self.acknowledged
            }
            Fault::Unasked { .. } | Fault::Found { .. } => &mut self.others,
        };
        *count += 1;
        if let Some(device) = fault.device()
            && self.devices.len() < DEVICES_KNOWN_MAX
        {
            self.devices.insert(format!("{user} {device}"));
        }
        if self.told.len() < FAULTS_TOLD_MAX {
            self.told.push(format!("{user} {fault}"));
        }
    }

    /// How many devices had any fault.
    pub(crate) fn faulty_devices(&self) -> u64 {
        self.devices.len() as u64
    }

    fn total(&self) -> u64 {
        self.gaps + self.repeats + self.reorders + self.not_converged + self.acknowledged + self.others
    }
}

impl Report {
    /// The table, and what decides: every promise, and that enough of the load was carried out to judge by.
    /// `wanted` edits should have been answered, `success_percent` of them at least.
    pub(crate) fn summary(&self, wanted: u64, success_percent: f64) -> Summary {
        let Self { commands, deliveries, connections, verified, broken, .. } = self;
        let mut summary = Summary::new(self.scenario, format!("{:.0} s", self.edited_seconds));
        summary.row(
            "commands",
            format!(
                "{} planned, {} sent, {} acknowledged, {} conflicts, {} unanswered, errors: {}",
                commands.planned,
                commands.sent,
                commands.acked,
                commands.conflicts,
                commands.unanswered,
                counts(&commands.errors),
            ),
        );
        summary.row("  to ack", self.answered.to_string());
        let arrived = deliveries.from_intended.count;
        summary.row("deliveries", format!("{arrived} of {} on other devices", deliveries.expected));
        summary.row("  from send", deliveries.from_intended.to_string());
        summary.row("  from ack", deliveries.from_ack.to_string());
        if let Some(spent) = &self.spent {
            summary.row("processor, each delivery", spent.each_delivery.text());
            spent.effort.tell(&mut summary);
        }
        summary.row(
            "connections",
            format!(
                "now: {}, offline {}; made: {}",
                counts(&connections.by_node),
                connections.offline,
                counts(&connections.made_by_node),
            ),
        );
        summary.row(
            "  came back",
            format!(
                "{} reconnects, {} resumes, {} snapshots, {} commands resent, {} answers to try later",
                connections.reconnects,
                connections.resumes,
                connections.snapshots,
                connections.resent,
                connections.unavailable,
            ),
        );
        summary.row(
            "verified",
            format!(
                "{} devices, {} drafts of {} users, {} events received, {} commands acknowledged",
                verified.devices, verified.drafts, verified.users, verified.events, verified.acked
            ),
        );
        self.notes(&mut summary);

        let answered = commands.acked + commands.conflicts;
        summary.check(Check::part("edits acknowledged, or in conflict", answered, wanted, success_percent));
        summary.check(Check::none("devices unlike the database, or not at its head", broken.not_converged));
        summary.check(Check::none("events missing", broken.gaps));
        summary.check(Check::none("events repeated", broken.repeats));
        summary.check(Check::none("events out of order", broken.reorders));
        summary
            .check(Check::none("acknowledged changes missing, or acknowledged wrongly", broken.acknowledged));
        summary.check(Check::none("other faults", broken.others));
        self.put(&mut summary);
        summary
    }

    fn notes(&self, summary: &mut Summary) {
        let epoch_changes = self.verified.epoch_changes;
        if epoch_changes > 0 {
            summary.note(format!(
                "for {epoch_changes} users a new history began (another epoch): their acknowledged commands were \
                 compared by value, not by number"
            ));
        }
        for fault in &self.broken.told {
            summary.note(fault.clone());
        }
        let more = self.broken.total() - self.broken.told.len() as u64;
        if more > 0 {
            summary.note(format!("and {more} more"));
        }
    }

    fn put(&self, summary: &mut Summary) {
        summary.put("edited_seconds", self.edited_seconds);
        summary.put("commands", &self.commands);
        summary.put("answered", self.answered);
        summary.put("deliveries", &self.deliveries);
        summary.put("connections", &self.connections);
        summary.put("spent", &self.spent);
        summary.put("verified", &self.verified);
        summary.put("broken", &self.broken);
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let mut text = String::new();
    for (name, count) in counts {
        let separator = if text.is_empty() { "" } else { ", " };
        // A String takes everything.
        let _ = write!(text, "{separator}{name} {count}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Latency;

    fn report() -> Report {
        Report {
            scenario: "drafts",
            edited_seconds: 1.0,
            commands: Commands { planned: 10, sent: 10, acked: 9, conflicts: 1, ..Commands::default() },
            answered: Latency::new().percentiles(),
            deliveries: Deliveries {
                expected: 0,
                from_intended: Latency::new().percentiles(),
                from_ack: Latency::new().percentiles(),
            },
            connections: Connections::default(),
            spent: None,
            verified: Verified::default(),
            broken: Broken::default(),
        }
    }

    #[test]
    fn one_fault_breaks_a_run_and_is_told() {
        let mut report = report();
        assert!(report.summary(10, 99.0).held());
        report.broken.add("u", &Fault::Repeat { device: "d1".to_owned(), seq: 3 });
        let summary = report.summary(10, 99.0);
        assert!(!summary.held());
        assert!(summary.to_string().contains("u d1: event 3 came again"), "{summary}");
        report.broken.add("u", &Fault::Repeat { device: "d1".to_owned(), seq: 4 });
        report.broken.add("v", &Fault::Shared { seq: 4 });
        assert_eq!(report.broken.faulty_devices(), 1);
    }

    #[test]
    fn a_run_that_did_too_little_is_broken() {
        let report = report();
        assert!(report.summary(10, 100.0).held());
        assert!(!report.summary(11, 99.0).held());
    }

    #[test]
    fn of_many_faults_some_are_told_and_all_are_counted() {
        let mut report = report();
        for seq in 0..50 {
            report.broken.add("u", &Fault::Lost { device: "d".to_owned(), seq });
        }
        let outcome = report.summary(10, 99.0).outcome();
        assert_eq!(outcome.json["checks"][5]["measured"], "50", "{}", outcome.text);
        assert!(outcome.text.contains("and 30 more"), "{}", outcome.text);
        assert_eq!(outcome.json["broken"]["acknowledged"], 50);
    }
}
