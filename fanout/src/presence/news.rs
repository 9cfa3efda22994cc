//! What the watchers of a stream on this node are told. Pure: time is an argument.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use common::{
    Message,
    protocol::{Member, Presence, ServerMessage},
};
use tokio::time::Instant;

use super::census::{Census, Change};

/// The recent changes, each encoded once for all watchers. A watcher has the number of the last one that
/// it was told; one that has fallen out at the old end, or has none yet, is told the state instead.
///
/// A *crowd* is told as numbers alone, and as a state every time: then there are no changes to keep, and
/// every watcher is one that has fallen out.
#[derive(Debug)]
pub(crate) struct News {
    /// The stream, as clients call it.
    stream: String,
    list_max: usize,
    recent: VecDeque<Arc<Message>>,
    /// The number of the last change.
    newest: u64,
    /// The present state, once somebody has needed it.
    state: Option<Arc<Message>>,
    /// Members are counted, not listed.
    crowded: bool,
    /// Watchers are due a state that they have not been told of.
    untold: bool,
    /// When they last were.
    told: Option<Instant>,
}

/// Changes kept per stream. A full state is at most some hundred members, so that more than this many
/// changes are better told as one.
const RECENT_MAX: usize = 128;

/// The shortest time between two states that all watchers are told.
const STATE_PAUSE: Duration = Duration::from_secs(1);

impl News {
    pub(crate) fn new(stream: String, list_max: usize) -> Self {
        Self {
            stream,
            list_max,
            recent: VecDeque::new(),
            newest: 0,
            state: None,
            crowded: false,
            untold: false,
            told: None,
        }
    }

    /// Takes note of changes, and of numbers that changed without naming anybody. Returns whether
    /// watchers are due something by it.
    pub(crate) fn changed(&mut self, changes: &[Change], census: &Census, now: Instant) -> bool {
        self.state = None;
        let was_crowded = self.crowded;
        self.crowded = self.is_crowd(census);
        if self.crowded || was_crowded || self.untold {
            self.untold = true;
            return self.tell(now);
        }
        for change in changes {
            let payload =
                Member { device: &change.device, users: change.counts.users, devices: change.counts.devices };
            let message = if change.came {
                ServerMessage::Join { stream: &self.stream, payload }
            } else {
                ServerMessage::Leave { stream: &self.stream, payload }
            };
            self.recent.push_back(Arc::new(message.message()));
            self.newest += 1;
        }
        while self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        !changes.is_empty()
    }

    /// Sends every watcher the state, if that is due. Returns whether it did.
    pub(crate) fn tell(&mut self, now: Instant) -> bool {
        if self.next(now).is_none_or(|next| next > now) {
            return false;
        }
        self.untold = false;
        self.told = Some(now);
        self.recent.clear();
        self.newest += 1;
        true
    }

    /// When watchers are due a state.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        self.untold.then(|| self.told.map_or(now, |told| told + STATE_PAUSE))
    }

    /// What a watcher has not been told yet, who stands at `seen`.
    pub(crate) fn due(&mut self, seen: &mut Option<u64>, census: &Census) -> Vec<Arc<Message>> {
        let missed = seen.replace(self.newest).map(|seen| self.newest - seen);
        let missed = missed.and_then(|missed| usize::try_from(missed).ok());
        match missed {
            Some(missed) if missed <= self.recent.len() => {
                self.recent.range(self.recent.len() - missed..).cloned().collect()
            }
            _ => vec![self.state(census)],
        }
    }

    /// It takes a tenth fewer to be listed again than it took to be a crowd, so that one who comes and
    /// goes does not turn the one into the other each time.
    fn is_crowd(&self, census: &Census) -> bool {
        let margin = if self.crowded { self.list_max / 10 } else { 0 };
        census.is_counted() || census.listed().len() > self.list_max - margin
    }

    fn state(&mut self, census: &Census) -> Arc<Message> {
        let (stream, crowded) = (&self.stream, self.crowded);
        let encode = || {
            let members = (!crowded).then(|| census.listed().list());
            let counts = census.counts();
            let payload =
                Presence { members: members.as_deref(), users: counts.users, devices: counts.devices };
            Arc::new(ServerMessage::Presence { stream, payload }.message())
        };
        self.state.get_or_insert_with(encode).clone()
    }
}
