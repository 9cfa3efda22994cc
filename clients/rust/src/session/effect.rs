//! What goes into a session at its start, and what comes out of it.

use std::time::Duration;

use crate::{
    cursor::Cursor,
    draft::DraftChange,
    error::Refusal,
    json::Json,
    message::{Event, MemberChange, Presence, Signal, Welcome},
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

/// How a topic is to be followed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Wish {
    /// Where to go on; from the head on when `None`.
    pub cursor: Option<Cursor>,
    /// Whether to be among those who are present, and to see them.
    pub presence: bool,
    /// How long events may be held back, milliseconds.
    pub batch_ms: Option<u64>,
    /// How many events end that wait.
    pub batch_max: Option<u64>,
    /// Whether it needs a token of its own, which [`Session::next_token_request`](super::Session::next_token_request)
    /// asks for.
    pub token: bool,
}

/// How a topic stands on the connection, as an application sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicState<'a> {
    /// To be followed, and not answered on this connection.
    Waiting,
    /// Followed.
    Followed,
    /// To be left, and not answered.
    Leaving,
    /// Not followed: the server has refused it, or taken it back.
    Refused(&'a Refusal),
}

/// What comes of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicItem {
    /// An event, once and in order.
    Event(Event),
    /// Events before this number are gone, of those that were not seen. What follows counts in the history of
    /// the topic's cursor.
    Missed {
        /// The first event that may still come.
        before: u64,
    },
    /// Everything that was missed has come; what follows is live.
    Synced,
    /// A signal.
    Signal(Signal),
    /// Who is present. It replaces what was known.
    Presence(Presence),
    /// A device came.
    Join(MemberChange),
    /// A device left.
    Leave(MemberChange),
}

/// What the application is given next of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Next {
    /// An item, and where the topic stands with it.
    Item(TopicItem, Option<Cursor>),
    /// Nothing yet.
    Waiting,
    /// It is followed no longer.
    Refused(Refusal),
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
    /// There is something new of a topic, or it stands otherwise.
    Topic(String),
    /// Something came that was not asked for. It has changed nothing, and the client goes on.
    Stray(Stray),
}

/// What came although it was not asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stray {
    /// An answer to a command that waits for none.
    Answer {
        /// The command's id.
        id: String,
    },
    /// A message of a topic that this connection does not follow: before the answer to `SUBSCRIBE`, or after that
    /// to `UNSUBSCRIBE`.
    Topic {
        /// The topic's name.
        topic: String,
        /// The message's type.
        kind: String,
    },
}
