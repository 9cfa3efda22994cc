//! How a session ends.

use std::time::Duration;

use common::close::Close;
use metrics::counter;
use tokio::time::timeout;

use super::{outcome::End, session::Session};
use crate::edge::{connection_log::disconnected, traffic::Transport};

/// How long a stopping node waits for commands that are under way before it closes a connection.
const SETTLE_MAX: Duration = Duration::from_secs(2);

/// How long it then tries to send their answers. With the closing handshake all of it stays within
/// the grace of a drain.
const LAST_SEND_MAX: Duration = Duration::from_millis(500);

impl Session {
    pub(super) async fn end(mut self: Box<Self>, end: End) {
        if matches!(end, End::Close(Close::Restart, _)) {
            self.settle().await;
        }
        let label = match &end {
            End::Gone => "gone",
            End::Close(close, _) => close.label(),
        };
        disconnected(Transport::WebSocket, self.who(), label, self.connected_at.elapsed());
        // Others need not see the device here, nor the streams be held, while the connection ends.
        drop(self.subscriptions);
        match end {
            End::Gone => {
                counter!("draftwire_closes_total", "code" => "gone").increment(1);
                self.socket.part().await;
            }
            // Also where nobody seems to read: a client that only leaves pings unanswered learns why, and
            // for one that is gone the wait is bounded.
            End::Close(close, reason) => super::close(self.socket, close, &reason).await,
        }
    }

    /// Waits for commands in flight and sends their answers, so that a stop fails none of them.
    pub(super) async fn settle(&mut self) {
        let answered = async {
            while !self.pending.is_empty() {
                let outcome = self.pending.next().await;
                self.finished(outcome);
            }
        };
        // One that takes too long must not keep back the answers of the others.
        let _ = timeout(SETTLE_MAX, answered).await;
        // A client that has gone in the meantime asks again elsewhere.
        let _ = timeout(LAST_SEND_MAX, self.socket.send(self.outbox.frames(), LAST_SEND_MAX)).await;
    }
}
