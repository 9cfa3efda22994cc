//! The stream of the client's own user: its cursor, and the drafts.

use super::{effect::Effect, position::Position};
use crate::{
    cursor::Cursor,
    draft::DraftChange,
    error::Violation,
    message::{Incoming, body, write},
    replica::{DraftEvent, DraftList, Replica, is_draft_event},
};

/// Changes of drafts that are held back until the list of drafts has come.
const HELD_EVENTS_MAX: usize = 10_000;

/// A change of a draft that waits for the list of drafts.
#[derive(Debug)]
struct Held {
    kind: String,
    seq: u64,
    timestamp: u64,
    origin: String,
    payload: String,
}

/// What has become of the list of drafts that the replica needs first.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Listing {
    /// Not needed, or not possible.
    #[default]
    None,
    Due,
    Asked(String),
    Unavailable,
}

/// The cursor in the user's stream moves with every event that comes. The replica has a position of its own:
/// the list of drafts may be ahead of the events.
#[derive(Debug)]
pub(super) struct UserStream {
    position: Position,
    replica: Option<Replica>,
    listing: Listing,
    held: Vec<Held>,
}

impl UserStream {
    pub(super) fn new(replica: Option<Replica>) -> Self {
        let position = Position::new(replica.as_ref().and_then(|replica| replica.position().cloned()));
        Self { position, replica, listing: Listing::None, held: Vec::new() }
    }

    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.position.cursor()
    }

    pub(super) fn replica(&self) -> Option<&Replica> {
        self.replica.as_ref()
    }

    /// A connection has begun or ended.
    pub(super) fn reconnect(&mut self) {
        self.listing = Listing::None;
        self.held.clear();
    }

    /// A connection says where the stream stands.
    pub(super) fn welcome(&mut self, epoch: &str, seq: u64) {
        self.position.greet(epoch, seq);
        if self.replica.as_ref().is_some_and(|replica| replica.position().is_none()) {
            self.listing = Listing::Due;
        }
    }

    /// `DRAFT_LIST`, when it is due.
    pub(super) fn next(&mut self, id: impl FnOnce() -> String) -> Option<String> {
        if self.listing != Listing::Due {
            return None;
        }
        let id = id();
        let message = write("DRAFT_LIST", Some(&id), None::<()>);
        self.listing = Listing::Asked(id);
        message.ok()
    }

    /// Whether a command is the `DRAFT_LIST` that has no answer.
    pub(super) fn is_list(&self, id: &str) -> bool {
        matches!(&self.listing, Listing::Asked(asked) if asked == id)
    }

    pub(super) fn list_refused(&mut self, is_for_the_moment: bool) {
        self.listing = if is_for_the_moment { Listing::Unavailable } else { Listing::None };
    }

    pub(super) fn wants_retry(&self) -> bool {
        self.listing == Listing::Unavailable
    }

    pub(super) fn retry(&mut self) {
        if self.wants_retry() {
            self.listing = Listing::Due;
        }
    }

    /// Takes the list of drafts, and what was held back for it.
    pub(super) fn listed(&mut self, list: DraftList) -> Result<Vec<Effect>, Violation> {
        self.listing = Listing::None;
        let held = std::mem::take(&mut self.held);
        let (Some(epoch), Some(seq)) = (list.epoch, list.seq) else {
            return Err(Violation::Malformed("a list of drafts without a position".to_owned()));
        };
        let is_ours = self.position.cursor().is_some_and(|cursor| cursor.epoch == epoch);
        // A SNAPSHOT may have come meanwhile, and of another history one is on its way.
        let Some(replica) = self.replica.as_mut().filter(|replica| replica.position().is_none() && is_ours)
        else {
            return Ok(Vec::new());
        };
        replica.replace(Cursor::new(epoch, seq), list.drafts);
        let mut effects = vec![Effect::Draft(DraftChange::Reset)];
        for held in held {
            effects.extend(self.apply(&DraftEvent {
                kind: &held.kind,
                seq: held.seq,
                timestamp: held.timestamp,
                origin: &held.origin,
                payload: &held.payload,
            })?);
        }
        Ok(effects)
    }

    /// Takes `SNAPSHOT`.
    pub(super) fn snapshot(&mut self, message: &Incoming<'_>) -> Result<Option<Effect>, Violation> {
        let (Some(epoch), Some(seq)) = (message.epoch.clone(), message.seq) else {
            return Err(Violation::Malformed("SNAPSHOT without a position".to_owned()));
        };
        let list: DraftList = body(message)?;
        let position = Cursor::new(epoch, seq);
        self.held.clear();
        self.position.replace(position.clone());
        let Some(replica) = &mut self.replica else { return Ok(None) };
        replica.replace(position, list.drafts);
        Ok(Some(Effect::Draft(DraftChange::Reset)))
    }

    /// Takes `SYNCED`.
    pub(super) fn synced(&mut self, message: &Incoming<'_>) -> Result<(), Violation> {
        self.position.synced(message).map(drop)
    }

    /// Takes an event.
    pub(super) fn take(&mut self, message: &Incoming<'_>, seq: u64) -> Result<Option<Effect>, Violation> {
        if !self.position.follow("user", seq)? {
            return Ok(None);
        }
        if !is_draft_event(&message.kind) {
            if let Some(replica) = &mut self.replica {
                replica.pass(seq);
            }
            return Ok(Some(Effect::User(message.to_event("user", seq))));
        }
        let payload = message.payload.map_or("null", |raw| raw.get());
        let (kind, origin, timestamp) = (message.kind.as_str(), message.origin.as_str(), message.timestamp);
        if self.listing == Listing::None {
            return self.apply(&DraftEvent { kind, seq, timestamp, origin, payload });
        }
        if self.held.len() >= HELD_EVENTS_MAX {
            return Err(Violation::NoDraftList);
        }
        let (kind, origin, payload) = (kind.to_owned(), origin.to_owned(), payload.to_owned());
        self.held.push(Held { kind, seq, timestamp, origin, payload });
        Ok(None)
    }

    fn apply(&mut self, event: &DraftEvent<'_>) -> Result<Option<Effect>, Violation> {
        let Some(replica) = &mut self.replica else { return Ok(None) };
        let applied = replica.apply(event);
        if applied.is_err() {
            // The next connection asks for the list.
            replica.invalidate();
        }
        Ok(applied?.map(Effect::Draft))
    }
}
