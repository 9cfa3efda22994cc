//! The drafts of a user as this client knows them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    cursor::Cursor,
    draft::{Draft, DraftChange},
    error::Violation,
    json::{Content, Json},
};

/// The drafts of a user: the server's state as of a position in the user's stream. It can be serialised, and
/// given to a later client, which then resumes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Replica {
    position: Option<Cursor>,
    drafts: BTreeMap<String, Draft>,
}

/// The answer to `DRAFT_LIST`, and the body of a `SNAPSHOT`.
#[derive(Deserialize)]
pub(crate) struct DraftList {
    pub(crate) drafts: Vec<Draft>,
    pub(crate) epoch: Option<String>,
    pub(crate) seq: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    draft_id: String,
    version: u64,
    #[serde(default)]
    base_version: u64,
    #[serde(default)]
    kind: String,
    content: Option<Content>,
    patch: Option<Json>,
}

/// An event as far as the replica needs it.
pub(crate) struct DraftEvent<'a> {
    pub(crate) kind: &'a str,
    pub(crate) seq: u64,
    pub(crate) timestamp: u64,
    pub(crate) origin: &'a str,
    pub(crate) payload: &'a str,
}

/// Whether an event of the user's stream is a change of a draft.
pub(crate) fn is_draft_event(kind: &str) -> bool {
    matches!(kind, "DRAFT_CREATED" | "DRAFT_UPDATED" | "DRAFT_DELETED")
}

impl Replica {
    /// Where it stands; `None` before the first list of drafts.
    pub fn position(&self) -> Option<&Cursor> {
        self.position.as_ref()
    }

    /// The drafts by their ids.
    pub fn drafts(&self) -> &BTreeMap<String, Draft> {
        &self.drafts
    }

    /// Replaces everything by what stands at a position.
    pub(crate) fn replace(&mut self, position: Cursor, drafts: Vec<Draft>) {
        self.drafts = drafts.into_iter().map(|draft| (draft.draft_id.clone(), draft)).collect();
        self.position = Some(position);
    }

    /// Forgets the position: the drafts stay to be looked at until the next list replaces them.
    pub(crate) fn invalidate(&mut self) {
        self.position = None;
    }

    /// Moves over an event that is no change of a draft.
    pub(crate) fn pass(&mut self, seq: u64) {
        if let Some(position) = &mut self.position {
            position.seq = position.seq.max(seq);
        }
    }

    /// Applies a change; `None` when the list of drafts has it already.
    pub(crate) fn apply(&mut self, event: &DraftEvent<'_>) -> Result<Option<DraftChange>, Violation> {
        let Some(position) = &mut self.position else { return Ok(None) };
        if event.seq <= position.seq {
            return Ok(None);
        }
        let change: Change = serde_json::from_str(event.payload)
            .map_err(|error| Violation::Malformed(format!("{}: {error}", event.kind)))?;
        let id = change.draft_id.clone();
        let misfit = |what: String| Violation::Draft { draft_id: id.clone(), what };
        let held = self.drafts.get(&id);
        let version = held.map_or(0, |draft| draft.version);
        let fits = change.version == version + 1 && (version == 0 || change.base_version == version);
        if !fits {
            return Err(misfit(format!("version {} on {version}", change.version)));
        }
        let origin = event.origin.to_owned();
        let done = match (event.kind, held) {
            ("DRAFT_CREATED", None) => {
                let content = change.content.ok_or_else(|| misfit("no content".to_owned()))?;
                let (kind, updated_at) = (change.kind, event.timestamp);
                let draft =
                    Draft { draft_id: id.clone(), version: change.version, kind, content, updated_at };
                self.drafts.insert(id, draft.clone());
                DraftChange::Created(draft)
            }
            ("DRAFT_UPDATED", Some(held)) => {
                let patch = change.patch.ok_or_else(|| misfit("no patch".to_owned()))?;
                let merge = Content::from_text(patch.text()).map_err(|error| misfit(error.to_string()))?;
                let mut draft = held.clone();
                draft.content.merge(merge);
                draft.version = change.version;
                draft.updated_at = event.timestamp;
                self.drafts.insert(id, draft.clone());
                DraftChange::Updated { draft, patch, origin }
            }
            ("DRAFT_DELETED", Some(_)) => {
                let draft = self.drafts.remove(&id).ok_or_else(|| misfit("unknown".to_owned()))?;
                DraftChange::Deleted { draft, origin }
            }
            (kind, _) => return Err(misfit(format!("{kind} on version {version}"))),
        };
        position.seq = event.seq;
        Ok(Some(done))
    }
}
