//! How commands and sessions end.

use bytes::Bytes;
use common::{CommandId, TopicName, close::Close, protocol::Subscription};
use tokio::time::Instant;
use websocket::{Ended, Violation};

use super::{grants::Grant, order::Taken};
use crate::{
    auth::{AuthError, Identity},
    commands::failure::Failure,
    edge::forced_end::ForcedEnd,
    subscriptions::{Joined, Lost},
};

/// Why a session ends.
#[derive(Debug)]
pub(super) enum End {
    /// The client has gone; there is nobody to tell.
    Gone,
    /// We close.
    Close(Close, String),
}

impl End {
    pub(super) fn close(close: Close, reason: impl Into<String>) -> Self {
        Self::Close(close, reason.into())
    }
}

/// The result of a finished command.
pub(super) enum CommandOutcome {
    /// The answer.
    Reply(Bytes),
    /// The outcome of a change, and its answer.
    Changed { taken: Taken, id: CommandId, decided: bool, reply: Bytes },
    /// Topics that were joined.
    Joined(Box<PendingSubscribe>),
    /// What the application's backend says of topics that it was asked about again.
    Asked(Vec<(TopicName, Result<Instant, Failure>)>),
    /// What a fresh token says.
    Auth(CommandId, Result<Identity, AuthError>),
}

/// A `SUBSCRIBE` whose topics have been joined, or not.
pub(super) struct PendingSubscribe {
    pub(super) id: CommandId,
    pub(super) list: bool,
    pub(super) topics: Vec<(Subscription, Result<Admitted, Failure>)>,
}

/// A topic that may be followed.
pub(super) struct Admitted {
    /// The follower; `None` where the topic was followed before.
    pub(super) joined: Option<Joined>,
    /// The right for this topic that the client has shown, if any.
    pub(super) grant: Option<Grant>,
}

pub(super) fn node_stops() -> End {
    End::close(Close::Restart, "the node stops; connect again")
}

pub(super) fn token_expired() -> End {
    End::close(Close::Unauthorized, "the token has expired")
}

impl From<ForcedEnd> for End {
    fn from(end: ForcedEnd) -> Self {
        match end {
            ForcedEnd::Replaced => Self::close(
                Close::Replaced,
                "the device has connected anew, and the user has all connections allowed",
            ),
            ForcedEnd::Disconnected { close, reason } => Self::close(close, &*reason),
        }
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Gone => Self::Gone,
            Ended::Stalled => Self::close(Close::Dead, ended.to_string()),
            Ended::Violation(Violation::TooLarge) => Self::close(Close::TooLarge, ended.to_string()),
            Ended::Violation(violation) => Self::close(Close::Misuse, violation.to_string()),
        }
    }
}

impl From<Lost> for End {
    fn from(_: Lost) -> Self {
        Self::close(Close::Overloaded, "the state cannot be read; come back later")
    }
}
