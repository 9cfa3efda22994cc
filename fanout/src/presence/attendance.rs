//! A connection's part in a room.

use std::sync::Arc;

use common::{Message, protocol::Device};
use metrics::gauge;
use tokio::time::Instant;

use super::room::Room;

/// Makes a device present in a stream, and reports who else is. Dropping it leaves.
pub struct Attendance {
    room: Arc<Room>,
    device: Device,
    watcher: usize,
    /// The number of the last update that was handed out; `None` before the first state.
    seen: Option<u64>,
}

impl Attendance {
    pub(super) fn new(room: Arc<Room>, device: Device, watcher: usize) -> Self {
        Self { room, device, watcher, seen: None }
    }

    /// Returns the messages that this connection has not been sent yet, in order, each encoded once for all
    /// watchers on this node.
    ///
    /// First the state (`PRESENCE`), then who came and left since (`JOIN`, `LEAVE`). The state again when
    /// that is more than is kept, or when there are too many members to list: then it holds only their
    /// numbers, and comes at most once a second. Empty when nothing is due.
    pub fn due(&mut self) -> Vec<Arc<Message>> {
        self.room.state().members.due(&mut self.seen)
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.watchers.try_remove(self.watcher);
        if state.members.leave(&self.device, Instant::now()) {
            gauge!("draftwire_presence_members").decrement(1.0);
        }
        state.wake_watchers();
        drop(state);
        self.room.wake();
    }
}
