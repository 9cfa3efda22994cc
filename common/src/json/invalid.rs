//! Why a client's JSON is refused.

use std::{borrow::Cow, fmt};

use super::limits::DEPTH_MAX;
use crate::text::{cut, printable};

/// What is wrong with a text, and where. Its words are for the client's developer: they name fields of the
/// protocol, and quote little of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// The way to the value at fault, such as `payload.topics[2].cursor`; empty for the whole text.
    path: String,
    /// A predicate: `must be an object, not an array`.
    what: Cow<'static, str>,
    /// Whether the text is not JSON: then the place is a byte, not a field.
    syntax: bool,
}

/// Bytes of a path that are shown at most. Keys are as long as clients make them.
const PATH_BYTES_MAX: usize = 160;

impl Invalid {
    /// A refusal of a value; `what` is said of it.
    pub fn new(what: impl Into<Cow<'static, str>>) -> Self {
        Self { path: String::new(), what: what.into(), syntax: false }
    }

    /// A value of another kind than the one that belongs there.
    pub(crate) fn not_a(wanted: &str, found: &str) -> Self {
        Self::new(format!("must be {wanted}, not {found}"))
    }

    pub(crate) fn syntax(what: impl Into<Cow<'static, str>>) -> Self {
        Self { syntax: true, ..Self::new(what) }
    }

    pub(crate) fn too_deep() -> Self {
        Self::new(format!("is nested deeper than {DEPTH_MAX} levels"))
    }

    /// A text with half of a surrogate pair, which no other encoding can carry.
    pub(super) fn half_a_pair(unit: u16) -> Self {
        Self::new(format!(
            "holds half of a surrogate pair, \\u{unit:04x}: send whole characters, as toWellFormed() of JavaScript makes them"
        ))
    }

    /// The same, seen from the object that holds the value under this name.
    #[must_use]
    pub fn within(self, name: &str) -> Self {
        self.behind(printable(name))
    }

    /// The same, seen from the array that holds the value at this place, counted from zero.
    #[must_use]
    pub(crate) fn at(self, index: usize) -> Self {
        self.behind(format!("[{index}]"))
    }

    fn behind(self, step: String) -> Self {
        if self.syntax {
            return self;
        }
        let joint = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        let path = format!("{step}{joint}{}", self.path);
        Self { path: cut(&path, PATH_BYTES_MAX).into_owned(), ..self }
    }

    /// The whole sentence; `whole` is what the text is called when the fault is not in a field of it.
    pub fn sentence(&self, whole: &str) -> String {
        let subject = if self.path.is_empty() { whole } else { &self.path };
        format!("{subject} {}", self.what)
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence("the value"))
    }
}

impl std::error::Error for Invalid {}
