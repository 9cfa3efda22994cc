//! Drafts: what a change makes of one, and the event that reports it.

use std::sync::Arc;

use common::{
    DraftId, Version,
    event::Priority,
    ids::DraftKind,
    merge::{FieldVersions, Merge, Object, merge},
    protocol::{Draft, DraftAck},
};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    decision::Decision,
    state::{Content, DraftRow, raw},
};
use crate::store::{Base, Done, DraftOp, Op, Refusal, Write};

impl Op {
    /// The draft that the change is about; `None` for appends.
    pub fn draft_id(&self) -> Option<&DraftId> {
        match self {
            Self::Draft(op) => Some(op.draft_id()),
            Self::Append(_) => None,
        }
    }
}

impl DraftOp {
    /// The draft that the change is about.
    pub fn draft_id(&self) -> &DraftId {
        match self {
            Self::Create { draft_id, .. } | Self::Update { draft_id, .. } | Self::Delete { draft_id, .. } => {
                draft_id
            }
        }
    }
}

impl Decision<'_> {
    pub(super) fn create(
        &mut self,
        write: &Write,
        draft_id: &DraftId,
        kind: &DraftKind,
        content: &Object,
    ) -> Result<Done, Refusal> {
        if let Some(row) = self.state.drafts.get(&(write.user.clone(), draft_id.clone())) {
            return Err(conflict(draft_id, row, Vec::new()));
        }
        let live = self.state.live.get(&write.user).copied().unwrap_or(0);
        let drafts_max = self.limits.drafts_per_user_max;
        if live >= drafts_max {
            return Err(Refusal::TooLarge(format!("a user may have {drafts_max} drafts")));
        }
        let content = self.sized(content)?;
        let version = Version(1);
        let payload = raw(&Created { draft_id, version, kind, content: &content.json });
        let row = DraftRow {
            version,
            kind: kind.clone(),
            content: Some(content),
            fields: FieldVersions::default(),
            created_at: self.now,
            updated_at: self.now,
        };
        self.state.live.insert(write.user.clone(), live + 1);
        Ok(self.change(write, draft_id, row, "DRAFT_CREATED", payload))
    }

    pub(super) fn update(
        &mut self,
        write: &Write,
        draft_id: &DraftId,
        base: &Base,
        patch: &Object,
    ) -> Result<Done, Refusal> {
        let (row, content) = self.live(write, draft_id)?;
        let base = base.on(row.version)?;
        let object = content.object()?;
        match merge(object, &row.fields, base, row.version, patch) {
            Merge::Unchanged => Ok(Done::Draft {
                ack: DraftAck { draft_id: draft_id.clone(), version: row.version },
                seq: None,
            }),
            Merge::Conflict { fields } => Err(conflict(draft_id, row, fields)),
            Merge::Merged { content, fields } => {
                let version = row.version.next();
                let payload = raw(&Updated { draft_id, version, base_version: row.version, patch });
                let row = DraftRow {
                    version,
                    kind: row.kind.clone(),
                    content: Some(self.sized(&content)?),
                    fields,
                    created_at: row.created_at,
                    updated_at: self.now,
                };
                Ok(self.change(write, draft_id, row, "DRAFT_UPDATED", payload))
            }
        }
    }

    pub(super) fn delete(
        &mut self,
        write: &Write,
        draft_id: &DraftId,
        base: Option<&Base>,
    ) -> Result<Done, Refusal> {
        let (row, _) = self.live(write, draft_id)?;
        if let Some(base) = base
            && base.on(row.version)? < row.version
        {
            return Err(conflict(draft_id, row, Vec::new()));
        }
        let version = row.version.next();
        let payload = raw(&Deleted { draft_id, version, base_version: row.version });
        let tombstone = DraftRow {
            version,
            kind: row.kind.clone(),
            content: None,
            fields: FieldVersions::default(),
            created_at: row.created_at,
            updated_at: self.now,
        };
        // Known only where the batch also creates, which is where it matters.
        if let Some(live) = self.state.live.get_mut(&write.user) {
            *live = live.saturating_sub(1);
        }
        Ok(self.change(write, draft_id, tombstone, "DRAFT_DELETED", payload))
    }

    /// A draft that exists and is not deleted.
    fn live(&self, write: &Write, draft_id: &DraftId) -> Result<(&DraftRow, &Content), Refusal> {
        let row = self.state.drafts.get(&(write.user.clone(), draft_id.clone())).ok_or(Refusal::NotFound)?;
        let content = row.content.as_ref().ok_or(Refusal::NotFound)?;
        Ok((row, content))
    }

    fn sized(&self, content: &Object) -> Result<Content, Refusal> {
        let content = Content::of(content);
        let (bytes, bytes_max) = (content.json().len(), self.limits.draft_bytes_max);
        if bytes > bytes_max {
            return Err(Refusal::TooLarge(format!("the draft would be {bytes} bytes, at most {bytes_max}")));
        }
        Ok(content)
    }

    /// Puts the new row in place and numbers the event that reports it.
    fn change(
        &mut self,
        write: &Write,
        draft_id: &DraftId,
        row: DraftRow,
        kind: &str,
        payload: Box<RawValue>,
    ) -> Done {
        let kind = kind.parse().expect("our own event names are valid");
        let seq = self.event(&write.stream(), kind, &write.device, payload, Priority::Normal);
        let ack = DraftAck { draft_id: draft_id.clone(), version: row.version };
        let key = (write.user.clone(), draft_id.clone());
        self.changed.insert(key.clone());
        self.state.drafts.insert(key, Arc::new(row));
        Done::Draft { ack, seq: Some(seq) }
    }
}

impl Base {
    /// The version that the change was made on, if the draft at `current` can take it at all.
    fn on(&self, current: Version) -> Result<Version, Refusal> {
        match self {
            Self::OneOf(versions) if !versions.contains(&current) => {
                Err(Refusal::PreconditionFailed { version: current })
            }
            Self::Merge(version) if version.0 == 0 || *version > current => Err(Refusal::BadRequest(
                format!("baseVersion {version} never was: the draft is at {current}"),
            )),
            Self::Merge(version) => Ok(*version),
            Self::OneOf(_) | Self::Current => Ok(current),
        }
    }
}

fn conflict(draft_id: &DraftId, row: &DraftRow, fields: Vec<String>) -> Refusal {
    let current = row.content.as_ref().map(|content| {
        Box::new(Draft {
            draft_id: draft_id.clone(),
            version: row.version,
            kind: row.kind.clone(),
            content: content.json.clone(),
            updated_at: row.updated_at,
        })
    });
    Refusal::Conflict { fields, current }
}

/// The payload of `DRAFT_CREATED`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    draft_id: &'a DraftId,
    version: Version,
    kind: &'a DraftKind,
    content: &'a RawValue,
}

/// The payload of `DRAFT_UPDATED`. The base is the version that a follower holds, which is not
/// necessarily the one that the client's patch was made on.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Updated<'a> {
    draft_id: &'a DraftId,
    version: Version,
    base_version: Version,
    patch: &'a Object,
}

/// The payload of `DRAFT_DELETED`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Deleted<'a> {
    draft_id: &'a DraftId,
    version: Version,
    base_version: Version,
}
