//! What became of users' edits, all users together: judged user by user, so that nothing of one who has
//! left has to be kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::Serialize;

use super::{
    arrivals::Arrival,
    fleet::{Connections, User},
};
use crate::{
    check::{
        Fault, Promise, check,
        history::{Moment, Op, Outcome, Saw, StreamHistory, What},
    },
    measure::{
        latency::{Latency, Percentiles},
        summary::{Check, Summary},
    },
};

/// Faults that are told one by one; of further ones only how many.
const FAULTS_TOLD_MAX: usize = 20;

/// Devices with faults that are told apart; of a run with more, that many are counted.
const DEVICES_KNOWN_MAX: usize = 10_000;

/// What was found so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) commands: Commands,
    /// From the intended moment of sending to the acknowledgement.
    answered: Latency,
    expected: u64,
    from_intended: Latency,
    from_ack: Latency,
    connections: Connections,
    verified: Verified,
    pub(crate) broken: Broken,
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
    errors: BTreeMap<String, u64>,
    /// Without an answer at the end: they may have been carried out.
    unanswered: u64,
}

/// Acknowledged changes on the devices that did not make them.
#[derive(Debug, Serialize)]
struct Deliveries {
    expected: u64,
    /// From the intended moment of sending.
    from_intended: Percentiles,
    /// From when its author had the acknowledgement; zero where the others were faster.
    from_ack: Percentiles,
}

/// What was looked at in the end.
#[derive(Debug, Default, Serialize)]
struct Verified {
    users: u64,
    devices: u64,
    drafts: u64,
    /// Events received, on all devices together.
    events: u64,
    /// Acknowledged commands, those that made the drafts included.
    acked: u64,
    /// Users whose stream began a new history, in which acknowledged changes may be lost.
    epoch_changes: u64,
}

/// The promises that were broken.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Broken {
    /// How many faults of each kind.
    gaps: u64,
    repeats: u64,
    reorders: u64,
    /// Devices short of the head, or with something else than the database.
    not_converged: u64,
    /// Acknowledged changes that are missing somewhere, or acknowledged wrongly.
    acknowledged: u64,
    others: u64,
    /// The first of them.
    told: Vec<String>,
    /// The devices that they were found on.
    #[serde(skip)]
    devices: BTreeSet<String>,
}

impl Broken {
    fn add(&mut self, stream: &str, fault: &Fault) {
        let count = match (fault, fault.promise()) {
            (Fault::Gap { .. } | Fault::Skipped { .. } | Fault::Log { .. }, _) => &mut self.gaps,
            (_, Promise::Once) => &mut self.repeats,
            (_, Promise::Order) => &mut self.reorders,
            (_, Promise::Equal) => &mut self.not_converged,
            (_, Promise::Kept) => &mut self.acknowledged,
            (_, Promise::Content | Promise::Protocol) => &mut self.others,
        };
        *count += 1;
        if let Some(device) = fault.about().device
            && self.devices.len() < DEVICES_KNOWN_MAX
        {
            self.devices.insert(device.to_owned());
        }
        if self.told.len() < FAULTS_TOLD_MAX {
            self.told.push(format!("{stream}: {fault}"));
        }
    }

    fn total(&self) -> u64 {
        self.gaps + self.repeats + self.reorders + self.not_converged + self.acknowledged + self.others
    }
}

/// How long something took; no time when it was the other way round.
fn waited(from: Moment, to: Moment) -> Duration {
    Duration::from_micros(to.saturating_sub(from))
}

impl Arrival {
    /// From the intended moment.
    pub(crate) fn waited(&self) -> Duration {
        waited(self.intended, self.at)
    }
}

impl Tally {
    /// With what was found before.
    pub(crate) fn with(broken: Broken) -> Self {
        Self { broken, ..Self::default() }
    }

    /// Counts a change that has reached a device.
    pub(crate) fn arrived(&mut self, arrival: &Arrival) {
        self.from_intended.record(arrival.waited());
        // Others may well have it before its author has the answer.
        self.from_ack.record(waited(arrival.answered, arrival.at));
    }

    /// How long changes took to other devices.
    pub(crate) fn arrivals(&self) -> Percentiles {
        self.from_intended.percentiles()
    }

    /// Judges a user whose edits are over.
    pub(crate) fn judge(&mut self, user: &User, history: &StreamHistory) {
        let is_edit = |op: &&Op| matches!(op.what, What::Edit { .. });
        for op in history.ops.iter().filter(is_edit) {
            self.commands.sent += 1;
            match &op.outcome {
                Outcome::Acked(seq) => {
                    self.commands.acked += 1;
                    self.answered.record(waited(op.intended, op.answered.unwrap_or(op.intended)));
                    // One without an event is a fault, and reaches nobody.
                    self.expected += u64::from(seq.is_some()) * (user.devices.len() as u64 - 1);
                }
                Outcome::Refused(code) if code == "conflict" => self.commands.conflicts += 1,
                Outcome::Refused(code) => *self.commands.errors.entry(code.clone()).or_default() += 1,
                Outcome::Unknown => self.commands.unanswered += 1,
            }
        }
        let verified = &mut self.verified;
        verified.users += 1;
        verified.devices += user.devices.len() as u64;
        verified.drafts += history.stored.drafts.len() as u64;
        let saw = history.followers.iter().flat_map(|follower| &follower.saw);
        verified.events += saw.filter(|(_, saw)| matches!(saw, Saw::Event { .. })).count() as u64;
        let acked = |op: &&Op| matches!(op.outcome, Outcome::Acked(_));
        verified.acked += history.ops.iter().filter(acked).count() as u64;
        verified.epoch_changes += u64::from(history.began_anew());
        let found = user.devices.iter().flat_map(|member| member.found(|stream| stream == "user"));
        for fault in check(history).into_iter().chain(found) {
            self.broken.add(&history.name, &fault);
        }
        self.connections.add(user);
    }

    /// Adds what was found to a summary: the table, and every promise.
    pub(crate) fn tell(self, summary: &mut Summary) {
        let Self { commands, answered, expected, from_intended, from_ack, connections, verified, broken } =
            self;
        let planned =
            if commands.planned > 0 { format!("{} planned, ", commands.planned) } else { String::new() };
        summary.row(
            "commands",
            format!(
                "{planned}{} sent, {} acknowledged, {} conflicts, {} unanswered, errors: {}",
                commands.sent,
                commands.acked,
                commands.conflicts,
                commands.unanswered,
                counts(&commands.errors),
            ),
        );
        let answered = answered.percentiles();
        let [from_intended, from_ack] = [from_intended, from_ack].map(|latency| latency.percentiles());
        summary.row("  to ack", answered.to_string());
        summary.row("deliveries", format!("{} of {expected} on other devices", from_intended.count));
        summary.row("  from send", from_intended.to_string());
        summary.row("  from ack", from_ack.to_string());
        summary.row(
            "connections",
            format!(
                "now: {}, offline {}; made: {}",
                counts(&connections.by_node),
                connections.offline,
                counts(&connections.made_by_node),
            ),
        );
        summary.row("  came back", connections.came_back());
        summary.row(
            "verified",
            format!(
                "{} devices, {} drafts of {} users, {} events received, {} commands acknowledged",
                verified.devices, verified.drafts, verified.users, verified.events, verified.acked
            ),
        );
        if verified.epoch_changes > 0 {
            summary.note(format!(
                "for {} users a new history began (another epoch): their acknowledged commands were compared by value, \
                 not by number",
                verified.epoch_changes
            ));
        }
        for fault in &broken.told {
            summary.note(fault.clone());
        }
        let more = broken.total() - broken.told.len() as u64;
        if more > 0 {
            summary.note(format!("and {more} more"));
        }
        summary.check_all([
            Check::none("devices unlike the database, or not at its head", broken.not_converged),
            Check::none("events missing", broken.gaps),
            Check::none("events repeated", broken.repeats),
            Check::none("events out of order", broken.reorders),
            Check::none("acknowledged changes missing, or acknowledged wrongly", broken.acknowledged),
            Check::none("other faults", broken.others),
            Check::none("devices with any fault", broken.devices.len() as u64),
        ]);
        summary.put("commands", commands);
        summary.put("answered", answered);
        summary.put("deliveries", Deliveries { expected, from_intended, from_ack });
        summary.put("connections", connections);
        summary.put("verified", verified);
        summary.put("broken", broken);
    }
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    let each = counts.iter().map(|(name, count)| format!("{name} {count}"));
    each.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(faults: &[Fault]) -> Summary {
        let mut tally = Tally::default();
        for fault in faults {
            tally.broken.add("the stream of u", fault);
        }
        let mut summary = Summary::new("drafts", "");
        tally.tell(&mut summary);
        summary
    }

    #[test]
    fn one_fault_breaks_a_run_and_is_told() {
        assert!(summary(&[]).held());
        let repeat = |seq| Fault::Repeat { device: "u/d1".to_owned(), seq };
        let value = Fault::Value { draft: "a".to_owned(), field: "d1".to_owned(), acked: 3, stored: None };
        let summary = summary(&[repeat(3), repeat(4), value]);
        assert!(!summary.held());
        let outcome = summary.outcome();
        assert!(outcome.text.contains("the stream of u: u/d1: event 3 came again"), "{}", outcome.text);
        assert!(outcome.text.contains("BROKEN  devices with any fault"), "{}", outcome.text);
        assert_eq!(outcome.json["checks"][6]["measured"], "1", "{}", outcome.text);
    }

    #[test]
    fn of_many_faults_some_are_told_and_all_are_counted() {
        let faults: Vec<Fault> = (0..50).map(|seq| Fault::Lost { op: 1, seq, instead: None }).collect();
        let outcome = summary(&faults).outcome();
        assert_eq!(outcome.json["checks"][4]["measured"], "50", "{}", outcome.text);
        assert!(outcome.text.contains("and 30 more"), "{}", outcome.text);
        assert_eq!(outcome.json["broken"]["acknowledged"], 50);
    }
}
