//! What each device must have seen, judged by what it received, what was acknowledged and what the
//! database has. Pure: values in, faults out.
//!
//! The devices check themselves while they run. This looks at their records once more, without their
//! code, so that a fault in one is not hidden by the same fault in the other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

use testkit::{
    Ack, Refused,
    device::{DraftState, Start},
};

/// What the database has of one user.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Stored {
    /// The head of the user's stream.
    pub(crate) seq: u64,
    /// The drafts at it.
    pub(crate) drafts: BTreeMap<String, DraftState>,
}

/// What one device has and how it came by it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    pub(crate) device: String,
    /// Where it began to follow without the events before.
    pub(crate) starts: Vec<Start>,
    /// The numbers of the user's stream, as received.
    pub(crate) received: Vec<u64>,
    /// Where it says that it stands.
    pub(crate) seq: u64,
    pub(crate) drafts: BTreeMap<String, DraftState>,
}

impl Record {
    /// Whether it has what the database has.
    pub(crate) fn agrees(&self, stored: &Stored) -> bool {
        self.seq == stored.seq && self.drafts == stored.drafts
    }

    /// Whether it has the event, or a state that includes it.
    fn has(&self, received: &HashSet<u64>, seq: u64) -> bool {
        received.contains(&seq) || self.starts.iter().any(|start| start.seq >= seq)
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Acknowledged, with the number of its event.
    Acked(Option<u64>),
    /// Refused with a code: nothing was changed.
    Refused(String),
    /// Without an answer: it may have been carried out, once.
    Unknown,
}

impl Outcome {
    /// Of a device's command.
    pub(crate) fn of(answer: &Result<Ack, Refused>) -> Self {
        match answer {
            Ok(ack) => Self::Acked(ack.seq),
            // The device's own words for not knowing.
            Err(refused) if matches!(refused.code.as_str(), "timeout" | "closed") => Self::Unknown,
            Err(refused) => Self::Refused(refused.code.clone()),
        }
    }
}

/// One change that a device asked for: of its own field of a draft, to a value that grows.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) device: String,
    pub(crate) draft: String,
    pub(crate) value: u64,
    pub(crate) outcome: Outcome,
}

/// A promise that was broken, to one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An event is missing between these two.
    Gap { device: String, after: u64, got: u64 },
    /// An event came again.
    Repeat { device: String, seq: u64 },
    /// An event came for the first time, but after later ones.
    Reorder { device: String, seq: u64, after: u64 },
    /// The events received do not lead to the head.
    Short { device: String, reached: u64, head: u64 },
    /// A draft is another than in the database; versions are zero where there is none.
    Differs { device: String, draft: String, here: u64, stored: u64 },
    /// An acknowledged change did not reach a device.
    Lost { device: String, seq: u64 },
    /// An acknowledged change has no event.
    NoEvent { device: String, draft: String, value: u64 },
    /// Two acknowledged changes name one event.
    Shared { seq: u64 },
    /// More events came than commands may have caused; one of them, and how many.
    Unasked { seq: u64, count: u64 },
    /// The database has another value than the last acknowledged, or one after it.
    Value { draft: String, field: String, acked: u64, stored: Option<u64> },
    /// What a device itself found wrong.
    Found { device: String, what: String },
}

impl Fault {
    /// The device that it was found on; `None` when it is none's.
    pub(crate) fn device(&self) -> Option<&str> {
        match self {
            Self::Gap { device, .. }
            | Self::Repeat { device, .. }
            | Self::Reorder { device, .. }
            | Self::Short { device, .. }
            | Self::Differs { device, .. }
            | Self::Lost { device, .. }
            | Self::NoEvent { device, .. }
            | Self::Found { device, .. } => Some(device),
            Self::Shared { .. } | Self::Unasked { .. } | Self::Value { .. } => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap { device, after, got } => write!(f, "{device}: event {got} came right after {after}"),
            Self::Repeat { device, seq } => write!(f, "{device}: event {seq} came again"),
            Self::Reorder { device, seq, after } => write!(f, "{device}: event {seq} came after {after}"),
            Self::Short { device, reached, head } => {
                write!(f, "{device}: its events lead to {reached}, the head is {head}")
            }
            Self::Differs { device, draft, here, stored } => {
                write!(f, "{device}: draft {draft} is at version {here}, in the database at {stored}")?;
                if here == stored { f.write_str(", with another content") } else { Ok(()) }
            }
            Self::Lost { device, seq } => {
                write!(f, "{device}: event {seq} was acknowledged and never came")
            }
            Self::NoEvent { device, draft, value } => {
                write!(f, "{device}: change {value} of draft {draft} was acknowledged without an event")
            }
            Self::Shared { seq } => write!(f, "two changes were acknowledged as event {seq}"),
            Self::Unasked { seq, count } => {
                write!(f, "{count} events that no command explains, the first is {seq}")
            }
            Self::Value { draft, field, acked, stored } => match stored {
                Some(stored) => {
                    write!(f, "draft {draft}: {field} is {stored} in the database, acknowledged was {acked}")
                }
                None => write!(f, "draft {draft}: {field} is not in the database, acknowledged was {acked}"),
            },
            Self::Found { device, what } => write!(f, "{device}: {what}"),
        }
    }
}

/// Judges one user's records. The devices were connected before the first change, and nobody else
/// changes this user's drafts.
pub(crate) fn judge(records: &[Record], changes: &[Change], stored: &Stored) -> Vec<Fault> {
    let mut faults = Vec::new();
    for record in records {
        faults.extend(order(record, stored.seq));
        faults.extend(replica(record, stored));
    }
    faults.extend(accounts(records, changes));
    faults.extend(values(changes, stored));
    faults
}

/// Whether the stream's history began anew while the devices followed it, so that numbers before and
/// after mean different events.
pub(crate) fn epoch_changed(records: &[Record]) -> bool {
    let epochs: HashSet<&str> =
        records.iter().flat_map(|record| &record.starts).map(|start| start.epoch.as_str()).collect();
    epochs.len() > 1
}

/// Every event once and in order, from each start to the next, and from the last to the head.
pub(crate) fn order(record: &Record, head: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let device = || record.device.clone();
    let mut starts = record.starts.iter().peekable();
    let mut last = 0;
    let mut known = HashSet::new();
    for (index, &seq) in record.received.iter().enumerate() {
        while let Some(start) = starts.next_if(|start| start.seen_before <= index) {
            last = start.seq;
            known.clear();
        }
        let again = !known.insert(seq);
        if again {
            faults.push(Fault::Repeat { device: device(), seq });
        } else if seq <= last {
            faults.push(Fault::Reorder { device: device(), seq, after: last });
        } else if seq != last + 1 {
            faults.push(Fault::Gap { device: device(), after: last, got: seq });
        }
        last = last.max(seq);
    }
    if let Some(start) = starts.last() {
        last = start.seq;
    }
    if last != head {
        faults.push(Fault::Short { device: device(), reached: last, head });
    }
    faults
}

/// The drafts of the device are those of the database.
pub(crate) fn replica(record: &Record, stored: &Stored) -> Vec<Fault> {
    let ids: BTreeSet<&String> = record.drafts.keys().chain(stored.drafts.keys()).collect();
    let version = |draft: Option<&DraftState>| draft.map_or(0, |draft| draft.version);
    ids.into_iter()
        .map(|id| (id, record.drafts.get(id), stored.drafts.get(id)))
        .filter(|(_, here, stored)| here != stored)
        .map(|(id, here, stored)| Fault::Differs {
            device: record.device.clone(),
            draft: id.clone(),
            here: version(here),
            stored: version(stored),
        })
        .collect()
}

/// Every acknowledged change has one event of its own, which every device has; and every event has a
/// change.
fn accounts(records: &[Record], changes: &[Change]) -> Vec<Fault> {
    // Numbers of two histories cannot be compared; replicas and values still are.
    if epoch_changed(records) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    let mut acked = BTreeSet::new();
    let mut unknown = 0;
    for change in changes {
        match &change.outcome {
            Outcome::Acked(Some(seq)) if acked.insert(*seq) => {}
            Outcome::Acked(Some(seq)) => faults.push(Fault::Shared { seq: *seq }),
            Outcome::Acked(None) => faults.push(Fault::NoEvent {
                device: change.device.clone(),
                draft: change.draft.clone(),
                value: change.value,
            }),
            Outcome::Refused(_) => {}
            Outcome::Unknown => unknown += 1,
        }
    }
    let mut unasked = BTreeSet::new();
    for record in records {
        let received: HashSet<u64> = record.received.iter().copied().collect();
        let lost = acked.iter().filter(|seq| !record.has(&received, **seq));
        faults.extend(lost.map(|seq| Fault::Lost { device: record.device.clone(), seq: *seq }));
        unasked.extend(received.into_iter().filter(|seq| !acked.contains(seq)));
    }
    if let Some(&seq) = unasked.first()
        && unasked.len() > unknown
    {
        faults.push(Fault::Unasked { seq, count: (unasked.len() - unknown) as u64 });
    }
    faults
}

/// Each device's field of each draft holds the last change of it that was acknowledged, or a later one
/// whose answer was lost.
pub(crate) fn values(changes: &[Change], stored: &Stored) -> Vec<Fault> {
    let mut fields: HashMap<(&str, &str), (u64, Vec<u64>)> = HashMap::new();
    for change in changes {
        let (acked, unknown) = fields.entry((&change.draft, &change.device)).or_default();
        match change.outcome {
            Outcome::Acked(_) => *acked = (*acked).max(change.value),
            Outcome::Unknown => unknown.push(change.value),
            Outcome::Refused(_) => {}
        }
    }
    let mut faults: Vec<Fault> = fields
        .into_iter()
        .filter_map(|((draft, field), (acked, unknown))| {
            let content = stored.drafts.get(draft).map(|draft| &draft.content);
            let value = content.and_then(|content| content[field].as_u64());
            // The creation has the value zero, and sets no field.
            let right = value.unwrap_or(0) == acked
                || value.is_some_and(|value| value > acked && unknown.contains(&value));
            let fault =
                Fault::Value { draft: draft.to_owned(), field: field.to_owned(), acked, stored: value };
            (!right).then_some(fault)
        })
        .collect();
    faults.sort_by_key(ToString::to_string);
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn start(seq: u64, seen_before: usize) -> Start {
        Start { epoch: "e".to_owned(), seq, seen_before }
    }

    fn drafts(version: u64, value: u64) -> BTreeMap<String, DraftState> {
        let draft = DraftState { version, kind: "draft".to_owned(), content: json!({ "d1": value }) };
        BTreeMap::from([("a".to_owned(), draft)])
    }

    fn device(name: &str, received: &[u64]) -> Record {
        Record {
            device: name.to_owned(),
            starts: vec![start(0, 0)],
            received: received.to_vec(),
            seq: 3,
            drafts: drafts(3, 2),
        }
    }

    fn change(value: u64, outcome: Outcome) -> Change {
        Change { device: "d1".to_owned(), draft: "a".to_owned(), value, outcome }
    }

    /// A draft that was made and changed twice.
    fn changes() -> Vec<Change> {
        (0..3).map(|value| change(value, Outcome::Acked(Some(value + 1)))).collect()
    }

    fn stored() -> Stored {
        Stored { seq: 3, drafts: drafts(3, 2) }
    }

    fn judged(received: &[u64]) -> Vec<Fault> {
        judge(&[device("d1", &[1, 2, 3]), device("d2", received)], &changes(), &stored())
    }

    fn d2() -> String {
        "d2".to_owned()
    }

    #[test]
    fn a_run_without_faults_has_none() {
        assert_eq!(judged(&[1, 2, 3]), []);
    }

    #[test]
    fn an_event_that_never_came_is_a_gap_and_a_lost_change() {
        let lost = Fault::Lost { device: d2(), seq: 2 };
        assert_eq!(judged(&[1, 3]), [Fault::Gap { device: d2(), after: 1, got: 3 }, lost]);
    }

    #[test]
    fn the_last_event_missing_is_noticed_though_nothing_comes_after() {
        let short = Fault::Short { device: d2(), reached: 2, head: 3 };
        assert_eq!(judged(&[1, 2]), [short, Fault::Lost { device: d2(), seq: 3 }]);
    }

    #[test]
    fn an_event_that_came_twice_is_a_repeat() {
        assert_eq!(judged(&[1, 2, 2, 3]), [Fault::Repeat { device: d2(), seq: 2 }]);
        assert_eq!(judged(&[1, 2, 3, 1]), [Fault::Repeat { device: d2(), seq: 1 }]);
    }

    #[test]
    fn events_in_another_order_are_a_gap_and_a_reorder() {
        let gap = Fault::Gap { device: d2(), after: 1, got: 3 };
        assert_eq!(judged(&[1, 3, 2]), [gap, Fault::Reorder { device: d2(), seq: 2, after: 3 }]);
    }

    #[test]
    fn an_acknowledged_change_that_nobody_has_is_noticed() {
        let mut changes = changes();
        changes.push(change(3, Outcome::Acked(Some(4))));
        let records = [device("d1", &[1, 2, 3]), device("d2", &[1, 2, 3])];
        let faults = judge(&records, &changes, &stored());
        let lost = |device: &str| Fault::Lost { device: device.to_owned(), seq: 4 };
        let value = Fault::Value { draft: "a".to_owned(), field: "d1".to_owned(), acked: 3, stored: Some(2) };
        assert_eq!(faults, [lost("d1"), lost("d2"), value]);
    }

    #[test]
    fn acknowledgements_have_an_event_each() {
        let mut changes = changes();
        changes[2].outcome = Outcome::Acked(Some(2));
        let records = [device("d1", &[1, 2, 3])];
        assert_eq!(
            judge(&records, &changes, &stored()),
            [Fault::Shared { seq: 2 }, Fault::Unasked { seq: 3, count: 1 }]
        );
        changes[2].outcome = Outcome::Acked(None);
        assert!(matches!(
            judge(&records, &changes, &stored())[..],
            [Fault::NoEvent { .. }, Fault::Unasked { .. }]
        ));
    }

    #[test]
    fn a_change_whose_answer_was_lost_may_have_happened_but_a_refused_one_not() {
        let records = [device("d1", &[1, 2, 3])];
        let mut changes = changes();
        changes[2].outcome = Outcome::Unknown;
        assert_eq!(judge(&records, &changes, &stored()), []);
        changes.push(change(3, Outcome::Unknown));
        assert_eq!(judge(&records, &changes, &stored()), []);
        changes.truncate(2);
        changes.push(change(2, Outcome::Refused("conflict".to_owned())));
        let faults = judge(&records, &changes, &stored());
        assert!(matches!(faults[..], [Fault::Unasked { seq: 3, .. }, Fault::Value { acked: 1, .. }]));
    }

    #[test]
    fn a_replica_that_differs_is_noticed() {
        let mut record = device("d1", &[1, 2, 3]);
        record.drafts = drafts(3, 9);
        let fault = |here, stored| {
            let (device, draft) = ("d1".to_owned(), "a".to_owned());
            Fault::Differs { device, draft, here, stored }
        };
        assert_eq!(judge(&[record.clone()], &changes(), &stored()), [fault(3, 3)]);
        record.drafts.clear();
        assert!(!record.agrees(&stored()));
        assert_eq!(judge(&[record], &changes(), &stored()), [fault(0, 3)]);
    }

    #[test]
    fn a_snapshot_stands_for_the_events_before_it() {
        let mut record = device("d1", &[1, 3]);
        record.starts.push(start(2, 1));
        assert_eq!(judge(&[record], &changes(), &stored()), []);
        let mut record = device("d1", &[1]);
        record.starts.push(start(3, 1));
        assert_eq!(judge(&[record.clone()], &changes(), &stored()), []);
        // Numbers of another history begin anew.
        record.received = vec![1, 1, 2, 3];
        record.starts[1] = Start { epoch: "f".to_owned(), seq: 0, seen_before: 1 };
        assert!(epoch_changed(std::slice::from_ref(&record)));
        assert_eq!(judge(&[record], &changes(), &stored()), []);
    }
}
