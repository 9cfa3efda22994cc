//! The store: streams, events, drafts and remembered commands, in Postgres or in SQLite.

mod failure;
pub mod plan;
pub mod postgres;
mod rows;
pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use common::{
    CommandId, DeviceId, DraftId, Epoch, Event, Seq, UserId, Version,
    ids::DraftKind,
    merge::Object,
    protocol::{Draft, DraftAck},
};
use fanout::log::Log;

/// The shared truth. What [`Store::commit`] has answered is durable and visible to every node.
///
/// Every call ends within the store's time limit, with [`StoreError::Unavailable`] when the database
/// does not answer. Dropping a call is safe: a commit that was under way then either happened as a
/// whole or not at all.
#[async_trait]
pub trait Store: Log {
    /// Decides and commits a batch of writes as one transaction, in the order given: each sees the
    /// effects of those before it. The batch is all or nothing; a refused write is an answer, not a
    /// failure, and leaves nothing behind.
    ///
    /// The numbers of new events are handed out under the row locks of their streams, which are taken
    /// in sorted order, so that batches of several nodes on the same streams neither leave gaps nor
    /// deadlock.
    async fn commit(&self, writes: &[Write]) -> Result<Committed, StoreError>;

    /// A user's drafts that are not deleted, sorted by id, with the position of the user's stream at
    /// which they stand: one consistent snapshot.
    async fn drafts(&self, user: &UserId) -> Result<DraftList, StoreError>;

    /// One draft, if it exists and is not deleted.
    async fn draft(&self, user: &UserId, id: &DraftId) -> Result<Option<Draft>, StoreError>;

    /// Forgets commands remembered before `before` (Unix milliseconds), at most `limit` of them.
    /// Answers how many. Never blocks writers.
    async fn forget_commands(&self, before: u64, limit: u32) -> Result<u64, StoreError>;

    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Ends the connections to the database.
    async fn close(&self);
}

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is down, too slow or out of connections. Nothing was acknowledged; the same call
    /// may be repeated. A commit may have happened all the same: repeating it by the same keys finds
    /// out, because it is then answered from memory of the first.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The database refuses this very call, and would again: a defect of ours, or of the schema.
    #[error("the store refuses the statement: {0}")]
    Rejected(String),
}

/// One change that somebody asks for.
#[derive(Debug, Clone)]
pub struct Write {
    /// Whose draft.
    pub user: UserId,
    /// The device that asks; the `origin` of the event.
    pub device: DeviceId,
    /// What makes a repetition known: (user, device, id). A write without is never remembered.
    pub id: Option<CommandId>,
    /// The change.
    pub op: DraftOp,
}

/// A change of one draft.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub enum DraftOp {
    /// Makes a new draft. An id that exists, or existed, is a conflict.
    Create {
        /// Its name.
        draft_id: DraftId,
        /// What it is.
        kind: DraftKind,
        /// Its first content.
        content: Object,
    },
    /// Changes a draft by a merge patch.
    Update {
        /// Which one.
        draft_id: DraftId,
        /// What the patch was made on.
        base: Base,
        /// The change.
        patch: Object,
    },
    /// Deletes a draft; a tombstone stays, so that its id and version are not used again.
    Delete {
        /// Which one.
        draft_id: DraftId,
        /// What the decision was made on; `None` deletes whatever stands there.
        base: Option<Base>,
    },
}

/// The version that a change was made on, and what happens when it is no longer the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Base {
    /// Goes through unless a field that it touches has changed since. A deletion touches them all.
    Merge(Version),
    /// Goes through on exactly this version (`If-Match`, RFC 9110 section 13.1.1).
    Exact(Version),
}

/// What became of a batch.
#[derive(Debug)]
pub struct Committed {
    /// The history that the new numbers count in.
    pub epoch: Epoch,
    /// The new events, grouped by stream, ascending in each.
    pub events: Vec<Arc<Event>>,
    /// One answer per write, in their order.
    pub answers: Vec<Result<Done, Refusal>>,
}

/// A write that was carried out, now or when it was first asked for.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// What the client is told.
    #[serde(flatten)]
    pub ack: DraftAck,
    /// The event that reports the change; `None` where nothing changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
}

/// Why a write was refused. It has changed nothing, and is not remembered: a repetition is decided
/// anew, and conflicts stay conflicts because versions only grow.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// No such draft, or it was deleted.
    NotFound,
    /// The draft changed since the base of this write.
    Conflict {
        /// The fields in conflict, as JSON pointers; empty when the whole draft is.
        fields: Vec<String>,
        /// The draft as it stands; `None` for an id whose draft was deleted.
        current: Option<Box<Draft>>,
    },
    /// The draft is not at the exact version that the write demands.
    PreconditionFailed {
        /// Where it is.
        version: Version,
    },
    /// The write makes no sense: a base beyond the current version, an `id` used for something else.
    BadRequest(String),
    /// The draft would grow over the limit, or the user have too many.
    TooLarge(String),
}

/// A user's drafts at one position of the user's stream.
#[derive(Debug, Clone)]
pub struct DraftList {
    /// The history that `seq` counts in.
    pub epoch: Epoch,
    /// The head of the stream that the drafts include.
    pub seq: Seq,
    /// The drafts that are not deleted.
    pub drafts: Vec<Draft>,
}

/// Bounds on what one user may keep.
#[derive(Debug, Clone, Copy)]
pub struct DraftLimits {
    /// Drafts that are not deleted.
    pub drafts_per_user_max: u64,
    /// The content of one, bytes of JSON.
    pub draft_bytes_max: usize,
}
