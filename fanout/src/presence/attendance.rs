//! A connection's part in a room.

use std::sync::Arc;

use common::{Message, protocol::Device};
use metrics::gauge;
use tokio::time::Instant;

use super::rooms::Attended;

/// Makes a device present in a stream, and tells who else is. Dropping it leaves.
pub struct Attendance {
    attended: Arc<Attended>,
    device: Device,
    watcher: usize,
    /// The number of the last change told; `None` before the first state.
    seen: Option<u64>,
}

impl Attendance {
    pub(super) fn new(attended: Arc<Attended>, device: Device, watcher: usize) -> Self {
        Self { attended, device, watcher, seen: None }
    }

    /// What has not been told yet, in order, each message encoded once for all who watch on this node.
    ///
    /// First the state (`PRESENCE`), then who came and left since (`JOIN`, `LEAVE`); the state again when
    /// that is more than is kept, or when there are too many members to name: then it is only how many
    /// they are, at most once a second. Empty when nothing is due.
    pub fn due(&mut self) -> Vec<Arc<Message>> {
        self.attended.state().room.due(&mut self.seen)
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        let mut state = self.attended.state();
        state.watchers.try_remove(self.watcher);
        if state.room.leave(&self.device, Instant::now()) {
            gauge!("draftwire_presence_members").decrement(1.0);
        }
        state.wake_watchers();
        drop(state);
        self.attended.wake();
    }
}
