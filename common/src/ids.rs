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

/// In a JSON text, the field names the identifier.
impl From<InvalidId> for Invalid {
    fn from(InvalidId { rule, .. }: InvalidId) -> Self {
        Self::new(format!("must be {rule}"))
    }
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

/// A text that does not stand for a place in a URL's path.
fn is_no_dot_segment(text: &str) -> bool {
    !is_dot_segment(text)
}

/// What is wrong with a name that others are shown, and that people and programs take for another: identity
/// providers and scripts let through what cannot be seen.
fn invisible_fault(text: &str) -> Option<&'static str> {
    let blank = |c: char| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{feff}');
    if !is_printable(text) {
        Some("without control characters")
    } else if text.chars().any(changes_direction) {
        Some("without characters that change the direction of text")
    } else if text.starts_with(blank) || text.ends_with(blank) {
        Some("without blanks at its ends")
    } else {
        None
    }
}

/// The formatting characters of the Unicode Bidirectional Algorithm (UAX #9 section 2).
fn changes_direction(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// For identifiers of which only faults are named.
fn anything(_: &str) -> bool {
    true
}

/// For identifiers whose rule says all.
pub(crate) fn no_fault(_: &str) -> Option<&'static str> {
    None
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $valid:path, $rule:literal) => {
        text_id! { $(#[$doc])* $name, $what, $max, $valid, $rule, $crate::ids::no_fault }
    };
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:literal, $valid:path, $rule:literal, $fault:path) => {
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
                if let Some(rule) = $fault(text) {
                    return Err(InvalidId { what: $what, rule });
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
    /// A user: the `sub` of the token, up to what OpenID Connect Core section 2 allows. Opaque to Draftwire.
    UserId, "sub", 255, is_no_dot_segment, "1 to 255 characters, and not . or ..", invisible_fault
}
text_id! {
    /// One device of a user, stable over reconnects; the `origin` of the events that it causes.
    DeviceId, "device", 64, anything, "1 to 64 characters", invisible_fault
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
    /// A webhook: the server's own name for it.
    WebhookId, "id", 64, is_path_name, "1 to 64 characters of A-Z a-z 0-9 : _ . -, and not . or .."
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
            "device must be without control characters"
        );
    }

    #[test]
    fn names_that_others_see_hide_nothing() {
        let fault = |text: &str| {
            let user = text.parse::<UserId>().map_err(|error| error.rule);
            assert_eq!(
                text.parse::<DeviceId>().map_err(|error| error.rule).err(),
                user.as_ref().err().copied()
            );
            user.err()
        };
        for text in ["alice", "auth0|5f7c8ec7c33c6c004bbafe82", "a b", "Zoë", "עדי", "علي", "👩‍👧", "a\u{a0}b"]
        {
            assert_eq!(fault(text), None, "{text:?}");
        }
        for text in [" a", "a ", "\u{a0}a", "a\u{3000}", "\u{200b}a", "a\u{feff}", "a\u{2028}"] {
            assert_eq!(fault(text), Some("without blanks at its ends"), "{text:?}");
        }
        for text in ["a\nb", "\t", "a\0", "a\u{7f}", "a\u{85}b"] {
            assert_eq!(fault(text), Some("without control characters"), "{text:?}");
        }
        for text in ["a\u{202e}b", "\u{200f}a", "a\u{2066}b\u{2069}", "a\u{61c}"] {
            assert_eq!(fault(text), Some("without characters that change the direction of text"), "{text:?}");
        }
    }

    #[test]
    fn users_are_as_long_as_the_standard_allows() {
        for c in ["u", "é", "𝄞"] {
            assert!(c.repeat(255).parse::<UserId>().is_ok(), "{c}");
            let refused = c.repeat(256).parse::<UserId>().unwrap_err();
            assert_eq!(refused.to_string(), "sub must be 1 to 255 characters, and not . or ..");
        }
        // Compared byte by byte: neither case nor composition makes two one.
        assert_ne!("Alice".parse::<UserId>(), "alice".parse::<UserId>());
        assert_ne!("\u{e9}".parse::<UserId>(), "e\u{301}".parse::<UserId>());
    }
}
