//! Ranges of names.

/// Names of streams or topics, in the order of their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameRange {
    /// The first name that may be in it.
    pub start: String,
    /// The first name behind it.
    pub end: String,
}
