//! Where a client stands in a stream.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A position in a stream: the history, and the last event applied in it. Its text is `<epoch>:<seq>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The history in which `seq` counts. It changes when acknowledged history may have been lost.
    pub epoch: String,
    /// The number of the last event applied; zero before the first.
    pub seq: u64,
}

/// A text is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is <epoch>:<seq>, such as 7f3a:42")]
pub struct CursorError;

impl Cursor {
    /// A position in a history.
    pub fn new(epoch: impl Into<String>, seq: u64) -> Self {
        Self { epoch: epoch.into(), seq }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.epoch, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (epoch, seq) = text.rsplit_once(':').ok_or(CursorError)?;
        let plain =
            |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if epoch.is_empty() || !plain(epoch) || seq.is_empty() || !digits(seq) {
            return Err(CursorError);
        }
        Ok(Self { epoch: epoch.to_owned(), seq: seq.parse().map_err(|_| CursorError)? })
    }
}

impl Serialize for Cursor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        assert_eq!("7f3a:42".parse(), Ok(Cursor::new("7f3a", 42)));
        assert_eq!(Cursor::new("7f3a", 42).to_string(), "7f3a:42");
        for wrong in
            ["", ":", "7f3a", "7f3a:", ":42", "7f3a:-1", "7f3a:+1", "a b:1", "7f3a:99999999999999999999"]
        {
            assert_eq!(wrong.parse::<Cursor>(), Err(CursorError), "{wrong}");
        }
    }
}
