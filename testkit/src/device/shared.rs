//! What a device and the task of its connection share.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::{oneshot, watch};

use super::{
    answer::{Ack, Refused},
    replica::Replica,
};

/// What happened to a device so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that reached `WELCOME`.
    pub connections: u64,
    /// The same by the node that served them.
    pub nodes: BTreeMap<String, u64>,
    /// Connections that went on from the device's cursor and received all that was missed.
    pub resumes: u64,
    /// Commands sent again on another connection.
    pub resent: u64,
    /// `SNAPSHOT`s taken.
    pub snapshots: u64,
    /// Answers `unavailable`.
    pub unavailable: u64,
    /// Connections given up because nothing came for two heartbeats.
    pub silent: u64,
    /// `RECONNECT`s followed.
    pub moved: u64,
    /// Frames that held several messages.
    pub batches: u64,
    /// The codes that the server closed with, in order.
    pub closes: Vec<u16>,
}

#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Marked with every change of the state.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) replica: Replica,
    pub(super) counters: Counters,
    /// The node and connection that serve the device now.
    pub(super) connected: Option<Connected>,
    /// The code after which a client does not come back.
    pub(super) closed: Option<u16>,
    /// The highest version acknowledged, by draft.
    pub(super) acked: BTreeMap<String, u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Connected {
    pub(super) node: String,
    pub(super) connection_id: String,
}

/// What the owner asks of the connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Control {
    pub(super) online: bool,
    pub(super) reading: bool,
    /// Counts requests to drop the connection.
    pub(super) dropped: u64,
    /// Counts changes of the topics to follow.
    pub(super) topics: u64,
}

/// A command on its way to the connection.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) id: String,
    pub(super) message: Value,
    pub(super) answer: oneshot::Sender<Result<Ack, Refused>>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), changed: watch::Sender::new(()) }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while looking has changed nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.changed.send_replace(());
        result
    }

    /// Waits until the condition holds.
    pub(super) async fn watch(&self, condition: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        while !condition(&self.state()) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}
