//! The store: streams, events, drafts and remembered commands, in Postgres or in SQLite.

mod failure;
mod health;
mod name_range;
mod notices;
pub mod occupancy;
pub mod plan;
pub mod postgres;
mod retention;
mod rows;
pub mod settings;
pub mod sqlite;
mod timing;
pub mod webhooks;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    CommandId, DeviceId, DraftId, Epoch, Event, Seq, Stream, UserId, Version,
    ids::DraftKind,
    json,
    merge::Object,
    protocol::{Draft, DraftAck, NewEvent},
};
use fanout::log::{Log, Page, Read};

pub use self::{
    health::{StoreHealth, WriteHealth},
    notices::{NOTICES_MAX, NoticeReader, Noticed},
    occupancy::OccupancyStore,
    plan::APPEND_EVENTS_MAX,
    retention::{Chunk, Deleted, RetentionStore, Rule, StreamKind, Trimmed},
    settings::SettingsStore,
    webhooks::WebhookStore,
};

/// The shared truth. What [`Store::commit`] has answered is durable and visible to every node.
///
/// Every call ends within the store's time limit, with [`StoreError::Unavailable`] when the database
/// does not answer. Dropping a call is safe: a commit that was under way then either happened as a
/// whole or not at all.
#[async_trait]
pub trait Store: Log + SettingsStore {
    /// Decides and commits a batch of writes as one transaction, in the order given: each sees the
    /// effects of those before it. The batch is all or nothing; a refused write is an answer, not a
    /// failure, and leaves nothing behind.
    ///
    /// A write whose key is being used at the same moment by another batch, for another stream, waits
    /// for that one and is answered as one that comes later.
    ///
    /// The numbers of new events are handed out under the row locks of their streams, which are taken
    /// in sorted order, so that batches of several nodes on the same streams neither leave gaps nor
    /// deadlock.
    async fn commit(&self, writes: &[Write]) -> Result<Committed, StoreError>;

    /// The same, but waits for a lock that another transaction holds for about `lock_wait` only. A write whose
    /// stream or key cannot be had is answered [`Refusal::Locked`], and so is what the same device writes to
    /// the same stream behind it; all others are committed, in several transactions if that is what it takes.
    ///
    /// A store whose transactions do not wait for each other's rows does not need it.
    async fn commit_within(&self, writes: &[Write], lock_wait: Duration) -> Result<Committed, StoreError> {
        let _ = lock_wait;
        self.commit(writes).await
    }

    /// A user's drafts that are not deleted, sorted by id, with the position of the user's stream at
    /// which they stand: one consistent snapshot.
    async fn drafts(&self, user: &UserId) -> Result<DraftList, StoreError>;

    /// One draft, if it exists and is not deleted.
    async fn draft(&self, user: &UserId, id: &DraftId) -> Result<Option<Draft>, StoreError>;

    /// A page of a stream, with the stream's head at that moment. Nobody follows from it, so it need not
    /// begin within the log: where `page.floor` is beyond `read.after`, what was between is gone, or
    /// about to be.
    async fn history(&self, read: &Read) -> Result<History, StoreError>;

    /// Claims the leadership of retention; `None` while another node has it.
    async fn claim_retention(&self) -> Result<Option<Box<dyn RetentionStore>>, StoreError>;

    /// Opens a reader of notices; `None` for a store that nobody but this node writes to.
    async fn notices(&self) -> Result<Option<Box<dyn NoticeReader>>, StoreError> {
        Ok(None)
    }

    /// Where webhooks are kept; `None` for a store that keeps none.
    fn webhooks(&self) -> Option<&dyn WebhookStore> {
        None
    }

    /// Where nodes write which topics are attended; `None` for a store that keeps no webhooks.
    fn occupancy(&self) -> Option<&dyn OccupancyStore> {
        None
    }

    /// How its connections to the database stand; `None` for a store that has none.
    fn pool(&self) -> Option<PoolState> {
        None
    }

    /// Replaces how many bytes of drafts are kept in memory, in a store that keeps any.
    fn set_state_cache_bytes(&self, bytes_max: usize) {
        let _ = bytes_max;
    }

    /// Replaces the bounds on what is kept. They hold for the batches that begin afterwards, also where this fails:
    /// then only what reads them in the database has the old ones.
    async fn set_limits(&self, limits: Limits) -> Result<(), StoreError> {
        let _ = limits;
        Ok(())
    }

    /// Bytes that everything takes on the database's disk, indexes included; `None` where that is not known.
    async fn bytes(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    /// Whether the database answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Ends the connections to the database.
    async fn close(&self);
}

/// The connections of a store to its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// Those that are open.
    pub open: usize,
    /// Those that a call uses.
    pub busy: usize,
    /// Calls that wait for one.
    pub waiting: usize,
    /// How many there may be.
    pub max: usize,
}

/// How long the leader of retention may make no call before a store may take the leadership from it.
pub const CONFIRM_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is down, too slow or out of connections. Nothing was acknowledged; the same call
    /// may be repeated. A commit may have happened all the same: repeating it by the same keys finds
    /// out, because it is then answered from memory of the first.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The database refuses what is to be kept, and would again: the content of a write causes it. Of a
    /// batch of several, one is at fault.
    #[error("the store cannot keep this: {0}")]
    Rejected(String),
    /// The database is not as it has to be: a right, a table or a setting is missing, a row is damaged, or
    /// it is a defect of ours. It lasts until somebody mends it, and is never the fault of a client. It may
    /// concern all calls, or those alone that touch a damaged row.
    #[error("the store does not work: {0}")]
    Failed(String),
}

/// One change that a user, or a backend, asks for.
#[derive(Debug, Clone)]
pub struct Write {
    /// Who asks. A draft is this user's own; an append may go to any stream.
    pub user: UserId,
    /// The device that asks; the `origin` of the events.
    pub device: DeviceId,
    /// What makes a repetition known: (user, device, id). A write without is never remembered.
    pub id: Option<CommandId>,
    /// The change.
    pub op: Op,
}

impl Write {
    /// The stream that the change goes to.
    pub fn stream(&self) -> Stream {
        match &self.op {
            Op::Draft(_) => Stream::User(self.user.clone()),
            Op::Append(append) => append.stream.clone(),
        }
    }

    /// How many events it may cause.
    pub fn events(&self) -> usize {
        match &self.op {
            Op::Draft(_) => 1,
            Op::Append(append) => append.events.len(),
        }
    }
}

/// What is to be changed.
#[derive(Debug, Clone)]
pub enum Op {
    /// A draft of the user who asks.
    Draft(DraftOp),
    /// A stream.
    Append(Append),
}

/// Events for the end of a stream. All of them are committed, with consecutive numbers, or none.
#[derive(Debug, Clone)]
pub struct Append {
    /// Where to. Whether the user may is not the store's to ask.
    pub stream: Stream,
    /// In their order; at least one, at most [`APPEND_EVENTS_MAX`], never a signal.
    pub events: Vec<NewEvent>,
}

/// A change of one draft. Equal ones serialise alike, which is how a repeated command is known.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub enum DraftOp {
    /// Makes a new draft. An id that exists, or existed, is a conflict.
    Create {
        /// Its name.
        draft_id: DraftId,
        /// What it is.
        kind: DraftKind,
        /// Its first content.
        #[serde(serialize_with = "json::canonical")]
        content: Object,
    },
    /// Changes a draft by a merge patch.
    Update {
        /// Which one.
        draft_id: DraftId,
        /// What the patch was made on.
        base: Base,
        /// The change.
        #[serde(serialize_with = "json::canonical")]
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
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub enum Base {
    /// Goes through unless a field that it touches has changed since. A deletion touches them all.
    Merge(Version),
    /// Goes through on exactly one of these versions (`If-Match`, RFC 9110 section 13.1.1).
    OneOf(Vec<Version>),
    /// Goes through on whatever version there is (`If-Match: *`).
    Current,
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

/// A write that was carried out, now or when it was first asked for. Its JSON is what is remembered of
/// a command, and must stay readable for as long as commands are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(untagged)]
pub enum Done {
    /// A change of a draft.
    Draft {
        /// What the client is told.
        #[serde(flatten)]
        ack: DraftAck,
        /// The event that reports the change; `None` where nothing changed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
    },
    /// An append.
    Appended {
        /// Its first event.
        first: Seq,
        /// Its last one; the same when it was the only one.
        seq: Seq,
    },
}

impl Done {
    /// The last event that it caused, if any.
    pub fn seq(&self) -> Option<Seq> {
        match self {
            Self::Draft { seq, .. } => *seq,
            Self::Appended { seq, .. } => Some(*seq),
        }
    }

    /// How many events it caused.
    pub fn events(&self) -> u64 {
        match self {
            Self::Draft { seq, .. } => u64::from(seq.is_some()),
            Self::Appended { first, seq } => (seq.0 + 1).saturating_sub(first.0),
        }
    }

    /// What became of the draft; `None` for appends.
    pub fn draft(&self) -> Option<&DraftAck> {
        match self {
            Self::Draft { ack, .. } => Some(ack),
            Self::Appended { .. } => None,
        }
    }
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
    /// The draft is at none of the versions that the write demands.
    PreconditionFailed {
        /// Where it is.
        version: Version,
    },
    /// The write makes no sense: a base beyond the current version, an `id` used for something else.
    BadRequest(String),
    /// The draft would grow over the limit, or the user have too many; or an append is over a limit.
    TooLarge(String),
    /// Another transaction holds what the write needs. It was not tried; see [`Store::commit_within`].
    Locked(Lock),
}

/// What another transaction holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lock {
    /// The row of the stream.
    Stream,
    /// The key of a command, or the row of a draft.
    Key,
}

impl Lock {
    /// For metrics and the log.
    pub fn label(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Key => "key",
        }
    }
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

/// A page of a stream's log.
#[derive(Debug, Clone)]
pub struct History {
    /// The events.
    pub page: Page,
    /// The last event of the stream when the page was read.
    pub head: Seq,
}

/// Bounds on what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Drafts of one user that are not deleted.
    pub drafts_per_user_max: u64,
    /// The content of one draft, bytes of JSON.
    pub draft_bytes_max: usize,
    /// The data of one appended event, bytes of JSON.
    pub event_bytes_max: usize,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_remembered_by_earlier_versions_still_reads() {
        let ack = |version| DraftAck { draft_id: "d".parse().unwrap(), version: Version(version) };
        let appended = Done::Appended { first: Seq(4), seq: Seq(6) };
        for (json, done) in [
            (r#"{"draftId":"d","version":3,"seq":7}"#, Done::Draft { ack: ack(3), seq: Some(Seq(7)) }),
            (r#"{"draftId":"d","version":3}"#, Done::Draft { ack: ack(3), seq: None }),
            (r#"{"first":4,"seq":6}"#, appended.clone()),
        ] {
            assert_eq!(serde_json::from_str::<Done>(json).unwrap(), done);
            assert_eq!(serde_json::to_string(&done).unwrap(), json);
        }
        assert_eq!((appended.seq(), appended.events()), (Some(Seq(6)), 3));
        assert!(serde_json::from_str::<Done>(r#"{"seq":7}"#).is_err());
    }
}
