//! Whether a stream's history keeps the promises. Pure: history in, violations out.
//!
//! Each event names the change that it reports, so that nothing has to be guessed: which change an
//! acknowledgement stands for, whether one happened twice, and whether something came that nobody asked
//! for. What was never acknowledged may have happened or not, but once.

mod wrong;

use std::collections::{BTreeMap, HashMap, HashSet};

use self::wrong::DATABASE;
pub(super) use self::wrong::{Promise, Wrong};
use super::history::{Content, Follower, Op, Saw, StreamHistory, What};
use crate::checks::{self, Change, Fault, Outcome};

/// Judges one stream. Its followers were there before its first change, and nobody else changes it.
pub(super) fn check(stream: &StreamHistory) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let stored = checks::Stored { seq: stream.stored.head, drafts: stream.stored.drafts.clone() };
    for follower in &stream.followers {
        let record = record(follower);
        wrong.extend(checks::order(&record, stored.seq).into_iter().map(Wrong::Rule));
        wrong.extend(checks::replica(&record, &stored).into_iter().map(Wrong::Rule));
        wrong.extend(resets(follower, stream));
    }
    wrong.extend(log(stream));
    let changes: Vec<Change> = stream.ops.iter().filter_map(change).collect();
    wrong.extend(checks::values(&changes, &stored).into_iter().map(Wrong::Rule));
    let mut seen = Seen::new(stream);
    wrong.append(&mut seen.wrong);
    // An acknowledgement names no history: with several of them its number may mean another event.
    if !began_anew(stream) {
        let events = seen.events();
        wrong.extend(acknowledged(stream, &events));
        wrong.extend(torn(stream, &events));
        wrong.extend(backwards(&events));
    }
    wrong
}

/// Whether the stream's history began anew during the run (another epoch).
pub(super) fn began_anew(stream: &StreamHistory) -> bool {
    let epochs = |follower: &Follower| {
        follower.saw.iter().filter_map(|(_, saw)| epoch(saw).map(str::to_owned)).collect::<Vec<_>>()
    };
    stream.followers.iter().flat_map(epochs).collect::<HashSet<_>>().len() > 1
}

fn epoch(saw: &Saw) -> Option<&str> {
    match saw {
        Saw::Start { epoch, .. } | Saw::Snapshot { epoch, .. } | Saw::Skip { epoch, .. } => Some(epoch),
        Saw::Event { .. } | Saw::Synced { .. } => None,
    }
}

/// A follower as `drafts` knows one.
fn record(follower: &Follower) -> checks::Record {
    let mut record = checks::Record {
        device: follower.device.clone(),
        seq: follower.position().map_or(0, |(_, seq)| seq),
        drafts: follower.drafts.clone(),
        ..checks::Record::default()
    };
    for (_, saw) in &follower.saw {
        match saw {
            Saw::Start { epoch, seq } | Saw::Snapshot { epoch, seq } | Saw::Skip { epoch, seq } => {
                let seen_before = record.received.len();
                record.starts.push(testkit::device::Start {
                    epoch: epoch.to_string(),
                    seq: *seq,
                    seen_before,
                });
            }
            Saw::Event { seq, .. } => record.received.push(*seq),
            Saw::Synced { .. } => {}
        }
    }
    record
}

fn change(op: &Op) -> Option<Change> {
    let What::Edit { draft, field } = &op.what else { return None };
    let (device, draft) = (field.clone(), draft.clone());
    Some(Change { device, draft, value: op.id, outcome: op.outcome.clone() })
}

/// Within one history a follower is never put back, and only what retention has removed is skipped.
fn resets(follower: &Follower, stream: &StreamHistory) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    let mut position: Option<(&str, u64)> = None;
    for (_, saw) in &follower.saw {
        let device = || follower.device.clone();
        match saw {
            Saw::Start { epoch, seq } | Saw::Snapshot { epoch, seq } | Saw::Skip { epoch, seq } => {
                let (to, floor) = (*seq, stream.stored.floor);
                if let Some((_, from)) = position.filter(|(known, _)| *known == &**epoch) {
                    if to < from {
                        wrong.push(Wrong::PutBack { device: device(), from, to });
                    }
                    if matches!(saw, Saw::Skip { .. }) && to > floor {
                        wrong.push(Wrong::Skipped { device: device(), to, floor });
                    }
                }
                position = Some((epoch, to));
            }
            Saw::Event { seq, .. } => {
                if let Some((_, at)) = &mut position {
                    *at = (*at).max(*seq);
                }
            }
            Saw::Synced { .. } => {}
        }
    }
    wrong
}

/// What can be read of the log has each number from the floor to the head.
fn log(stream: &StreamHistory) -> Option<Wrong> {
    let stored = &stream.stored;
    let mut seqs = stored.log.as_ref()?.iter().map(|(seq, _)| *seq);
    let wrong = (stored.floor + 1..).zip(seqs.clone()).find(|(expected, got)| expected != got);
    let (expected, got) = wrong.or_else(|| {
        let last = seqs.next_back().unwrap_or(stored.floor);
        (last != stored.head).then_some((stored.head, last))
    })?;
    Some(Wrong::Log { expected, got })
}

/// Which event is which change's, as everybody together has seen it.
struct Seen<'a> {
    ops: HashMap<u64, &'a Op>,
    /// By history and number: the change, and who saw it first.
    events: BTreeMap<(String, u64), (u64, &'a str)>,
    wrong: Vec<Wrong>,
}

impl<'a> Seen<'a> {
    fn new(stream: &'a StreamHistory) -> Self {
        let ops = stream.ops.iter().map(|op| (op.id, op)).collect();
        let mut seen = Self { ops, events: BTreeMap::new(), wrong: Vec::new() };
        for (seq, content) in stream.stored.log.iter().flatten() {
            seen.event(DATABASE, &stream.stored.epoch, *seq, *content);
        }
        for follower in &stream.followers {
            let mut known = "";
            for (_, saw) in &follower.saw {
                known = epoch(saw).unwrap_or(known);
                if let Saw::Event { seq, content } = saw {
                    seen.event(&follower.device, known, *seq, *content);
                }
            }
        }
        seen.happened_once();
        seen
    }

    fn event(&mut self, by: &'a str, epoch: &str, seq: u64, content: Content) {
        let seen_by = || by.to_owned();
        let Some(op) = content.op.and_then(|op| self.ops.get(&op)) else {
            return self.wrong.push(Wrong::Phantom { seen_by: seen_by(), seq });
        };
        if op.content != content {
            self.wrong.push(Wrong::Altered { seen_by: seen_by(), seq, op: op.id });
        }
        let (first, other) = *self.events.entry((epoch.to_owned(), seq)).or_insert((op.id, by));
        if first != op.id {
            self.wrong.push(Wrong::Unequal { seen_by: seen_by(), other: other.to_owned(), seq });
        }
    }

    fn happened_once(&mut self) {
        let mut numbers: HashMap<(&str, u64), u64> = HashMap::new();
        for ((epoch, seq), (op, _)) in &self.events {
            if let Some(first) = numbers.insert((epoch, *op), *seq) {
                self.wrong.push(Wrong::Twice { op: *op, first, second: *seq });
            }
            if self.ops.get(op).is_some_and(|op| matches!(op.outcome, Outcome::Refused(_))) {
                self.wrong.push(Wrong::Refused { op: *op, seq: *seq });
            }
        }
    }

    /// Changes by number, of a stream with one history.
    fn events(&self) -> BTreeMap<u64, &'a Op> {
        let op = |((_, seq), (op, _)): (&(String, u64), &(u64, &str))| Some((*seq, *self.ops.get(op)?));
        self.events.iter().filter_map(op).collect()
    }
}

/// Up to which event it may be that nobody has seen it: all have been given a later state, or were told
/// that it is gone.
fn unseen(stream: &StreamHistory) -> u64 {
    let given = |follower: &Follower| {
        let resets = follower.saw.iter().filter_map(|(_, saw)| match saw {
            Saw::Snapshot { seq, .. } | Saw::Skip { seq, .. } => Some(*seq),
            _ => None,
        });
        resets.max().unwrap_or(0)
    };
    stream.followers.iter().map(given).min().unwrap_or(0)
}

/// What was asked for in one request is there one after the other, or not at all.
fn torn(stream: &StreamHistory, events: &BTreeMap<u64, &Op>) -> Vec<Wrong> {
    let unseen = unseen(stream);
    let seqs: HashMap<u64, u64> = events.iter().map(|(seq, op)| (op.id, *seq)).collect();
    let mut requests: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for op in &stream.ops {
        if let What::Post { with: Some(first) } = op.what {
            requests.entry(first).or_insert_with(|| vec![first]).push(op.id);
        }
    }
    let mut wrong = Vec::new();
    for (first, ops) in requests {
        let mut places = ops.iter().zip(0..).filter_map(|(op, place)| seqs.get(op)?.checked_sub(place));
        // None of them happened, or they are too old for anybody to have seen.
        let Some(begin) = places.next() else { continue };
        let is_there = |op: &u64, seq: u64| seqs.get(op).map_or(seq <= unseen, |at| *at == seq);
        let astray = ops.iter().zip(begin..).find(|(op, seq)| !is_there(op, *seq));
        wrong.extend(astray.map(|(op, _)| Wrong::Torn { op: *op, first }));
    }
    wrong
}

/// What was acknowledged is there, under the number that was said.
fn acknowledged(stream: &StreamHistory, events: &BTreeMap<u64, &Op>) -> Vec<Wrong> {
    let unseen = unseen(stream);
    let lost = |op: &Op| match op.outcome {
        Outcome::Acked(Some(seq)) => match events.get(&seq) {
            Some(event) if event.id == op.id => None,
            None if seq <= unseen && seq <= stream.stored.head => None,
            event => Some(Wrong::Lost { op: op.id, seq, instead: event.map(|event| event.id) }),
        },
        Outcome::Acked(None) => {
            let (device, value) = (op.client.clone(), op.id);
            let draft = match &op.what {
                What::Create { draft } | What::Edit { draft, .. } => draft.clone(),
                What::Publish | What::Post { .. } => stream.name.clone(),
            };
            Some(Wrong::Rule(Fault::NoEvent { device, draft, value }))
        }
        Outcome::Refused(_) | Outcome::Unknown => None,
    };
    stream.ops.iter().filter_map(lost).collect()
}

/// Whoever asks after another was answered comes after it.
fn backwards(events: &BTreeMap<u64, &Op>) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    // Of the events after the one that is looked at, the one answered first.
    let mut earliest: Option<(u64, &Op)> = None;
    for (&seq, &op) in events.iter().rev() {
        if let Some((after_seq, after)) = earliest
            && after.answered.is_some_and(|answered| answered < op.invoked)
        {
            wrong.push(Wrong::Backwards { op: op.id, seq, after: after.id, after_seq });
        }
        let acked = matches!(op.outcome, Outcome::Acked(_)).then_some(op.answered).flatten();
        let before = earliest.and_then(|(_, op)| op.answered);
        if acked.is_some_and(|acked| before.is_none_or(|before| acked < before)) {
            earliest = Some((seq, op));
        }
    }
    wrong
}

#[cfg(test)]
mod tests;
