//! What the handles of a client share with the task of its connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::Serialize;
use tokio::{
    sync::{Notify, Semaphore, broadcast, oneshot, watch},
    task::unconstrained,
};

use crate::{
    draft::DraftChange,
    error::{Closed, Code, CommandError, ConnectError, Refusal},
    message::Event,
    session::{Ack, Effect, Session, TokenRequest, Wish},
    token::TokenSource,
};

/// Commands without an answer that a client keeps; further ones wait to be taken.
pub const COMMANDS_MAX: usize = 1024;

/// Changes of drafts that a [`DraftChanges`](crate::DraftChanges) has not taken; beyond it the oldest are let
/// go, and [`DraftChange::Reset`] says so.
pub const DRAFT_CHANGES_MAX: usize = 1024;

/// Events of the user and broadcasts that an [`Events`](crate::Events) has not taken; beyond it the oldest are
/// let go, and [`Notice::Missed`] says so.
pub const EVENTS_MAX: usize = 1024;

/// How a client stands with the server.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ConnectionState {
    /// A connection is being opened.
    Connecting,
    /// There is one.
    Connected {
        /// The node that serves it.
        node: String,
        /// Its name in the server's logs.
        connection_id: String,
    },
    /// There is none, and another attempt follows after a pause.
    Waiting {
        /// Why.
        error: Arc<ConnectError>,
        /// The pause.
        pause: Duration,
    },
    /// The client has ended.
    Closed(Closed),
}

/// What comes of the user's stream besides drafts, and of the stream `all`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// An event.
    Event(Event),
    /// Some are missing: the log no longer holds them, or they came faster than they were taken.
    Missed,
}

/// What the connection's task itself has to act on.
#[derive(Debug)]
pub(crate) enum Control {
    Connected,
    TokenExpiring,
    Reconnect(Duration),
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) session: Session,
    answers: HashMap<String, oneshot::Sender<Result<Ack, CommandError>>>,
    topics: HashMap<String, Followed>,
    closed: Option<Closed>,
}

/// A topic that an application follows.
#[derive(Debug)]
struct Followed {
    /// Wakes whoever waits for something of it.
    news: Arc<Notify>,
    token: TokenSource,
}

#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Wakes the connection's task: something may be to be sent, or the client was closed.
    pub(crate) wake: Notify,
    slots: Semaphore,
    pub(crate) connection: watch::Sender<ConnectionState>,
    pub(crate) drafts: broadcast::Sender<DraftChange>,
    /// Counts changes of the drafts, for those who wait for a condition.
    pub(crate) drafts_version: watch::Sender<u64>,
    pub(crate) user: broadcast::Sender<Notice>,
    pub(crate) all: broadcast::Sender<Notice>,
    /// Counts answers, for those who wait until none is missing.
    answered: watch::Sender<u64>,
}

impl Shared {
    pub(crate) fn new(session: Session) -> Self {
        let (answers, topics) = (HashMap::new(), HashMap::new());
        Self {
            state: Mutex::new(State { session, answers, topics, closed: None }),
            wake: Notify::new(),
            slots: Semaphore::new(COMMANDS_MAX),
            connection: watch::Sender::new(ConnectionState::Connecting),
            drafts: broadcast::Sender::new(DRAFT_CHANGES_MAX),
            drafts_version: watch::Sender::new(0),
            user: broadcast::Sender::new(EVENTS_MAX),
            all: broadcast::Sender::new(EVENTS_MAX),
            answered: watch::Sender::new(0),
        }
    }

    /// The state. What a task left behind that panicked is as good as any other moment.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn closed(&self) -> Option<Closed> {
        self.state().closed.clone()
    }

    /// Gives a command and waits for its answer. Once it has been taken, it stays with the client until it is
    /// answered, also where the future is dropped.
    pub(crate) async fn command(
        &self,
        kind: &str,
        payload: &impl Serialize,
        key: Option<String>,
    ) -> Result<Ack, CommandError> {
        // At its first poll a command gets its place, or one in the queue for places: a task that has used up its
        // budget would otherwise lose its turn here, and with it the order of its commands.
        match unconstrained(self.slots.acquire()).await {
            Ok(slot) => slot.forget(),
            Err(_) => return Err(self.ended()),
        }
        let submitted = self.submit(kind, payload, key);
        if submitted.is_err() {
            self.slots.add_permits(1);
        }
        let answered = submitted?;
        self.wake.notify_one();
        answered.await.unwrap_or_else(|_| Err(self.ended()))
    }

    fn submit(
        &self,
        kind: &str,
        payload: &impl Serialize,
        key: Option<String>,
    ) -> Result<oneshot::Receiver<Result<Ack, CommandError>>, CommandError> {
        let mut state = self.state();
        if let Some(closed) = &state.closed {
            return Err(closed.clone().into());
        }
        if key.as_ref().is_some_and(|key| state.answers.contains_key(key)) {
            let what = "another command with this key waits for its answer";
            return Err(Refusal::new(Code::BadRequest, what, None).into());
        }
        let id = state.session.submit(kind, payload, key)?;
        let (answer, answered) = oneshot::channel();
        state.answers.insert(id, answer);
        drop(state);
        // It may have been refused at once.
        self.settle();
        Ok(answered)
    }

    /// Gives a signal and waits for its answer.
    pub(crate) async fn signal(&self, payload: &impl Serialize) -> Result<(), CommandError> {
        let answered = {
            let mut state = self.state();
            if let Some(closed) = &state.closed {
                return Err(closed.clone().into());
            }
            let Some(id) = state.session.signal(payload)? else { return Err(CommandError::NotConnected) };
            let (answer, answered) = oneshot::channel();
            state.answers.insert(id, answer);
            answered
        };
        self.wake.notify_one();
        match answered.await {
            Ok(Err(CommandError::Refused(refusal))) if refusal.code == Code::Unavailable => {
                Err(CommandError::NotConnected)
            }
            Ok(answer) => answer.map(drop),
            Err(_) => Err(self.ended()),
        }
    }

    fn ended(&self) -> CommandError {
        self.closed().unwrap_or(Closed::ByApplication).into()
    }

    /// Acts on the session's effects. Returns those that are for the connection's task.
    pub(crate) fn settle(&self) -> Vec<Control> {
        let mut controls = Vec::new();
        let (mut drafts, mut answers) = (0, 0);
        let mut state = self.state();
        while let Some(effect) = state.session.next_effect() {
            match effect {
                Effect::Connected(welcome) => {
                    let (node, connection_id) = (welcome.node, welcome.connection_id);
                    self.connection.send_replace(ConnectionState::Connected { node, connection_id });
                    controls.push(Control::Connected);
                }
                Effect::Answered { id, result, is_signal } => {
                    if let Some(answer) = state.answers.remove(&id) {
                        // Whoever has gone does not need the answer.
                        let _ = answer.send(result.map_err(Into::into));
                    }
                    if !is_signal {
                        self.slots.add_permits(1);
                    }
                    answers += 1;
                }
                Effect::TokenExpiring => controls.push(Control::TokenExpiring),
                Effect::TokenRefused(refusal) => tracing::warn!(%refusal, "a fresh token was refused"),
                Effect::Reconnect(after) => controls.push(Control::Reconnect(after)),
                Effect::Draft(change) => {
                    drafts += 1;
                    // Sending fails where nobody listens.
                    let _ = self.drafts.send(change);
                }
                Effect::User(event) => drop(self.user.send(Notice::Event(event))),
                Effect::Broadcast(event) => drop(self.all.send(Notice::Event(event))),
                Effect::BroadcastsMissed(_) => drop(self.all.send(Notice::Missed)),
                Effect::Stray(stray) => tracing::debug!(?stray, "something came that was not asked for"),
                Effect::Topic(name) => {
                    if let Some(topic) = state.topics.get(&name) {
                        topic.news.notify_one();
                    }
                }
            }
        }
        drop(state);
        if drafts > 0 {
            self.drafts_version.send_modify(|version| *version += 1);
        }
        if answers > 0 {
            self.answered.send_modify(|count| *count += 1);
        }
        controls
    }

    /// Waits until every command has its answer, or the client has ended.
    pub(crate) async fn flushed(&self) -> Result<(), Closed> {
        let mut answered = self.answered.subscribe();
        loop {
            answered.mark_unchanged();
            {
                let state = self.state();
                if let Some(closed) = &state.closed {
                    return Err(closed.clone());
                }
                if state.session.pending_len() == 0 {
                    return Ok(());
                }
            }
            // The sender lives as long as this.
            let _ = answered.changed().await;
        }
    }

    /// Follows a topic. Returns what tells of something new; `None` when it is followed already.
    pub(crate) fn follow(&self, name: &str, wish: Wish, token: TokenSource) -> Option<Arc<Notify>> {
        let mut state = self.state();
        if !state.session.follow(name, wish) {
            return None;
        }
        let news = Arc::new(Notify::new());
        state.topics.insert(name.to_owned(), Followed { news: Arc::clone(&news), token });
        Some(news)
    }

    /// The next topic that needs a token, and where it comes from.
    pub(crate) fn next_token_request(&self) -> Option<(TokenRequest, TokenSource)> {
        let mut state = self.state();
        let request = state.session.next_token_request()?;
        let source = state.topics.get(&request.topic).map(|topic| topic.token.clone());
        Some((request, source.unwrap_or_default()))
    }

    pub(crate) fn forget_topic(&self, name: &str) {
        let mut state = self.state();
        state.session.leave(name);
        state.topics.remove(name);
        drop(state);
        self.wake.notify_one();
    }

    /// Ends the client: nothing is sent any more, and whoever waits is told. The first reason counts.
    pub(crate) fn close(&self, reason: Closed) {
        let mut state = self.state();
        if state.closed.is_some() {
            return;
        }
        state.closed = Some(reason.clone());
        state.session.disconnected();
        state.session.give_up();
        // Dropped senders tell their receivers, who ask why.
        state.answers.clear();
        let topics: Vec<_> = state.topics.values().map(|topic| Arc::clone(&topic.news)).collect();
        drop(state);
        self.slots.close();
        for topic in topics {
            topic.notify_one();
        }
        self.answered.send_modify(|count| *count += 1);
        self.drafts_version.send_modify(|version| *version += 1);
        self.connection.send_replace(ConnectionState::Closed(reason));
        self.wake.notify_one();
    }
}
