//! Stopping a node without anybody noticing.
//!
//! From the signal on the node is not ready and takes no new connections; each client is told a
//! moment of its own within the window at which to move, and is closed with 1012 when it has not.

use std::time::Duration;

use common::Stream;
use fanout::Hub;
use tokio::{sync::watch, time::Instant};

use super::connections::Connections;

/// Whether the node is stopping.
pub struct Drain {
    stopping: watch::Sender<bool>,
}

impl Default for Drain {
    fn default() -> Self {
        Self { stopping: watch::Sender::new(false) }
    }
}

/// What closing the last connections may take beyond the window: answers under way and closing
/// handshakes.
const GRACE: Duration = Duration::from_secs(5);

impl Drain {
    /// Whether the node is stopping.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Changes once, when the node begins to stop. For a session that begins after that it has
    /// changed already.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        let mut receiver = self.stopping.subscribe();
        if *receiver.borrow_and_update() {
            receiver.mark_changed();
        }
        receiver
    }

    /// Tells everybody, and waits until all connections are gone, or the window and a grace are over.
    /// Returns how many are left.
    pub(crate) async fn run(&self, hub: &Hub, connections: &Connections, window: Duration) -> usize {
        self.stopping.send_replace(true);
        // Every session follows the stream of all, and looks whether the node stops when it is woken: to
        // wait for that beside everything else would cost each of them something at each delivery.
        hub.wake_followers(&Stream::All);
        let deadline = Instant::now() + window + GRACE;
        while connections.total() > 0 && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        connections.total()
    }
}
