//! Why a command on a server ends without having done what it was asked for, and with what exit code.

use std::{io, time::Duration};

use draftwire_client::{Closed, CommandError, ConnectError, Refusal, TopicError};

/// What every command on a server says at the end of its help.
pub(super) const EXIT_CODES: &str = "\
Exit codes: 0 done, or whoever read the output had enough; 1 the server refused it or could not be reached; \
2 arguments or input that make no sense; 130 ended by Ctrl-C.
The output is data alone, errors are said on the standard error by the codes of docs/protocol.md.";

/// The input or the arguments make no sense.
const USAGE: u8 = 2;

/// The server refused it, or could not be reached.
const REFUSED: u8 = 1;

/// Why a command ends early.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The arguments or the input make no sense; a sentence.
    #[error("{0}")]
    Usage(String),
    /// The server's refusal, by the protocol's code.
    #[error("{code}: {message}")]
    Refused { code: String, message: String },
    /// The server could not be reached.
    #[error("{url}: {message}")]
    Unreachable { url: String, message: String },
    /// There was no answer in time.
    #[error("unavailable: {what} within {within:?}")]
    Timeout { what: &'static str, within: Duration },
    /// The answer is none that a Draftwire server gives.
    #[error("{url} is no Draftwire server: {message}")]
    Unexpected { url: String, message: String },
    /// Whoever reads the output has had enough.
    #[error("nobody reads the output")]
    OutputClosed,
    /// The output or the input failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A signal asked for the end; this is its number.
    #[error("ended by signal {0}")]
    Interrupted(u8),
    /// A failure after a part of the work.
    #[error("{source}; {done}")]
    Partly { source: Box<Self>, done: String },
}

impl Failure {
    pub(super) fn refused(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Refused { code: code.into(), message: message.into() }
    }

    /// The same, after a part of the work.
    pub(super) fn after(self, done: String) -> Self {
        Self::Partly { source: Box::new(self), done }
    }

    /// How the process ends. A closed output is no failure: `| head` has what it wanted.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::OutputClosed => 0,
            // As shells name the end by a signal.
            Self::Interrupted(signal) => 128 + signal,
            Self::Partly { source, .. } => source.exit_code(),
            _ => REFUSED,
        }
    }

    /// What is said about it; `None` where there is nothing to say.
    pub(super) fn message(&self) -> Option<String> {
        match self {
            Self::OutputClosed | Self::Interrupted(_) => None,
            Self::Partly { source, done } => match source.message() {
                None if matches!(**source, Self::OutputClosed) => None,
                None => Some(done.clone()),
                Some(message) => Some(format!("{message}; {done}")),
            },
            other => Some(other.to_string()),
        }
    }

    /// Why there is no connection to this address.
    pub(super) fn of_connection(url: &str, error: &ConnectError) -> Self {
        match error {
            ConnectError::Closed { code: Some(code), reason } => match error_code(*code) {
                Some(code) => Self::refused(code, reason.as_str()),
                None => Self::Unreachable { url: url.to_owned(), message: error.to_string() },
            },
            ConnectError::Token(cause) => Self::Usage(cause.to_string()),
            ConnectError::TokenText | ConnectError::Address { .. } => Self::Usage(error.to_string()),
            ConnectError::Status(_) | ConnectError::Violation(_) => {
                Self::Unexpected { url: url.to_owned(), message: error.to_string() }
            }
            other => Self::Unreachable { url: url.to_owned(), message: other.to_string() },
        }
    }

    /// Why the client of this address has ended.
    pub(super) fn of_end(url: &str, closed: &Closed) -> Self {
        match closed {
            Closed::Failed(error) => Self::of_connection(url, error),
            other => Self::Unreachable { url: url.to_owned(), message: other.to_string() },
        }
    }

    /// Why a command was not carried out.
    pub(super) fn of_command(url: &str, error: &CommandError) -> Self {
        match error {
            CommandError::Refused(refusal) => {
                let stands = error.conflict().map(|conflict| match conflict.draft {
                    Some(draft) => format!("; it is at version {}", draft.version),
                    None => "; it is deleted".to_owned(),
                });
                let Refusal { code, message, .. } = refusal;
                Self::refused(code.as_str(), format!("{message}{}", stands.unwrap_or_default()))
            }
            CommandError::Closed(closed) => Self::of_end(url, closed),
            other => Self::Usage(other.to_string()),
        }
    }

    /// Why a topic is not followed.
    pub(super) fn of_topic(url: &str, topic: &str, error: &TopicError) -> Self {
        match error {
            TopicError::Refused(refusal) => {
                Self::refused(refusal.code.as_str(), format!("{topic}: {}", refusal.message))
            }
            TopicError::Closed(closed) => Self::of_end(url, closed),
            other => Self::Usage(format!("{topic}: {other}")),
        }
    }
}

/// The protocol's error code for a close code, where it is a refusal.
fn error_code(code: u16) -> Option<&'static str> {
    match code {
        4400 => Some("bad_request"),
        4401 => Some("unauthorized"),
        4403 => Some("forbidden"),
        1009 => Some("too_large"),
        4429 => Some("rate_limited"),
        1012 | 1013 => Some("unavailable"),
        _ => None,
    }
}
