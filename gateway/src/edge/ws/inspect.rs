//! What operators are shown of a session, without disturbing it.

use std::time::Duration;

use super::{parking::Parking, session::Session};
use crate::edge::connections::{Inspect, Standing};

impl Session {
    /// Where it stands at this moment.
    pub(super) fn standing(&self) -> Standing {
        let (cursors, more_cursors) = self.subscriptions.standing();
        let round_trip = Some(self.heartbeat.round_trip()).filter(|round_trip| *round_trip > Duration::ZERO);
        let bytes_waiting = Some(self.outbox.waiting_bytes() + self.socket.owed_bytes());
        Standing { round_trip, bytes_waiting, cursors, more_cursors }
    }
}

impl Inspect for Parking<Session> {
    /// Of a session that runs just now nothing is seen: it is asked again, or has said where it stands before it began
    /// to wait for its client.
    fn standing(&self) -> Option<Standing> {
        self.look(Session::standing)
    }
}
