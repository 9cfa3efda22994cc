//! What goes into a session at its start, and what comes out of it.

use std::time::Duration;

use crate::{
    cursor::Cursor,
    draft::DraftChange,
    error::Refusal,
    json::Json,
    message::{Event, Welcome},
    replica::Replica,
};

/// How a session is to be.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The stable name of this device.
    pub device: String,
    /// Begins the ids of commands. No two sessions of a device may have the same, because the server
    /// remembers commands by device and id.
    pub id_prefix: String,
    /// The drafts to keep, empty or from an earlier session; `None` keeps none.
    pub replica: Option<Replica>,
    /// Where the client stands in the stream `all`; `None` begins at its head.
    pub all: Option<Cursor>,
}

/// What a command was answered when it was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// The number of the event that reports the change; `None` when nothing changed.
    pub seq: Option<u64>,
    /// The answer's body.
    pub payload: Option<Json>,
}

/// What a session asks of whoever drives it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Effect {
    /// The connection is open: `WELCOME` has come.
    Connected(Welcome),
    /// A command has its answer.
    Answered {
        /// The command.
        id: String,
        /// The answer.
        result: Result<Ack, Refusal>,
        /// Whether it was a signal, which is not kept over connections.
        is_signal: bool,
    },
    /// The token ends soon: call [`Session::authenticate`](super::Session::authenticate) with a fresh one.
    TokenExpiring,
    /// The server did not take the token of an `AUTH`; the connection goes on with the one that it has.
    TokenRefused(Refusal),
    /// Connect again after this time.
    Reconnect(Duration),
    /// The drafts have changed.
    Draft(DraftChange),
    /// An event of the user's stream that is no change of a draft.
    User(Event),
    /// An event of the stream `all`.
    Broadcast(Event),
    /// Events of the stream `all` before this number are gone, of those that were not seen.
    BroadcastsMissed(u64),
    /// There is something new of a topic.
    Topic(String),
}
