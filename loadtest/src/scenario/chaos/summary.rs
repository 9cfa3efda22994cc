//! What a run found, as a table, a verdict and stories.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::json;

use super::{
    plan::Outage,
    story,
    timeline::{self, Overcome, Series},
};
use crate::{
    check::{
        Fault, Promise,
        history::{self, Moment, Saw, StreamHistory},
    },
    measure::summary::{Check, Outcome, Summary},
    users::{fleet::Connections, record::Links},
};

/// Violations that are told one by one; of further ones only how many.
const TOLD_MAX: usize = 20;

/// Violations whose history is told.
const STORIES_MAX: usize = 5;

/// Faults that have a line of their own in the table.
const FAULTS_SHOWN_MAX: usize = 30;

/// All that is known at the end.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) seed: u64,
    /// When the load began.
    pub(super) begun: Moment,
    pub(super) connections: Connections,
    pub(super) links: Vec<Links>,
    pub(super) faults: Vec<Outage>,
    /// Faults that the plan has.
    pub(super) planned: usize,
    pub(super) streams: Vec<StreamHistory>,
    /// By stream.
    pub(super) wrong: Vec<Vec<Fault>>,
    /// Whether nothing that is done to the cluster may begin a new history: it was started here, and its
    /// database keeps what it has committed.
    pub(super) durable: bool,
}

/// What became of the changes.
#[derive(Debug, Default)]
struct Changes {
    asked: u64,
    acked: u64,
    /// By code.
    refused: BTreeMap<String, u64>,
    unknown: u64,
}

impl Changes {
    fn of(streams: &[StreamHistory]) -> Self {
        let mut changes = Self::default();
        for op in streams.iter().flat_map(|stream| &stream.ops) {
            changes.asked += 1;
            match &op.outcome {
                history::Outcome::Acked(_) => changes.acked += 1,
                history::Outcome::Refused(code) => *changes.refused.entry(code.clone()).or_default() += 1,
                history::Outcome::Unknown => changes.unknown += 1,
            }
        }
        changes
    }
}

impl Found {
    /// The outcome of a run with these settings, in words.
    pub(super) fn outcome(&self, settings: &str) -> Outcome {
        let mut summary = Summary::new("chaos", format!("{settings}, --seed {}", self.seed));
        self.load(&mut summary);
        let overcome = timeline::overcome(&self.faults, &self.streams, &self.links);
        self.faults(&mut summary, &overcome);
        summary.put("seed", self.seed);
        summary.put("load_began_seconds", self.begun as f64 / 1e6);
        summary.put("series", Series::of(&self.streams));
        self.verdict(&mut summary);
        let (told, text) = self.told();
        summary.put("violations", told);
        let mut outcome = summary.outcome();
        outcome.text += &text;
        outcome
    }

    fn load(&self, summary: &mut Summary) {
        let changes = Changes::of(&self.streams);
        let refused: u64 = changes.refused.values().sum();
        summary.row(
            "Changes",
            format!(
                "{} asked for, {} acknowledged, {refused} refused, {} never answered",
                changes.asked, changes.acked, changes.unknown
            ),
        );
        let saw =
            || self.streams.iter().flat_map(|stream| &stream.followers).flat_map(|follower| &follower.saw);
        let delivered = saw().filter(|(_, saw)| matches!(saw, Saw::Event { .. })).count();
        let skips = saw().filter(|(_, saw)| matches!(saw, Saw::Skip { .. })).count();
        let followers: usize = self.streams.iter().map(|stream| stream.followers.len()).sum();
        summary.row(
            "Deliveries",
            format!("{delivered} events, to {followers} followers of {} streams", self.streams.len()),
        );
        let connections = &self.connections;
        summary.row("Connections", format!("{}, {skips} skips", connections.came_back()));
        summary.put("invocations", changes.asked);
        summary.put("acked", changes.acked);
        summary.put("refused", &changes.refused);
        summary.put("unknown", changes.unknown);
        summary.put("deliveries", delivered);
        summary.put("resumes", connections.resumes);
        summary.put("connections", connections);
    }

    fn faults(&self, summary: &mut Summary, overcome: &[Overcome]) {
        summary.row("Faults", format!("{} of {} planned", overcome.len(), self.planned));
        for fault in overcome.iter().take(FAULTS_SHOWN_MAX) {
            let live = fault.recovery_seconds.map_or_else(
                || "not all live again".to_owned(),
                |seconds| format!("all live again {seconds:.2} s later"),
            );
            let lost = match (fault.lost, fault.back_seconds) {
                (0, _) => String::new(),
                (lost, Some(back)) => format!("{lost} devices lost it and were back after {back:.2} s, "),
                (lost, None) => format!("{lost} devices lost it, not all came back, "),
            };
            let with = if fault.alone { "" } else { ", with others" };
            let (at, lasted) = (fault.began, fault.mended - fault.began);
            summary.row(
                format!("  {at:.1} s"),
                format!("{} {} for {lasted:.1} s, {lost}{live}{with}", fault.part, fault.how.done()),
            );
        }
        summary.put("faults", overcome);
    }

    fn verdict(&self, summary: &mut Summary) {
        let count = |promise| {
            let of = |fault: &&Fault| fault.promise() == promise;
            self.wrong.iter().flatten().filter(of).count() as u64
        };
        for promise in Promise::ALL {
            summary.check(Check::none(promise.breaches(), count(promise)));
        }
        summary.check(Check::none("devices without a connection at the end", self.connections.offline));
        let anew = self.streams.iter().filter(|stream| stream.began_anew()).count() as u64;
        summary.put("epoch_changes", anew);
        if self.durable {
            summary.check(Check::none("streams that began a new history", anew));
        } else if anew > 0 {
            summary.note(format!(
                "{anew} streams began a new history (another epoch): there, acknowledged changes were compared by \
                 value, not by number"
            ));
        }
    }

    /// The violations for programs, and for people.
    fn told(&self) -> (Vec<serde_json::Value>, String) {
        let all = || {
            self.streams
                .iter()
                .zip(&self.wrong)
                .flat_map(|(stream, wrong)| wrong.iter().map(move |wrong| (stream, wrong)))
        };
        let mut told = Vec::new();
        let mut text = String::new();
        for (number, (stream, wrong)) in all().take(TOLD_MAX).enumerate() {
            let history = if number < STORIES_MAX {
                story::around(stream, wrong, &self.faults, &self.links)
            } else {
                Vec::new()
            };
            // A String takes everything.
            let _ = writeln!(text, "\n{}: {wrong}", stream.name);
            for line in &history {
                let _ = writeln!(text, "{line}");
            }
            told.push(json!({ "stream": stream.name, "what": wrong.to_string(), "history": history }));
        }
        let more = all().count().saturating_sub(TOLD_MAX);
        if more > 0 {
            let _ = writeln!(text, "\nand {more} more");
        }
        (told, text)
    }
}
