//! Broken promises.

use draftwire_client::{self as client, session::Stray};

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// What no client takes. The connection was ended for it.
    Rejected(client::Violation),
    /// What came without being asked for, which clients overlook.
    Stray(Stray),
    /// Who is here does not follow from who was, or does not fit the numbers beside it.
    Presence {
        /// Of which stream.
        stream: String,
        /// What is wrong.
        what: String,
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
    /// A frame that holds no message, or in a form that nobody has asked for.
    Malformed {
        /// What came.
        text: String,
    },
}

impl Violation {
    /// The stream of which an event was missing or came again, when it is that.
    pub fn disordered(&self) -> Option<&str> {
        match self {
            Self::Rejected(client::Violation::Order { stream, .. }) => Some(stream),
            _ => None,
        }
    }

    /// What the API documents do not describe among these, if there is any.
    pub(crate) fn undocumented(violations: &[Self]) -> Option<String> {
        violations.iter().find_map(|violation| match violation {
            Self::Undocumented { fault } => Some(fault.clone()),
            _ => None,
        })
    }
}
