//! What a device and the task of its connection share.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use serde_json::Value;
use tokio::sync::{Notify, Semaphore, oneshot, watch};

use super::{
    answer::{Ack, Refused, local},
    replica::Replica,
};
use crate::contract;

/// Commands without an answer at one time; callers wait when there are more.
const PENDING_MAX: usize = 1024;

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
    /// Wakes the connection's task: something may be to be sent.
    pub(super) wake: Notify,
    /// Places for commands without an answer.
    slots: Semaphore,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) replica: Replica,
    pub(super) counters: Counters,
    /// The node and connection that serve the device now.
    pub(super) connected: Option<Connected>,
    /// The code after which a client does not come back.
    pub(super) closed: Option<u16>,
    /// The highest version acknowledged, by draft.
    pub(super) acked: BTreeMap<String, u64>,
    /// Who waits for the answer to a command.
    answers: HashMap<String, oneshot::Sender<Result<Ack, Refused>>>,
    /// What the owner has sent past the session, and waits for its turn.
    pub(super) misuse: Option<Value>,
    /// What was sent and has no answer, by its id, and over which connection.
    sent: HashMap<String, (u64, Value)>,
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
}

impl State {
    pub(super) fn new(replica: Replica) -> Self {
        Self {
            replica,
            counters: Counters::default(),
            connected: None,
            closed: None,
            acked: BTreeMap::new(),
            answers: HashMap::new(),
            misuse: None,
            sent: HashMap::new(),
        }
    }

    /// What is to be sent next.
    pub(super) fn next_message(&mut self) -> Option<Value> {
        if let Some(message) = self.misuse.take_if(|_| self.replica.session.is_connected()) {
            return Some(message);
        }
        let text = self.replica.session.next_message()?;
        // The session writes JSON.
        let message: Value = serde_json::from_str(&text).ok()?;
        if let Some(id) = message["id"].as_str() {
            let connection = self.counters.connections;
            let before = self.sent.insert(id.to_owned(), (connection, message.clone()));
            self.counters.resent += u64::from(before.is_some_and(|(other, _)| other != connection));
        }
        Some(message)
    }

    /// Notes an `ACK`. Returns what the API documents do not say of the command that was carried out.
    pub(super) fn acknowledged(&mut self, ack: &Value) -> Option<String> {
        let (_, command) = self.sent.remove(ack["id"].as_str()?)?;
        contract::command_fault(&command, ack)
    }

    /// Notes an `ERROR`. The owner's commands may be sent again.
    pub(super) fn refused(&mut self, error: &Value) {
        let is_unavailable = error["code"] == "unavailable";
        self.counters.unavailable += u64::from(is_unavailable);
        if let Some(id) = error["id"].as_str()
            && !(is_unavailable && self.answers.contains_key(id))
        {
            self.sent.remove(id);
        }
    }

    /// The connection has ended: what the next one asks for itself is asked for anew.
    pub(super) fn disconnected(&mut self) {
        self.connected = None;
        self.replica.disconnected();
        self.sent.retain(|id, _| self.answers.contains_key(id));
    }
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
            wake: Notify::new(),
            slots: Semaphore::new(PENDING_MAX),
        }
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

    /// Gives a command to the session and waits for its answer; `None` when the device does not connect again.
    /// Once it was given, it is repeated until it is answered, also when the future is dropped.
    pub(super) async fn command(&self, kind: &str, payload: &Value) -> Option<Result<Ack, Refused>> {
        self.slots.acquire().await.ok()?.forget();
        let answered = {
            let mut state = self.state();
            if state.closed.is_some() {
                return None;
            }
            let id = state.replica.session.submit(kind, payload, None).ok()?;
            let (answer, answered) = oneshot::channel();
            state.answers.insert(id, answer);
            answered
        };
        self.wake.notify_one();
        answered.await.ok()
    }

    /// A command has its answer.
    pub(super) fn answer(&self, id: &str, answer: Result<Ack, Refused>) {
        let mut state = self.state();
        state.sent.remove(id);
        if let Some(owner) = state.answers.remove(id) {
            self.slots.add_permits(1);
            // The caller may have given up.
            let _ = owner.send(answer);
        }
    }

    /// The device does not connect again.
    pub(super) fn close(&self, code: u16) {
        self.slots.close();
        self.change(|state| {
            state.closed = Some(code);
            for (_, owner) in state.answers.drain() {
                // The caller may have given up.
                let _ = owner.send(Err(local("closed", &format!("closed with {code}"))));
            }
        });
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
