//! What clients may do with drafts, the same over the socket and over HTTP.

use common::{DraftId, Stream, UserId, ids::DraftKind, json::weight, protocol::Draft};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    caller::Caller,
    failure::Failure,
    group_commit::{Answer, Committer},
    reads::Reads,
};
use crate::store::{Base, Done, DraftList, DraftOp, Op, Refusal, Write};

/// The drafts of all users: changes go through the committer, reads to the store.
pub struct Drafts {
    committer: Committer,
    reads: Reads,
}

/// The kind of a draft whose creator names none.
const DEFAULT_KIND: &str = "draft";

impl Drafts {
    /// Puts the parts together.
    pub fn new(committer: Committer, reads: Reads) -> Self {
        Self { committer, reads }
    }

    /// Creates a draft. As with every change: it is in the queue when this returns.
    pub fn create(
        &self,
        caller: Caller,
        draft: common::protocol::DraftCreate,
    ) -> impl Future<Output = Result<Done, Failure>> + use<> {
        let draft_id = draft.draft_id.unwrap_or_else(|| derived_draft_id(&caller));
        let kind = draft.kind.unwrap_or_else(default_kind);
        self.write(caller, DraftOp::Create { draft_id, kind, content: draft.content })
    }

    /// Changes a draft.
    pub fn update(
        &self,
        caller: Caller,
        draft_id: DraftId,
        base: Base,
        patch: common::merge::Object,
    ) -> impl Future<Output = Result<Done, Failure>> + use<> {
        self.write(caller, DraftOp::Update { draft_id, base, patch })
    }

    /// Deletes a draft.
    pub fn delete(
        &self,
        caller: Caller,
        draft_id: DraftId,
        base: Option<Base>,
    ) -> impl Future<Output = Result<Done, Failure>> + use<> {
        self.write(caller, DraftOp::Delete { draft_id, base })
    }

    /// The user's drafts, the effects of everything that the user has asked for on this node before
    /// included.
    pub fn list(&self, user: UserId) -> impl Future<Output = Result<DraftList, Failure>> + use<> {
        let settled = self.committer.settled(&Stream::User(user.clone()));
        let reads = self.reads.clone();
        async move {
            settled.await?;
            reads.list(user).await
        }
    }

    /// The user's drafts as they stand in the store, for a follower that needs them instead of events.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn snapshot(&self, user: UserId) -> Result<DraftList, Failure> {
        self.reads.list(user).await
    }

    /// One draft.
    ///
    /// # Errors
    /// `not_found`, or `unavailable`.
    pub async fn get(&self, user: &UserId, id: &DraftId) -> Result<Draft, Failure> {
        let draft = self.reads.draft(user.clone(), id.clone()).await?;
        draft.ok_or_else(|| Failure::from((id, Refusal::NotFound)))
    }

    fn write(&self, caller: Caller, op: DraftOp) -> impl Future<Output = Result<Done, Failure>> + use<> {
        let draft_id = op.draft_id().clone();
        let bytes = match &op {
            DraftOp::Create { content: object, .. } | DraftOp::Update { patch: object, .. } => weight(object),
            DraftOp::Delete { .. } => 0,
        };
        let Caller { user, device, id, pipeline, trace } = caller;
        let write = Write { user, device, id, op: Op::Draft(op) };
        let answer = self.committer.submit(write, bytes, pipeline.as_ref(), trace);
        async move { settle(&draft_id, answer.await) }
    }
}

fn settle(draft_id: &DraftId, answer: Answer) -> Result<Done, Failure> {
    match answer {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(refusal)) => Err((draft_id, refusal).into()),
        Err(unavailable) => Err(unavailable.into()),
    }
}

fn default_kind() -> DraftKind {
    DEFAULT_KIND.parse().expect("a constant of the right alphabet")
}

/// An id for a draft whose creator gives none: the same for the same command, so that a repetition
/// is recognised.
fn derived_draft_id(caller: &Caller) -> DraftId {
    let mut hash = Sha256::new();
    for part in [caller.user.as_str(), caller.device.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    match &caller.id {
        Some(id) => hash.update(id.as_str()),
        None => hash.update(rand::random::<[u8; 16]>()),
    }
    let hex: String = hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    hex.parse().expect("hexadecimal digits are of the right alphabet")
}

/// What `DRAFT_LIST` and `GET /v1/drafts` answer.
#[derive(Serialize)]
pub struct DraftListBody<'a> {
    /// The drafts that are not deleted.
    pub drafts: &'a [Draft],
    /// The history that `seq` counts in.
    pub epoch: &'a common::Epoch,
    /// The head of the user's stream that the drafts include.
    pub seq: common::Seq,
}

impl<'a> From<&'a DraftList> for DraftListBody<'a> {
    fn from(list: &'a DraftList) -> Self {
        Self { drafts: &list.drafts, epoch: &list.epoch, seq: list.seq }
    }
}
