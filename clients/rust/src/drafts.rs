//! The user's drafts, as an application sees and changes them.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::broadcast;

use crate::{
    draft::{Draft, DraftChange},
    error::{Closed, CommandError},
    handle::Handle,
    json::{Content, Json},
    replica::Replica,
    session::Ack,
    shared::{ConnectionState, Shared},
};

/// A draft to create.
#[derive(Debug, Clone)]
#[must_use = "a draft is made by `Drafts::create`"]
pub struct NewDraft {
    draft_id: Option<String>,
    kind: Option<String>,
    content: Json,
    key: Option<String>,
}

impl NewDraft {
    /// A draft with a content, which serialises to a JSON object.
    ///
    /// # Errors
    /// When it does not serialise, or to something else.
    pub fn new(content: &(impl Serialize + ?Sized)) -> serde_json::Result<Self> {
        let content = Json::of(content)?;
        // What is no object is refused here, and not days later by the server.
        Content::from_text(content.text())?;
        Ok(Self { draft_id: None, kind: None, content, key: None })
    }

    /// Its name within the user, 1 to 64 characters of `A-Z a-z 0-9 : _ . -`; made up by the server otherwise.
    pub fn id(mut self, draft_id: impl Into<String>) -> Self {
        self.draft_id = Some(draft_id.into());
        self
    }

    /// What it is; `draft` otherwise.
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// The idempotency key; see [`NewEvent::key`](crate::NewEvent::key).
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }
}

/// A change of a draft that was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The draft.
    pub draft_id: String,
    /// Its version now.
    pub version: u64,
    /// The event in the user's stream that reports it; `None` when nothing changed.
    pub seq: Option<u64>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct DraftAck {
    draft_id: String,
    version: u64,
}

impl Changed {
    fn of(ack: &Ack) -> Result<Self, CommandError> {
        let payload = ack.payload.as_ref().map_or("null", Json::text);
        let DraftAck { draft_id, version } = serde_json::from_str(payload)?;
        Ok(Self { draft_id, version, seq: ack.seq })
    }
}

/// The user's drafts: what the server has, as of the events that have come. A change is sent at once and repeated
/// over connections; the list shows it when its event has come.
#[derive(Debug, Clone)]
pub struct Drafts {
    handle: Arc<Handle>,
}

impl Drafts {
    pub(crate) fn new(handle: Arc<Handle>) -> Self {
        Self { handle }
    }

    /// Waits until the list of drafts is there.
    ///
    /// # Errors
    /// The end of the client.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn ready(&self) -> Result<(), Closed> {
        self.wait_for(|replica| replica.position().is_some()).await
    }

    /// Waits until the drafts fulfil a condition, which has to be quick.
    ///
    /// # Errors
    /// The end of the client.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn wait_for(&self, condition: impl Fn(&Replica) -> bool) -> Result<(), Closed> {
        let mut version = self.shared().drafts_version.subscribe();
        loop {
            version.mark_unchanged();
            if self.look(&condition) {
                return Ok(());
            }
            if let Some(closed) = self.shared().closed() {
                return Err(closed);
            }
            // The sender lives as long as this.
            let _ = version.changed().await;
        }
    }

    /// Looks at all drafts at one moment. `look` must be quick, as the client stands still for it.
    pub fn look<T>(&self, look: impl FnOnce(&Replica) -> T) -> T {
        match self.shared().state().session.replica() {
            Some(replica) => look(replica),
            None => look(&Replica::default()),
        }
    }

    /// All drafts by their ids.
    pub fn list(&self) -> Vec<Draft> {
        self.look(|replica| replica.drafts().values().cloned().collect())
    }

    /// A draft.
    pub fn get(&self, draft_id: &str) -> Option<Draft> {
        self.look(|replica| replica.drafts().get(draft_id).cloned())
    }

    /// All that is known, to be stored and given to a later client ([`Builder::restore`](crate::Builder::restore)).
    pub fn replica(&self) -> Replica {
        self.look(Clone::clone)
    }

    /// The changes from now on.
    pub fn changes(&self) -> DraftChanges {
        DraftChanges { receiver: self.shared().drafts.subscribe(), shared: Arc::clone(self.shared()) }
    }

    /// Creates a draft, and waits until it is committed.
    ///
    /// # Errors
    /// The server's refusal, a conflict where the draft exists; the end of the client.
    ///
    /// # Cancel safety
    /// As [`Client::publish`](crate::Client::publish).
    pub async fn create(&self, draft: NewDraft) -> Result<Changed, CommandError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Create {
            #[serde(skip_serializing_if = "Option::is_none")]
            draft_id: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            kind: Option<String>,
            content: Json,
        }
        let NewDraft { draft_id, kind, content, key } = draft;
        let create = Create { draft_id, kind, content };
        Changed::of(&self.shared().command("DRAFT_CREATE", &create, key).await?)
    }

    /// Changes a draft by a merge patch (RFC 7396) made on a version. Where other fields have changed since, both
    /// changes hold; where the same ones have, the error is a conflict with the draft as it stands
    /// ([`CommandError::conflict`]), and nothing was changed.
    ///
    /// # Errors
    /// The server's refusal; the end of the client.
    ///
    /// # Cancel safety
    /// As [`Client::publish`](crate::Client::publish).
    pub async fn update(
        &self,
        draft_id: &str,
        base_version: u64,
        patch: &(impl Serialize + ?Sized),
    ) -> Result<Changed, CommandError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Update<'a> {
            draft_id: &'a str,
            base_version: u64,
            patch: Json,
        }
        let update = Update { draft_id, base_version, patch: Json::of(patch)? };
        Changed::of(&self.shared().command("DRAFT_UPDATE", &update, None).await?)
    }

    /// Deletes a draft; with a version, only while nothing has changed since.
    ///
    /// # Errors
    /// The server's refusal; the end of the client.
    ///
    /// # Cancel safety
    /// As [`Client::publish`](crate::Client::publish).
    pub async fn delete(&self, draft_id: &str, base_version: Option<u64>) -> Result<Changed, CommandError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Delete<'a> {
            draft_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            base_version: Option<u64>,
        }
        let delete = Delete { draft_id, base_version };
        Changed::of(&self.shared().command("DRAFT_DELETE", &delete, None).await?)
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }
}

/// The changes of the drafts, one by one. It is a view of the client, and keeps
/// [`DRAFT_CHANGES_MAX`](crate::DRAFT_CHANGES_MAX) changes that were not taken.
#[derive(Debug)]
pub struct DraftChanges {
    receiver: broadcast::Receiver<DraftChange>,
    shared: Arc<Shared>,
}

impl DraftChanges {
    /// The next change. The list of drafts has it already.
    ///
    /// # Errors
    /// The end of the client.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<DraftChange, Closed> {
        let mut connection = self.shared.connection.subscribe();
        let is_closed = |state: &ConnectionState| matches!(state, ConnectionState::Closed(_));
        tokio::select! {
            biased;
            received = self.receiver.recv() => match received {
                Ok(change) => return Ok(change),
                Err(broadcast::error::RecvError::Lagged(_)) => return Ok(DraftChange::Reset),
                Err(broadcast::error::RecvError::Closed) => {}
            },
            _ = connection.wait_for(is_closed) => {}
        }
        Err(self.shared.closed().unwrap_or(Closed::ByApplication))
    }
}
