//! What became of users' edits, all users together: judged user by user, so that nothing of one who has
//! left has to be kept.

use std::time::Duration;

use crate::{
    arrivals::{Arrival, waited},
    checks::{self, Change, Outcome},
    fleet::{Connections, User},
    latency::Latency,
    report::{Broken, Commands, Deliveries, Report, Verified},
    settle::Settled,
};

/// What was found so far.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) commands: Commands,
    /// From the intended moment of sending to the acknowledgement.
    pub(crate) answered: Latency,
    pub(crate) expected: u64,
    pub(crate) from_intended: Latency,
    pub(crate) from_ack: Latency,
    pub(crate) connections: Connections,
    pub(crate) verified: Verified,
    pub(crate) broken: Broken,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            commands: Commands::default(),
            answered: Latency::new(),
            expected: 0,
            from_intended: Latency::new(),
            from_ack: Latency::new(),
            connections: Connections::default(),
            verified: Verified::default(),
            broken: Broken::default(),
        }
    }

    /// Counts a change that has reached a device.
    pub(crate) fn arrived(&mut self, arrival: &Arrival) {
        self.from_intended.record(arrival.waited());
        // Others may well have it before its author has the answer.
        self.from_ack.record(waited(arrival.answered, arrival.at));
    }

    /// Judges a user whose edits are over.
    pub(crate) fn judge(&mut self, user: &User, settled: &Settled) {
        let book = user.ledger.book();
        for edit in book.edits.iter().filter(|edit| edit.measured) {
            self.commands.sent += 1;
            match &edit.change.outcome {
                Outcome::Acked(seq) => {
                    self.commands.acked += 1;
                    self.answered.record(waited(edit.intended, edit.answered.unwrap_or(edit.intended)));
                    // One without an event is a fault, and reaches nobody.
                    self.expected += u64::from(seq.is_some()) * (user.devices.len() as u64 - 1);
                }
                Outcome::Refused(code) if code == "conflict" => self.commands.conflicts += 1,
                Outcome::Refused(code) => *self.commands.errors.entry(code.clone()).or_default() += 1,
                Outcome::Unknown => self.commands.unanswered += 1,
            }
        }
        let changes: Vec<Change> = book.edits.iter().map(|edit| edit.change.clone()).collect();
        drop(book);
        let verified = &mut self.verified;
        verified.users += 1;
        verified.devices += user.devices.len() as u64;
        verified.drafts += settled.stored.drafts.len() as u64;
        verified.events += settled.records.iter().map(|record| record.received.len() as u64).sum::<u64>();
        let acked = |change: &&Change| matches!(change.outcome, Outcome::Acked(_));
        verified.acked += changes.iter().filter(acked).count() as u64;
        verified.epoch_changes += u64::from(checks::epoch_changed(&settled.records));
        let faults = checks::judge(&settled.records, &changes, &settled.stored);
        let found = user.devices.iter().flat_map(|member| member.found(|stream| stream == "user"));
        for fault in faults.into_iter().chain(found) {
            self.broken.add(&user.name, &fault);
        }
        self.connections.add(user);
    }

    pub(crate) fn report(self, scenario: &'static str, planned: u64, edited: Duration) -> Report {
        Report {
            scenario,
            edited_seconds: edited.as_secs_f64(),
            commands: Commands { planned, ..self.commands },
            answered: self.answered.percentiles(),
            deliveries: Deliveries {
                expected: self.expected,
                from_intended: self.from_intended.percentiles(),
                from_ack: self.from_ack.percentiles(),
            },
            connections: self.connections,
            spent: None,
            verified: self.verified,
            broken: self.broken,
        }
    }
}
