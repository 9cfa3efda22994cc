//! Whether a stream's history keeps the promises. Pure: history in, faults out.
//!
//! Each event names the change that it reports, so that nothing has to be guessed: which change an
//! acknowledgement stands for, whether one happened twice, and whether something came that nobody asked
//! for. What was never acknowledged may have happened or not, but once.
//!
//! The devices check themselves while they run. This looks at what they were sent without their code, so
//! that a fault in one is not hidden by the same fault in the other.

mod fault;
pub(crate) mod history;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use testkit::device::DraftState;

use self::fault::DATABASE;
pub(crate) use self::fault::{Fault, Promise};
use self::history::{Content, Follower, Op, Outcome, Saw, StreamHistory, What};

/// Judges one stream. Its followers were there before its first change, and nobody else changes it.
pub(crate) fn check(stream: &StreamHistory) -> Vec<Fault> {
    let stored = &stream.stored;
    let mut faults = Vec::new();
    for follower in &stream.followers {
        faults.extend(order(follower, stored.head));
        faults.extend(replica(follower, &stored.drafts));
        faults.extend(resets(follower, stream));
    }
    if let Some(events) = &stored.log {
        faults.extend(log(stored.floor, stored.head, events.iter().map(|(seq, _)| *seq)));
    }
    faults.extend(values(stream));
    let mut seen = Seen::new(stream);
    faults.append(&mut seen.faults);
    // An acknowledgement names no history: with several of them its number may mean another event.
    if !stream.began_anew() {
        let events = seen.events();
        faults.extend(acknowledged(stream, &events));
        faults.extend(torn(stream, &events));
        faults.extend(backwards(&events));
    }
    faults
}

/// Every event once and in order, from each start to the next, and from the last to the head.
fn order(follower: &Follower, head: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let device = || follower.device.clone();
    let mut last = 0;
    let mut known = HashSet::new();
    for (_, saw) in &follower.saw {
        if let Some((_, seq)) = saw.reset() {
            last = seq;
            known.clear();
        }
        let Saw::Event { seq, .. } = *saw else { continue };
        if !known.insert(seq) {
            faults.push(Fault::Repeat { device: device(), seq });
        } else if seq <= last {
            faults.push(Fault::Reorder { device: device(), seq, after: last });
        } else if seq != last + 1 {
            faults.push(Fault::Gap { device: device(), after: last, got: seq });
        }
        last = last.max(seq);
    }
    if last != head {
        faults.push(Fault::Short { device: device(), reached: last, head });
    }
    faults
}

/// The drafts of the device are those of the database.
fn replica(follower: &Follower, stored: &BTreeMap<String, DraftState>) -> Vec<Fault> {
    let ids: BTreeSet<&String> = follower.drafts.keys().chain(stored.keys()).collect();
    let version = |draft: Option<&DraftState>| draft.map_or(0, |draft| draft.version);
    ids.into_iter()
        .map(|id| (id, follower.drafts.get(id), stored.get(id)))
        .filter(|(_, here, stored)| here != stored)
        .map(|(id, here, stored)| Fault::Differs {
            device: follower.device.clone(),
            draft: id.clone(),
            here: version(here),
            stored: version(stored),
        })
        .collect()
}

/// Each device's field of each draft holds the last change of it that was acknowledged, or a later one
/// whose answer was lost.
fn values(stream: &StreamHistory) -> Vec<Fault> {
    let mut fields: BTreeMap<(&str, &str), (u64, Vec<u64>)> = BTreeMap::new();
    for op in &stream.ops {
        let What::Edit { draft, field } = &op.what else { continue };
        let (acked, unknown) = fields.entry((draft, field)).or_default();
        match op.outcome {
            Outcome::Acked(_) => *acked = (*acked).max(op.id),
            Outcome::Unknown => unknown.push(op.id),
            Outcome::Refused(_) => {}
        }
    }
    let fault = |((draft, field), (acked, unknown)): ((&str, &str), (u64, Vec<u64>))| {
        let content = stream.stored.drafts.get(draft).map(|draft| &draft.content);
        let value = content.and_then(|content| content[field].as_u64());
        let right = value.unwrap_or(0) == acked
            || value.is_some_and(|value| value > acked && unknown.contains(&value));
        let fault = Fault::Value { draft: draft.to_owned(), field: field.to_owned(), acked, stored: value };
        (!right).then_some(fault)
    };
    fields.into_iter().filter_map(fault).collect()
}

/// Within one history a follower is never put back, and only what retention has removed is skipped.
fn resets(follower: &Follower, stream: &StreamHistory) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut position: Option<(&str, u64)> = None;
    for (_, saw) in &follower.saw {
        let device = || follower.device.clone();
        if let (Saw::Event { seq, .. }, Some((_, at))) = (saw, &mut position) {
            *at = (*at).max(*seq);
        }
        let Some((epoch, to)) = saw.reset() else { continue };
        let floor = stream.stored.floor;
        if let Some((_, from)) = position.filter(|(known, _)| *known == epoch) {
            if to < from {
                faults.push(Fault::PutBack { device: device(), from, to });
            }
            if matches!(saw, Saw::Skip { .. }) && to > floor {
                faults.push(Fault::Skipped { device: device(), to, floor });
            }
        }
        position = Some((epoch, to));
    }
    faults
}

/// The log that can be read has each number from the floor to the head.
pub(crate) fn log(
    floor: u64,
    head: u64,
    mut seqs: impl DoubleEndedIterator<Item = u64> + Clone,
) -> Option<Fault> {
    let fault = (floor + 1..).zip(seqs.clone()).find(|(expected, got)| expected != got);
    let (expected, got) = fault.or_else(|| {
        let last = seqs.next_back().unwrap_or(floor);
        (last != head).then_some((head, last))
    })?;
    Some(Fault::Log { expected, got })
}

/// The log of a topic, by events' numbers and those of their changes, against the changes that were
/// acknowledged, by the same. More may be there: of those that were not answered.
pub(crate) fn published(floor: u64, head: u64, events: &[(u64, u64)], acked: &[(u64, u64)]) -> Vec<Fault> {
    let mut faults: Vec<Fault> = log(floor, head, events.iter().map(|(seq, _)| *seq)).into_iter().collect();
    let there: HashMap<u64, u64> = events.iter().copied().collect();
    let lost = acked.iter().filter(|(seq, _)| *seq > floor).filter_map(|&(seq, op)| {
        let instead = there.get(&seq).copied();
        (instead != Some(op)).then_some(Fault::Lost { op, seq, instead })
    });
    faults.extend(lost);
    faults
}

/// Which event is which change's, as everybody together has seen it.
struct Seen<'a> {
    ops: HashMap<u64, &'a Op>,
    /// By history and number: the change, and who saw it first.
    events: BTreeMap<(String, u64), (u64, &'a str)>,
    faults: Vec<Fault>,
}

impl<'a> Seen<'a> {
    fn new(stream: &'a StreamHistory) -> Self {
        let ops = stream.ops.iter().map(|op| (op.id, op)).collect();
        let mut seen = Self { ops, events: BTreeMap::new(), faults: Vec::new() };
        for (seq, content) in stream.stored.log.iter().flatten() {
            seen.event(DATABASE, &stream.stored.epoch, *seq, *content);
        }
        for follower in &stream.followers {
            let mut known = "";
            for (_, saw) in &follower.saw {
                known = saw.reset().map_or(known, |(epoch, _)| epoch);
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
            return self.faults.push(Fault::Phantom { seen_by: seen_by(), seq });
        };
        if op.content != content {
            self.faults.push(Fault::Altered { seen_by: seen_by(), seq, op: op.id });
        }
        let (first, other) = *self.events.entry((epoch.to_owned(), seq)).or_insert((op.id, by));
        if first != op.id {
            self.faults.push(Fault::Unequal { seen_by: seen_by(), other: other.to_owned(), seq });
        }
    }

    fn happened_once(&mut self) {
        let mut numbers: HashMap<(&str, u64), u64> = HashMap::new();
        for ((epoch, seq), (op, _)) in &self.events {
            if let Some(first) = numbers.insert((epoch, *op), *seq) {
                self.faults.push(Fault::Twice { op: *op, first, second: *seq });
            }
            if self.ops.get(op).is_some_and(|op| matches!(op.outcome, Outcome::Refused(_))) {
                self.faults.push(Fault::Refused { op: *op, seq: *seq });
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
fn torn(stream: &StreamHistory, events: &BTreeMap<u64, &Op>) -> Vec<Fault> {
    let unseen = unseen(stream);
    let seqs: HashMap<u64, u64> = events.iter().map(|(seq, op)| (op.id, *seq)).collect();
    let mut requests: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for op in &stream.ops {
        if let What::Post { with: Some(first) } = op.what {
            requests.entry(first).or_insert_with(|| vec![first]).push(op.id);
        }
    }
    let mut faults = Vec::new();
    for (first, ops) in requests {
        let mut places = ops.iter().zip(0..).filter_map(|(op, place)| seqs.get(op)?.checked_sub(place));
        // None of them happened, or they are too old for anybody to have seen.
        let Some(begin) = places.next() else { continue };
        let is_there = |op: &u64, seq: u64| seqs.get(op).map_or(seq <= unseen, |at| *at == seq);
        let astray = ops.iter().zip(begin..).find(|(op, seq)| !is_there(op, *seq));
        faults.extend(astray.map(|(op, _)| Fault::Torn { op: *op, first }));
    }
    faults
}

/// What was acknowledged is there, under the number that was said.
fn acknowledged(stream: &StreamHistory, events: &BTreeMap<u64, &Op>) -> Vec<Fault> {
    let unseen = unseen(stream);
    let lost = |op: &Op| match op.outcome {
        Outcome::Acked(Some(seq)) => match events.get(&seq) {
            Some(event) if event.id == op.id => None,
            None if seq <= unseen && seq <= stream.stored.head => None,
            event => Some(Fault::Lost { op: op.id, seq, instead: event.map(|event| event.id) }),
        },
        Outcome::Acked(None) => Some(Fault::NoEvent { client: op.client.clone(), op: op.id }),
        Outcome::Refused(_) | Outcome::Unknown => None,
    };
    stream.ops.iter().filter_map(lost).collect()
}

/// Whoever asks after another was answered comes after it.
fn backwards(events: &BTreeMap<u64, &Op>) -> Vec<Fault> {
    let mut faults = Vec::new();
    // Of the events after the one that is looked at, the one answered first.
    let mut earliest: Option<(u64, &Op)> = None;
    for (&seq, &op) in events.iter().rev() {
        if let Some((after_seq, after)) = earliest
            && after.answered.is_some_and(|answered| answered < op.invoked)
        {
            faults.push(Fault::Backwards { op: op.id, seq, after: after.id, after_seq });
        }
        let acked = matches!(op.outcome, Outcome::Acked(_)).then_some(op.answered).flatten();
        let before = earliest.and_then(|(_, op)| op.answered);
        if acked.is_some_and(|acked| before.is_none_or(|before| acked < before)) {
            earliest = Some((seq, op));
        }
    }
    faults
}

#[cfg(test)]
pub(crate) mod tests;
