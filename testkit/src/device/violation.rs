//! Broken promises.

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// An event is missing between these two.
    Gap {
        /// Of which stream.
        stream: String,
        /// The last before.
        after: u64,
        /// The one that came.
        got: u64,
    },
    /// An event came a second time.
    Repeat {
        /// Of which stream.
        stream: String,
        /// Its number.
        seq: u64,
    },
    /// An event came after later ones.
    Reorder {
        /// Of which stream.
        stream: String,
        /// Its number.
        seq: u64,
        /// The last before.
        after: u64,
    },
    /// A draft's event does not follow from the draft as this device knows it.
    Base {
        /// The event.
        seq: u64,
        /// The draft.
        draft_id: String,
        /// Its version here; zero for none.
        have: u64,
        /// `baseVersion` and `version` of the event.
        got: (u64, u64),
    },
    /// An event about a draft that this device does not know.
    UnknownDraft {
        /// The event.
        seq: u64,
        /// The draft.
        draft_id: String,
    },
    /// `SYNCED` names another position than the one reached.
    Synced {
        /// Of which stream.
        stream: String,
        /// What it names.
        said: u64,
        /// Where the events lead.
        reached: u64,
    },
    /// Events of another epoch without the `SNAPSHOT`, or the `SYNCED` with `missedBefore`, that must
    /// come first.
    EpochWithoutSnapshot {
        /// The epoch that the server named.
        epoch: String,
    },
    /// Something of a topic that this connection does not follow: before the answer to `SUBSCRIBE`, or
    /// after that to `UNSUBSCRIBE`.
    Unfollowed {
        /// The message.
        text: String,
    },
    /// Who is here does not follow from who was, or does not fit the numbers beside it.
    Presence {
        /// Of which stream.
        stream: String,
        /// What is wrong.
        what: String,
    },
    /// An answer to a command that waits for none.
    AnswerToNothing {
        /// The command's id.
        id: String,
    },
    /// The `id` of a server-sent event names another position than the one reached.
    EventId {
        /// What it says.
        said: String,
        /// Where the events lead.
        reached: String,
    },
    /// A message that the API documents do not describe, or a command that they do not and that was carried out.
    Undocumented {
        /// What is wrong.
        fault: String,
    },
    /// A message that makes no sense.
    Malformed {
        /// The message.
        text: String,
    },
}

impl Violation {
    /// What the API documents do not describe among these, if there is any.
    pub(crate) fn undocumented(violations: &[Self]) -> Option<String> {
        violations.iter().find_map(|violation| match violation {
            Self::Undocumented { fault } => Some(fault.clone()),
            _ => None,
        })
    }
}

/// What an event is that does not follow the last one.
pub(super) fn out_of_order(stream: &str, last: u64, seq: u64, repeated: bool) -> Violation {
    let stream = stream.to_owned();
    match seq {
        seq if seq > last => Violation::Gap { stream, after: last, got: seq },
        seq if repeated => Violation::Repeat { stream, seq },
        seq => Violation::Reorder { stream, seq, after: last },
    }
}
