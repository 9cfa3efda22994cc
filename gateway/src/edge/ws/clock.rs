//! What a session does when it is time: heartbeats, the end of its token, the stop of the node.

use std::time::Duration;

use common::{
    close::Close,
    protocol::{Reconnect, ServerMessage, TokenExpiring},
    time::unix_ms,
};
use metrics::histogram;
use tokio::time::Instant;

use super::{
    heartbeat::Beat,
    outcome::{End, node_stops, token_expired},
    session::Session,
};
use crate::auth::TokenState;

impl Session {
    /// When the session has to act by itself next.
    pub(super) fn deadline(&self) -> Instant {
        let by_itself = match &self.expiry {
            Some(expiry) => Instant::now() + expiry.wait(unix_ms()),
            None => self.spoke_at + self.limits().anonymous_idle,
        };
        let deadline = self.heartbeat.deadline().min(by_itself);
        let grants = self.grants.as_ref().and_then(|grants| grants.deadline(Instant::now(), unix_ms()));
        let others = self.leave_at.into_iter().chain(self.paused_until).chain(grants);
        others.fold(deadline, Instant::min)
    }

    pub(super) async fn tick(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if self.leave_at.is_some_and(|leave_at| now >= leave_at) {
            return Err(node_stops());
        }
        // Each heartbeat comes by here, so a wall clock that was set is noticed at the next one.
        match self.expiry.as_mut().map(|expiry| expiry.look(unix_ms())) {
            Some(TokenState::Ended) => return Err(token_expired()),
            Some(TokenState::Ending(left)) => self.warn(None, left),
            None if now >= self.spoke_at + self.limits().anonymous_idle => {
                return Err(End::close(Close::Dead, "idle for too long without a token"));
            }
            _ => {}
        }
        self.look_at_grants();
        if let Some(until) = self.paused_until {
            // Its pongs were not looked for.
            self.heartbeat.alive();
            self.paused_until = Some(until).filter(|until| now < *until);
        }
        match self.heartbeat.due(now) {
            Beat::Wait => {}
            Beat::Dead => return Err(End::close(Close::Dead, "no answer to pings")),
            Beat::Ping => {
                let payload = self.heartbeat.pinged(now);
                Box::pin(self.socket.ping(&payload, self.limits().heartbeat.timeout)).await?;
            }
        }
        Ok(())
    }

    /// Says that a token ends soon: the connection's, or the one of a topic's stream.
    pub(super) fn warn(&mut self, stream: Option<&str>, left: Duration) {
        let in_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        self.push(ServerMessage::TokenExpiring { stream, payload: TokenExpiring { in_ms } }.json());
    }

    /// A ping was answered.
    pub(super) fn ponged(&mut self, payload: &[u8]) {
        if let Some(round_trip) = self.heartbeat.ponged(payload, Instant::now()) {
            histogram!("draftwire_round_trip_seconds").record(round_trip.as_secs_f64());
        }
    }

    /// The node is about to stop: every client gets a moment of its own within the window, so that
    /// the other nodes are not met by all at once.
    pub(super) fn ask_to_leave(&mut self) {
        let window = self.context.live.node().websocket.drain_window;
        let delay = window.mul_f64(rand::random_range(0.0..0.9));
        // The client may need a moment to act on it.
        self.leave_at = Some(Instant::now() + delay + window.mul_f64(0.1));
        let in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.push(ServerMessage::Reconnect { payload: Reconnect { in_ms } }.json());
    }
}
