//! What can be wrong with a history, and which promise that breaks.

use std::fmt;

use crate::checks::Fault;

/// A promise, as it is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// What was acknowledged is kept.
    Kept,
    /// Nothing comes twice, or happens twice.
    Once,
    /// Nothing is left out, and nothing comes out of order.
    Order,
    /// Events are what was asked for.
    Content,
    /// Devices agree with each other and the database.
    Equal,
    /// Whatever else a device checks.
    Protocol,
}

impl Promise {
    pub(crate) const ALL: [Self; 6] =
        [Self::Kept, Self::Once, Self::Order, Self::Content, Self::Equal, Self::Protocol];

    /// How its breaches are called.
    pub(crate) fn breaches(self) -> &'static str {
        match self {
            Self::Kept => "acknowledged changes lost",
            Self::Once => "events seen, or changes made, twice",
            Self::Order => "events left out or out of order",
            Self::Content => "events that nobody asked for so",
            Self::Equal => "devices other than the database",
            Self::Protocol => "other things that devices found wrong",
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// By the rules that hold for `drafts` too.
    Rule(Fault),
    /// An event was acknowledged for a change, and nobody has it, or it is another's.
    Lost { op: u64, seq: u64, instead: Option<u64> },
    /// One change has two events.
    Twice { op: u64, first: u64, second: u64 },
    /// An event that no change explains.
    Phantom { seen_by: String, seq: u64 },
    /// The event of a change, but not with what was asked for.
    Altered { seen_by: String, seq: u64, op: u64 },
    /// A change that was refused, and happened.
    Refused { op: u64, seq: u64 },
    /// A change that was asked for after another was acknowledged comes before it.
    Backwards { op: u64, seq: u64, after: u64, after_seq: u64 },
    /// A change is not where it belongs among those of the same request, of which the first is named.
    Torn { op: u64, first: u64 },
    /// Two have seen different events under one number.
    Unequal { seen_by: String, other: String, seq: u64 },
    /// A follower was told that events are gone which are there.
    Skipped { device: String, to: u64, floor: u64 },
    /// A follower was moved to an earlier position of the same history.
    PutBack { device: String, from: u64, to: u64 },
    /// The history of a topic has not each number once.
    Log { expected: u64, got: u64 },
}

/// Missing events that a gap is about.
const MISSING_MAX: usize = 5;

/// The database, where somebody has seen something.
pub(super) const DATABASE: &str = "the database";

impl Wrong {
    pub(crate) fn promise(&self) -> Promise {
        match self {
            Self::Rule(fault) => match fault {
                Fault::Repeat { .. } => Promise::Once,
                Fault::Gap { .. } | Fault::Reorder { .. } => Promise::Order,
                Fault::Short { .. } | Fault::Differs { .. } => Promise::Equal,
                Fault::Lost { .. } | Fault::NoEvent { .. } | Fault::Shared { .. } | Fault::Value { .. } => {
                    Promise::Kept
                }
                Fault::Unasked { .. } => Promise::Content,
                Fault::Found { .. } => Promise::Protocol,
            },
            Self::Lost { .. } => Promise::Kept,
            Self::Twice { .. } | Self::PutBack { .. } => Promise::Once,
            Self::Phantom { .. } | Self::Altered { .. } | Self::Refused { .. } => Promise::Content,
            Self::Backwards { .. } | Self::Torn { .. } | Self::Skipped { .. } | Self::Log { .. } => {
                Promise::Order
            }
            Self::Unequal { .. } => Promise::Equal,
        }
    }

    /// What it is about, as far as that is known: a device, events, changes.
    pub(crate) fn about(&self) -> About<'_> {
        let (device, seqs, ops) = match self {
            Self::Rule(fault) => match fault {
                Fault::Gap { device, after, got } => {
                    // What is missing; of much, the beginning.
                    let missing = (*after..*got).take(MISSING_MAX);
                    (Some(device), missing.chain([*got]).collect(), vec![])
                }
                Fault::Repeat { device, seq } | Fault::Lost { device, seq } => {
                    (Some(device), vec![*seq], vec![])
                }
                Fault::Reorder { device, seq, after } => (Some(device), vec![*seq, *after], vec![]),
                Fault::Short { device, reached, head } => (Some(device), vec![*reached, *head], vec![]),
                Fault::Differs { device, .. } | Fault::Found { device, .. } => (Some(device), vec![], vec![]),
                // The value of a change is its number.
                Fault::NoEvent { device, value, .. } => (Some(device), vec![], vec![*value]),
                Fault::Shared { seq } | Fault::Unasked { seq, .. } => (None, vec![*seq], vec![]),
                Fault::Value { field, acked, .. } => (Some(field), vec![], vec![*acked]),
            },
            Self::Lost { op, seq, instead } => {
                (None, vec![*seq], std::iter::once(*op).chain(*instead).collect())
            }
            Self::Twice { op, first, second } => (None, vec![*first, *second], vec![*op]),
            Self::Phantom { seen_by, seq } => (Some(seen_by), vec![*seq], vec![]),
            Self::Altered { seen_by, seq, op } => (Some(seen_by), vec![*seq], vec![*op]),
            Self::Refused { op, seq } => (None, vec![*seq], vec![*op]),
            Self::Backwards { op, seq, after, after_seq } => {
                (None, vec![*seq, *after_seq], vec![*op, *after])
            }
            Self::Torn { op, first } => (None, vec![], vec![*op, *first]),
            Self::Unequal { seen_by, seq, .. } => (Some(seen_by), vec![*seq], vec![]),
            Self::Skipped { device, to, .. } => (Some(device), vec![*to], vec![]),
            Self::PutBack { device, from, to } => (Some(device), vec![*from, *to], vec![]),
            Self::Log { expected, got } => (None, vec![*expected, *got], vec![]),
        };
        About { device: device.map(String::as_str), seqs, ops }
    }
}

/// What a violation is about.
#[derive(Debug)]
pub(crate) struct About<'a> {
    pub(crate) device: Option<&'a str>,
    pub(crate) seqs: Vec<u64>,
    pub(crate) ops: Vec<u64>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(fault) => fault.fmt(f),
            Self::Lost { op, seq, instead: Some(instead) } => {
                write!(f, "change {op} was acknowledged as event {seq}, which is of change {instead}")
            }
            Self::Lost { op, seq, instead: None } => {
                write!(f, "change {op} was acknowledged as event {seq}, which nobody has")
            }
            Self::Twice { op, first, second } => {
                write!(f, "change {op} happened twice, as event {first} and as event {second}")
            }
            Self::Phantom { seen_by, seq } => write!(f, "{seen_by}: nobody asked for event {seq}"),
            Self::Altered { seen_by, seq, op } => {
                write!(f, "{seen_by}: event {seq} is not what change {op} asked for")
            }
            Self::Refused { op, seq } => write!(f, "change {op} was refused, and is event {seq}"),
            Self::Backwards { op, seq, after, after_seq } => write!(
                f,
                "change {op} was asked for after change {after} was acknowledged, and is event {seq}, before {after_seq}"
            ),
            Self::Torn { op, first } => {
                write!(f, "change {op} was asked for together with change {first}, and they are not together")
            }
            Self::Unequal { seen_by, other, seq } => {
                write!(f, "{seen_by}: event {seq} is another than {other} has")
            }
            Self::Skipped { device, to, floor } => write!(
                f,
                "{device}: was told that the events up to {to} are gone, and only those up to {floor} are"
            ),
            Self::PutBack { device, from, to } => {
                write!(f, "{device}: was moved from event {from} back to {to}")
            }
            Self::Log { expected, got } => {
                write!(f, "{DATABASE}: event {got} is where event {expected} should be")
            }
        }
    }
}
