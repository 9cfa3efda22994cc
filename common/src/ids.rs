//! Identifiers and positions. Each is a type of its own, so that a version is never taken for a seq.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::json::{self, Field, Invalid};

/// Why a text is not an identifier. The message names the kind and the rule, and fits an `ERROR`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidId {
    /// The kind of identifier, as clients call it.
    pub what: &'static str,
    /// What a valid one looks like.
    pub rule: &'static str,
}

/// Any printable text: what clients and identity providers choose freely.
/// Control characters are refused: they corrupt logs, and Postgres cannot store NUL.
fn is_printable(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

/// The alphabet of names that appear in URLs, channel names and patterns.
pub(crate) fn is_name(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b':' | b'_' | b'.' | b'-'))
}

/// Whether a URL's path would lose the text: these segments mean "here" and "one up" (RFC 3986 section
/// 5.2.4), also percent-encoded to browsers, so that a path with one leads elsewhere. What else a path would
/// change is encoded by whoever builds it, or not in the alphabet of names.
fn is_dot_segment(text: &str) -> bool {
    matches!(text, "." | "..")
}

/// A name that stands in a URL's path.
pub(crate) fn is_path_name(text: &str) -> bool {
    is_name(text) && !is_dot_segment(text)
}

/// A printable text that stands in a URL's path.
fn is_printable_in_path(text: &str) -> bool {
    is_printable(text) && !is_dot_segment(text)
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $valid:path, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The longest allowed, in characters.
            pub const CHARS_MAX: usize = $max;

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // Bytes first: it is cheaper, and bounds the work on hostile input.
                let fits = text.len() <= 4 * $max && text.chars().count() <= $max;
                if text.is_empty() || !fits || !$valid(text) {
                    return Err(InvalidId { what: $what, rule: $rule });
                }
                Ok(Self(text.into()))
            }
        }

        impl $crate::json::Field for $name {
            fn read(json: &str) -> Result<Self, $crate::json::Invalid> {
                Ok($crate::json::text(json)?.parse::<Self>()?)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub(crate) use text_id;

text_id! {
    /// A user: the `sub` of the token. Opaque to Draftwire.
    UserId, "sub", 128, is_printable_in_path, "1 to 128 characters without control characters, and not . or .."
}
text_id! {
    /// One device of a user, stable over reconnects; the `origin` of the events that it causes.
    DeviceId, "device", 64, is_printable, "1 to 64 characters without control characters"
}
text_id! {
    /// The client's own name for a command, unique per device: its idempotency key.
    CommandId, "id", 64, is_printable, "1 to 64 characters without control characters"
}
text_id! {
    /// A draft, unique within its user. It appears in URLs, hence the alphabet.
    DraftId, "draftId", 64, is_path_name, "1 to 64 characters of A-Z a-z 0-9 : _ . -, and not . or .."
}
text_id! {
    /// What a draft is (`order`, `note`): chosen by the application, opaque to Draftwire.
    DraftKind, "kind", 64, is_name, "1 to 64 characters of A-Z a-z 0-9 : _ . -"
}
text_id! {
    /// One connection to one node; new at every connect. It names the connection in logs.
    ConnectionId, "connectionId", 64, is_name, "1 to 64 characters of A-Z a-z 0-9 : _ . -"
}
text_id! {
    /// One node of the cluster, for logs, metrics and `WELCOME`.
    NodeId, "node", 64, is_name, "1 to 64 characters of A-Z a-z 0-9 : _ . -"
}
text_id! {
    /// The history that a stream's `seq` counts in. Another epoch means that acknowledged events may
    /// be gone and numbers may be used again, so no cursor of the old one has a meaning in the new.
    Epoch, "epoch", 64, is_epoch, "1 to 64 characters of A-Z a-z 0-9 _ . -"
}

/// No colon: `<epoch>:<seq>` must split at one.
fn is_epoch(text: &str) -> bool {
    is_name(text) && !text.contains(':')
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The one that follows.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// The number of an event in its stream: 1, 2, 3, … without gaps. Zero stands before the first.
    Seq
}
number! {
    /// The version of a draft: 1 when created, one more at every change, its deletion included.
    Version
}

impl Field for Version {
    fn read(json: &str) -> Result<Self, Invalid> {
        u64::read(json).map(Self)
    }
}

/// A position in a stream: everything up to and including `seq` has been seen.
/// Written `<epoch>:<seq>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cursor {
    /// The history that `seq` counts in.
    pub epoch: Epoch,
    /// The last event seen; zero for none.
    pub seq: Seq,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl Field for Cursor {
    fn read(json: &str) -> Result<Self, Invalid> {
        Ok(json::text(json)?.parse::<Self>()?)
    }
}

impl TryFrom<String> for Cursor {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl FromStr for Cursor {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = InvalidId {
            what: "cursor",
            rule: "<epoch>:<seq>, as WELCOME gave the epoch and the last event its seq",
        };
        let (epoch, seq) = text.split_once(':').ok_or_else(|| invalid.clone())?;
        // `u64::from_str` would take a leading plus.
        if !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid);
        }
        match (epoch.parse(), seq.parse()) {
            (Ok(epoch), Ok(seq)) => Ok(Self { epoch, seq: Seq(seq) }),
            _ => Err(invalid),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_what_it_wrote() {
        let cursor: Cursor = "7f3a-2:42".parse().unwrap();
        assert_eq!((cursor.epoch.as_str(), cursor.seq), ("7f3a-2", Seq(42)));
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
    }

    #[test]
    fn a_malformed_cursor_is_refused() {
        for text in ["", "42", ":42", "e:", "e:-1", "e:+1", "e:1:2", "e:99999999999999999999", "é:1"] {
            assert!(text.parse::<Cursor>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn identifiers_hold_their_rules() {
        assert!("".parse::<DeviceId>().is_err());
        assert!("d".repeat(64).parse::<DeviceId>().is_ok());
        assert!("d".repeat(65).parse::<DeviceId>().is_err());
        assert!("é".repeat(64).parse::<DeviceId>().is_ok());
        assert!("a\u{0}b".parse::<CommandId>().is_err());
        assert!("a b".parse::<UserId>().is_ok());
        assert!("a b".parse::<DraftId>().is_err());
        assert!("a/b".parse::<DraftId>().is_err());
        for dots in [".", ".."] {
            assert!(dots.parse::<DraftId>().is_err() && dots.parse::<UserId>().is_err(), "{dots}");
            assert!(dots.parse::<DeviceId>().is_ok(), "no path has devices");
        }
        assert!("...".parse::<DraftId>().is_ok() && ".a".parse::<DraftId>().is_ok());
        assert_eq!(
            "x\n".parse::<DeviceId>().unwrap_err().to_string(),
            "device must be 1 to 64 characters without control characters"
        );
    }
}
