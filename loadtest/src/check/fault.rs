//! What can be wrong with a history, and which promise that breaks.

use std::fmt;

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

/// What is wrong with a history.
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
    /// An acknowledged change has no event.
    NoEvent { client: String, op: u64 },
    /// The database has another value than the last acknowledged, or one after it.
    Value { draft: String, field: String, acked: u64, stored: Option<u64> },
    /// What a device itself found wrong.
    Found { device: String, what: String },
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

impl Fault {
    pub(crate) fn promise(&self) -> Promise {
        match self {
            Self::Lost { .. } | Self::NoEvent { .. } | Self::Value { .. } => Promise::Kept,
            Self::Repeat { .. } | Self::Twice { .. } | Self::PutBack { .. } => Promise::Once,
            Self::Gap { .. }
            | Self::Reorder { .. }
            | Self::Backwards { .. }
            | Self::Torn { .. }
            | Self::Skipped { .. }
            | Self::Log { .. } => Promise::Order,
            Self::Phantom { .. } | Self::Altered { .. } | Self::Refused { .. } => Promise::Content,
            Self::Short { .. } | Self::Differs { .. } | Self::Unequal { .. } => Promise::Equal,
            Self::Found { .. } => Promise::Protocol,
        }
    }

    /// What it is about, as far as that is known: a device, events, changes.
    pub(crate) fn about(&self) -> About<'_> {
        let (device, seqs, ops) = match self {
            Self::Gap { device, after, got } => {
                // What is missing; of much, the beginning.
                let missing = (*after..*got).take(MISSING_MAX);
                (Some(device), missing.chain([*got]).collect(), vec![])
            }
            Self::Repeat { device, seq } => (Some(device), vec![*seq], vec![]),
            Self::Reorder { device, seq, after } => (Some(device), vec![*seq, *after], vec![]),
            Self::Short { device, reached, head } => (Some(device), vec![*reached, *head], vec![]),
            Self::Differs { device, .. } | Self::Found { device, .. } => (Some(device), vec![], vec![]),
            Self::NoEvent { client, op } => (Some(client), vec![], vec![*op]),
            // The value of a change is its number.
            Self::Value { acked, .. } => (None, vec![], vec![*acked]),
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
            Self::NoEvent { client, op } => {
                write!(f, "{client}: change {op} was acknowledged without an event")
            }
            Self::Value { draft, field, acked, stored: Some(stored) } => {
                write!(f, "draft {draft}: {field} is {stored} in the database, acknowledged was {acked}")
            }
            Self::Value { draft, field, acked, stored: None } => {
                write!(f, "draft {draft}: {field} is not in the database, acknowledged was {acked}")
            }
            Self::Found { device, what } => write!(f, "{device}: {what}"),
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
