//! The presence messages for the watchers of a stream on this node. Pure: time is an argument.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use common::{
    Message,
    protocol::{Member, Presence, ServerMessage},
};
use tokio::time::Instant;

use super::membership::{Change, Membership};

/// The recent changes, each encoded once for all watchers. A watcher keeps the number of the last update that
/// it was sent. One whose next change is no longer kept, or that has no number yet, is sent the state instead.
///
/// When there are too many members to list, only their numbers are sent, as a state every time: then no
/// changes are kept, and every watcher is sent the state.
#[derive(Debug)]
pub(crate) struct PresenceUpdates {
    /// The stream's name in the protocol.
    stream: String,
    list_max: usize,
    recent: VecDeque<Arc<Message>>,
    /// The number of the last update.
    newest: u64,
    /// The present state, if a watcher has needed it.
    state: Option<Arc<Message>>,
    /// Members are counted, not listed.
    counted: bool,
    /// A state is to be sent to all watchers.
    state_due: bool,
    /// When a state was last sent to all watchers.
    state_sent: Option<Instant>,
}

/// Changes kept per stream. A state lists some hundred members, so beyond this many changes it is shorter.
const RECENT_MAX: usize = 128;

/// The shortest time between two states that are sent to all watchers.
const STATE_PAUSE: Duration = Duration::from_secs(1);

impl PresenceUpdates {
    pub(crate) fn new(stream: String, list_max: usize) -> Self {
        Self {
            stream,
            list_max,
            recent: VecDeque::new(),
            newest: 0,
            state: None,
            counted: false,
            state_due: false,
            state_sent: None,
        }
    }

    /// Adds changes; without any, the counts alone have changed. Returns whether there is something to send to
    /// watchers.
    pub(crate) fn add(&mut self, changes: &[Change], membership: &Membership, now: Instant) -> bool {
        self.state = None;
        let was_counted = self.counted;
        self.counted = self.must_count(membership);
        if self.counted || was_counted || self.state_due {
            self.state_due = true;
            return self.send_state(now);
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

    /// Makes every watcher get the state, if that is due. Returns whether it is.
    pub(crate) fn send_state(&mut self, now: Instant) -> bool {
        if self.next_state(now).is_none_or(|next| next > now) {
            return false;
        }
        self.state_due = false;
        self.state_sent = Some(now);
        self.recent.clear();
        self.newest += 1;
        true
    }

    /// When the next state is due.
    pub(crate) fn next_state(&self, now: Instant) -> Option<Instant> {
        self.state_due.then(|| self.state_sent.map_or(now, |sent| sent + STATE_PAUSE))
    }

    /// Returns the messages for a watcher that was last sent number `seen`.
    pub(crate) fn due(&mut self, seen: &mut Option<u64>, membership: &Membership) -> Vec<Arc<Message>> {
        let missed = seen.replace(self.newest).map(|seen| self.newest - seen);
        let missed = missed.and_then(|missed| usize::try_from(missed).ok());
        match missed {
            Some(missed) if missed <= self.recent.len() => {
                self.recent.range(self.recent.len() - missed..).cloned().collect()
            }
            _ => vec![self.state(membership)],
        }
    }

    /// Returns whether members are counted at present instead of listed.
    pub(crate) fn is_counted(&self) -> bool {
        self.counted
    }

    /// Returns whether members are to be counted instead of listed. To be listed again they must be a tenth below the
    /// limit, so that a single device that comes and goes does not switch between the two each time.
    fn must_count(&self, membership: &Membership) -> bool {
        let margin = if self.counted { self.list_max / 10 } else { 0 };
        membership.is_counted() || membership.listed().len() > self.list_max - margin
    }

    fn state(&mut self, membership: &Membership) -> Arc<Message> {
        let (stream, counted) = (&self.stream, self.counted);
        let encode = || {
            let members = (!counted).then(|| membership.listed().list());
            let counts = membership.counts();
            let payload =
                Presence { members: members.as_deref(), users: counts.users, devices: counts.devices };
            Arc::new(ServerMessage::Presence { stream, payload }.message())
        };
        self.state.get_or_insert_with(encode).clone()
    }
}
