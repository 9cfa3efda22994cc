//! A draft, and what may happen to it.

use serde::{Deserialize, Serialize};

use crate::json::{Content, Json};

/// A draft.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Draft {
    /// Its name within the user.
    pub draft_id: String,
    /// Which change of it this is, from 1.
    pub version: u64,
    /// What it is, as its creator said.
    pub kind: String,
    /// The state.
    pub content: Content,
    /// When it last changed, Unix milliseconds.
    pub updated_at: u64,
}

/// What has changed among the drafts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DraftChange {
    /// A draft is new.
    Created(Draft),
    /// A draft has changed.
    Updated {
        /// As it stands now.
        draft: Draft,
        /// What was changed, a merge patch.
        patch: Json,
        /// The device that did.
        origin: String,
    },
    /// A draft is gone.
    Deleted {
        /// As it stood last.
        draft: Draft,
        /// The device that deleted it.
        origin: String,
    },
    /// All of them may have changed: look at the list again. After the first list, a `SNAPSHOT`, or when
    /// changes came faster than they were taken.
    Reset,
}
