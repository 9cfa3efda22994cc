//! Ranges of names.

/// Names of streams or topics, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRange {
    /// The first name that may be in it.
    pub start: String,
    /// The first name behind it.
    pub end: String,
}

impl NameRange {
    /// The one name.
    pub(crate) fn only(name: String) -> Self {
        Self { end: behind(name.clone()), start: name }
    }
}

/// The first name behind this one: no name holds a character as small as this.
pub(crate) fn behind(name: String) -> String {
    name + "\u{1}"
}
