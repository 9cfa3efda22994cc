//! What can be run: a file per scenario.

pub(crate) mod drafts;
