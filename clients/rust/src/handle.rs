//! What keeps a client alive.

use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::shared::Shared;

/// The connection's task, which ends with the last handle.
#[derive(Debug)]
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) task: JoinHandle<()>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.task.abort();
    }
}
