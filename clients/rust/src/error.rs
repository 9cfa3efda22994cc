//! What can go wrong, as types.

use std::{fmt, sync::Arc, time::Duration};

use serde::Deserialize;

use crate::{draft::Draft, json::Json};

/// Any error of an application's own, such as one of its token provider.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why the server refused something, by the protocol's codes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Code {
    /// Malformed, or it makes no sense. Repeating it unchanged is pointless.
    BadRequest,
    /// No valid token.
    Unauthorized,
    /// A valid token without the right.
    Forbidden,
    /// There is no such draft, or no longer.
    NotFound,
    /// The change meets another one made since its base; see [`CommandError::conflict`].
    Conflict,
    /// Over a limit of size or number.
    TooLarge,
    /// Too often.
    RateLimited,
    /// For the moment. The client repeats commands itself, so applications do not see it of them.
    Unavailable,
    /// A code of a newer server.
    Other(String),
}

impl Code {
    /// The code as it stands in messages.
    pub fn as_str(&self) -> &str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::RateLimited => "rate_limited",
            Self::Unavailable => "unavailable",
            Self::Other(code) => code,
        }
    }
}

impl From<&str> for Code {
    fn from(code: &str) -> Self {
        match code {
            "bad_request" => Self::BadRequest,
            "unauthorized" => Self::Unauthorized,
            "forbidden" => Self::Forbidden,
            "not_found" => Self::NotFound,
            "conflict" => Self::Conflict,
            "too_large" => Self::TooLarge,
            "rate_limited" => Self::RateLimited,
            "unavailable" => Self::Unavailable,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The server's refusal. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
#[non_exhaustive]
pub struct Refusal {
    /// What kind.
    pub code: Code,
    /// What is wrong, for developers; it may change between versions.
    pub message: String,
    /// What helps to mend it, such as the current draft of a conflict.
    pub payload: Option<Json>,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>, payload: Option<Json>) -> Self {
        Self { code, message: message.into(), payload }
    }

    /// Whether repeating it after a pause may help.
    pub(crate) fn is_for_the_moment(&self) -> bool {
        self.code == Code::Unavailable
    }
}

/// What a change met, as the server sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Conflict {
    /// The draft.
    pub draft_id: String,
    /// The fields in conflict as JSON pointers; empty when the whole draft is.
    #[serde(default)]
    pub fields: Vec<String>,
    /// The draft as it stands; `None` when it is deleted.
    pub draft: Option<Draft>,
}

/// Why a command was not carried out, or is not known to be.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The server refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The client has ended. Whether a command that was sent was carried out is not known; repeating it with
    /// the same device and key finds out.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// A signal was given while there was no connection, or the connection broke before its answer.
    #[error("not connected: signals are not kept for later")]
    NotConnected,
    /// An argument does not serialise to JSON.
    #[error("the value is no JSON: {0}")]
    Json(Arc<serde_json::Error>),
}

impl CommandError {
    /// The conflict, where it is one that names a draft.
    pub fn conflict(&self) -> Option<Conflict> {
        match self {
            Self::Refused(refusal) if refusal.code == Code::Conflict => {
                refusal.payload.as_ref()?.parse().ok()
            }
            _ => None,
        }
    }
}

impl From<serde_json::Error> for CommandError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(Arc::new(error))
    }
}

/// Why a topic is not followed, or no longer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TopicError {
    /// The server refused to let it be followed, or has taken the right back.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This client follows the topic already; it is followed once.
    #[error("this client follows the topic already")]
    AlreadyFollowed,
    /// The client has ended.
    #[error(transparent)]
    Closed(#[from] Closed),
}

/// The client has ended and does not connect again.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Closed {
    /// The application closed it.
    #[error("the client was closed")]
    ByApplication,
    /// Coming back unchanged is pointless.
    #[error("the client does not connect again: {0}")]
    Failed(Arc<ConnectError>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none that a WebSocket can be opened to.
    #[error("the address {url:?} is of no use: {reason}")]
    Address {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The token provider failed.
    #[error("no token: {0}")]
    Token(#[source] BoxError),
    /// The token provider did not settle in time.
    #[error("no token within {0:?}")]
    TokenTimeout(Duration),
    /// The certificates that were given to be trusted are of no use.
    #[error("the certificates to be trusted: {0}")]
    Certificates(#[source] BoxError),
    /// A header cannot carry the token.
    #[error("the token has characters that no token has")]
    TokenText,
    /// The server, or a proxy before it, refused the WebSocket.
    #[error("the server answered the handshake with HTTP status {0}")]
    Status(u16),
    /// The network or the handshake failed.
    #[error("{0}")]
    Network(#[source] BoxError),
    /// There was no `WELCOME` in time.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// Nothing came for so long, although the client had asked for a sign of life.
    #[error("the connection is dead: nothing came for {0:?}")]
    Silent(Duration),
    /// The connection ended, with this close code where one was given.
    #[error("the connection was closed{}{reason}", code.map(|code| format!(" ({code}) ")).unwrap_or_default())]
    Closed {
        /// The close code of the protocol.
        code: Option<u16>,
        /// The reason that the server gave.
        reason: String,
    },
    /// The server sent what the protocol does not allow. The client comes back from where it stood.
    #[error("the server broke the protocol: {0}")]
    Violation(#[from] Violation),
}

/// What the server sent, and the protocol does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// No message of the protocol.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// An event does not follow the one before it.
    #[error("{stream}: event {got} came after {after}")]
    Order {
        /// The stream.
        stream: String,
        /// The last event.
        after: u64,
        /// The number that came.
        got: u64,
    },
    /// Something of another history came before what moves the client there.
    #[error("{stream}: an event of the history {epoch} came before the client was moved there")]
    Epoch {
        /// The stream.
        stream: String,
        /// The history that the server has named.
        epoch: String,
    },
    /// `SYNCED` says that everything has come, and names another position than the one reached.
    #[error("{stream}: SYNCED at {said} came at {reached}")]
    Synced {
        /// The stream.
        stream: String,
        /// Where the events have led.
        reached: u64,
        /// What it names.
        said: u64,
    },
    /// A change of a draft does not fit the draft that it changes.
    #[error("draft {draft_id}: {what}")]
    Draft {
        /// The draft.
        draft_id: String,
        /// What does not fit.
        what: String,
    },
    /// More events came before the list of drafts than are held back for it.
    #[error("the list of drafts did not come")]
    NoDraftList,
}
