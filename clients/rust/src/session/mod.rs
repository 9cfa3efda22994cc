//! The client's side of the protocol without I/O: what to send, what has come, where the client stands.
//!
//! A [`Session`] outlives connections. Whoever drives it opens a connection with [`Session::query`], hands it
//! what comes ([`Session::receive`]), sends what is due ([`Session::next_message`]), acts on its
//! [`Effect`]s, and says when the connection has ended ([`Session::disconnected`]). It holds the promises of
//! the protocol's page, "What a client does", and can be tested as a value.

mod close;
mod commands;
mod effect;
mod following;
mod position;
mod topic;
#[cfg(test)]
mod topic_tests;
mod topics;
mod user;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use serde::Serialize;

pub use self::{
    close::AfterClose,
    commands::IN_FLIGHT_MAX,
    effect::{Ack, Effect, Next, SessionOptions, Stray, TopicItem, TopicState, Wish},
    topic::{TOPIC_BYTES_MAX, TOPIC_ITEMS_MAX},
    topics::TokenRequest,
};
use self::{commands::Commands, position::Position, topics::Topics, user::UserStream};
use crate::{
    cursor::Cursor,
    error::{Code, Refusal, Violation},
    message::{self, InMs, Incoming, SubscribeAnswers, Welcome, body, write},
    replica::Replica,
};

/// Where the session is on its way to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Offline,
    /// A connection that has not said `WELCOME`.
    Greeting,
    Ready,
}

/// The client's side of the protocol. See the [module](self).
#[derive(Debug)]
pub struct Session {
    device: String,
    id_prefix: String,
    last_id: u64,
    phase: Phase,
    message_bytes_max: Option<usize>,
    user: UserStream,
    all: Position,
    commands: Commands,
    topics: Topics,
    /// Signals that were sent on this connection and have no answer.
    signals: BTreeSet<String>,
    auth: Option<String>,
    /// Messages outside of the order of commands: each is sent once, on this connection.
    outbox: VecDeque<String>,
    effects: VecDeque<Effect>,
}

impl Session {
    /// A session that has not connected yet.
    pub fn new(options: SessionOptions) -> Self {
        Self {
            device: options.device,
            id_prefix: options.id_prefix,
            last_id: 0,
            phase: Phase::Offline,
            message_bytes_max: None,
            user: UserStream::new(options.replica),
            all: Position::new(options.all),
            commands: Commands::default(),
            topics: Topics::default(),
            signals: BTreeSet::new(),
            auth: None,
            outbox: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    /// The parameters of the next connection: the device, and where the client stands.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = vec![("device", self.device.clone()), ("batch", "1".to_owned())];
        query.extend(self.user.cursor().map(|cursor| ("cursor", cursor.to_string())));
        query.extend(self.all.cursor().map(|cursor| ("all", cursor.to_string())));
        query
    }

    /// A connection has been opened.
    pub fn connected(&mut self) {
        self.disconnected();
        self.phase = Phase::Greeting;
    }

    /// The connection has ended. Signals without an answer are given up; all else is sent again on the next.
    pub fn disconnected(&mut self) {
        self.phase = Phase::Offline;
        self.user.reconnect();
        self.outbox.clear();
        self.auth = None;
        self.commands.reconnect();
        self.topics.reconnect();
        for id in std::mem::take(&mut self.signals) {
            let lost = Refusal::new(Code::Unavailable, "the connection ended before the answer", None);
            self.effects.push_back(Effect::Answered { id, result: Err(lost), is_signal: true });
        }
    }

    /// Whether `WELCOME` has come on this connection.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// The drafts; `None` when the session keeps none.
    pub fn replica(&self) -> Option<&Replica> {
        self.user.replica()
    }

    /// Where the client stands in the user's stream; `None` before the first connection, and without a user.
    pub fn cursor(&self) -> Option<&Cursor> {
        self.user.cursor()
    }

    /// Where the client stands in the stream `all`.
    pub fn all(&self) -> Option<&Cursor> {
        self.all.cursor()
    }

    /// The commands that have no answer yet.
    pub fn pending_len(&self) -> usize {
        self.commands.len()
    }

    /// Gives a command that changes something; it is repeated until it is answered. `key` is its id, for one
    /// that an earlier session may have sent already. Returns the id.
    ///
    /// # Errors
    /// When the payload does not serialise.
    pub fn submit(
        &mut self,
        kind: &str,
        payload: &impl Serialize,
        key: Option<String>,
    ) -> serde_json::Result<String> {
        let id = key.unwrap_or_else(|| self.next_id());
        let text = write(kind, Some(&id), Some(payload))?;
        self.commands.push(id.clone(), text);
        self.refuse_long_commands();
        Ok(id)
    }

    /// Gives a signal, which is sent once, on this connection. Returns its id, `None` without a connection.
    ///
    /// # Errors
    /// When the payload does not serialise.
    pub fn signal(&mut self, payload: &impl Serialize) -> serde_json::Result<Option<String>> {
        if self.phase != Phase::Ready {
            return Ok(None);
        }
        let id = self.next_id();
        self.outbox.push_back(write("PUBLISH", Some(&id), Some(payload))?);
        self.signals.insert(id.clone());
        Ok(Some(id))
    }

    /// Sends a fresh token over the open connection.
    pub fn authenticate(&mut self, token: &str) {
        if self.phase != Phase::Ready {
            return;
        }
        #[derive(Serialize)]
        struct Auth<'a> {
            token: &'a str,
        }
        let id = self.next_id();
        // A text always serialises.
        self.outbox.extend(write("AUTH", Some(&id), Some(Auth { token })));
        self.auth = Some(id);
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self) {
        if self.phase == Phase::Ready {
            self.outbox.push_back(r#"{"type":"PING"}"#.to_owned());
        }
    }

    /// The next message to send; `None` while nothing is due.
    pub fn next_message(&mut self) -> Option<String> {
        if self.phase != Phase::Ready {
            return None;
        }
        if let Some(message) = self.outbox.pop_front() {
            return Some(message);
        }
        let (prefix, last) = (&self.id_prefix, &mut self.last_id);
        let mut id = || numbered(prefix, last);
        let message = self.user.next(&mut id).or_else(|| self.topics.next(&mut id));
        if message.is_some() {
            return message;
        }
        self.commands.next().map(str::to_owned)
    }

    /// Whether something was refused for the moment and has to be asked for again after a pause, with
    /// [`Session::retry`].
    pub fn wants_retry(&self) -> bool {
        self.phase == Phase::Ready
            && (self.commands.wants_retry() || self.topics.wants_retry() || self.user.wants_retry())
    }

    /// Whether nothing waits for an answer, a token or a pause.
    pub fn is_settled(&self) -> bool {
        self.commands.len() == 0 && self.topics.is_settled() && !self.user.wants_retry()
    }

    /// The pause is over.
    pub fn retry(&mut self) {
        self.commands.retry();
        self.topics.retry();
        self.user.retry();
    }

    /// The next thing to act on.
    pub fn next_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Gives up all commands, and returns their ids.
    pub fn give_up(&mut self) -> Vec<String> {
        self.commands.take_all()
    }

    /// Gives up a command that was refused for the moment. The server is told, which otherwise holds back what was
    /// sent after it. Returns whether the command was one of those.
    pub fn withdraw(&mut self, id: &str) -> bool {
        let is_withdrawn = self.commands.withdraw(id);
        if is_withdrawn && self.phase == Phase::Ready {
            // An id always serialises.
            self.outbox.extend(write("PING", Some(id), None::<()>));
        }
        is_withdrawn
    }

    /// Takes a text frame of the server.
    ///
    /// # Errors
    /// When the server breaks the protocol. The connection is then to be ended; the next one resumes from
    /// where the client stood before.
    pub fn receive(&mut self, text: &str) -> Result<(), Violation> {
        let messages = message::read(text).map_err(|error| Violation::Malformed(error.to_string()))?;
        messages.iter().try_for_each(|message| self.take_message(message))
    }

    fn take_message(&mut self, message: &Incoming<'_>) -> Result<(), Violation> {
        if message.kind == "WELCOME" {
            return self.welcome(message);
        }
        if self.phase != Phase::Ready {
            return Err(Violation::Malformed(format!("{} before WELCOME", message.kind)));
        }
        match (message.kind.as_str(), message.stream.as_deref()) {
            ("ACK", None) => self.acknowledged(message),
            ("ERROR", None) => self.refused(message),
            ("TOKEN_EXPIRING", None) => {
                self.effects.push_back(Effect::TokenExpiring);
                Ok(())
            }
            ("RECONNECT", None) => {
                let after = Duration::from_millis(body::<InMs>(message)?.in_ms);
                self.effects.push_back(Effect::Reconnect(after));
                Ok(())
            }
            ("SNAPSHOT", Some("user")) => {
                self.effects.extend(self.user.snapshot(message)?);
                Ok(())
            }
            ("SYNCED", Some("user")) => self.user.synced(message),
            ("SYNCED", Some("all")) => {
                let missed = self.all.synced(message)?;
                self.effects.extend(missed.map(Effect::BroadcastsMissed));
                Ok(())
            }
            (_, Some(stream)) => match stream.strip_prefix("topic:") {
                Some(topic) => self.take_of_topic(stream, topic, message),
                None => self.take_event(stream, message),
            },
            // PONG, and what newer servers say.
            _ => Ok(()),
        }
    }

    fn welcome(&mut self, message: &Incoming<'_>) -> Result<(), Violation> {
        let welcome: Welcome = body(message)?;
        self.phase = Phase::Ready;
        self.message_bytes_max = usize::try_from(welcome.max_message_bytes).ok();
        if let Some(seq) = welcome.seq {
            self.user.welcome(&welcome.epoch, seq);
        }
        self.all.greet(&welcome.epoch, welcome.all_seq);
        self.refuse_long_commands();
        self.effects.push_back(Effect::Connected(welcome));
        Ok(())
    }

    fn acknowledged(&mut self, message: &Incoming<'_>) -> Result<(), Violation> {
        let Some(id) = message.id.as_deref() else { return Ok(()) };
        if self.user.is_list(id) {
            self.effects.extend(self.user.listed(body(message)?)?);
            return Ok(());
        }
        if self.auth.as_deref() == Some(id) {
            self.auth = None;
            return Ok(());
        }
        if let Some(names) = self.topics.asked(id) {
            if !self.topics.left(&names) {
                self.topics.subscribed(body::<SubscribeAnswers>(message)?.topics);
            }
            self.effects.extend(names.into_iter().map(Effect::Topic));
            return Ok(());
        }
        self.answer(id, Ok(Ack { seq: message.seq, payload: message.data() }));
        Ok(())
    }

    fn refused(&mut self, message: &Incoming<'_>) -> Result<(), Violation> {
        let Some(id) = message.id.as_deref() else {
            let text = message.message.clone().unwrap_or_default();
            return Err(Violation::Malformed(format!("the server could not read a message: {text}")));
        };
        let code = Code::from(message.code.as_deref().unwrap_or_default());
        let text = message.message.clone().unwrap_or_default();
        let refusal = Refusal::new(code, text, message.data());
        let is_for_the_moment = refusal.is_for_the_moment();
        if self.user.is_list(id) {
            self.user.list_refused(is_for_the_moment);
        } else if self.auth.as_deref() == Some(id) {
            self.auth = None;
            self.effects.push_back(Effect::TokenRefused(refusal));
        } else if let Some(names) = self.topics.asked(id) {
            self.topics.refused(&names, &refusal);
            self.effects.extend(names.into_iter().map(Effect::Topic));
        } else if !(is_for_the_moment && self.commands.refused_for_the_moment(id)) {
            self.answer(id, Err(refusal));
        }
        Ok(())
    }

    /// A command or a signal has its answer.
    fn answer(&mut self, id: &str, result: Result<Ack, Refusal>) {
        let is_signal = self.signals.remove(id);
        if is_signal || self.commands.answered(id) {
            self.effects.push_back(Effect::Answered { id: id.to_owned(), result, is_signal });
        } else {
            self.effects.push_back(Effect::Stray(Stray::Answer { id: id.to_owned() }));
        }
    }

    fn take_of_topic(&mut self, stream: &str, topic: &str, message: &Incoming<'_>) -> Result<(), Violation> {
        if !self.topics.is_followed(topic) {
            let (topic, kind) = (topic.to_owned(), message.kind.clone());
            self.effects.push_back(Effect::Stray(Stray::Topic { topic, kind }));
            return Ok(());
        }
        if !self.topics.take_notice(topic, message)? {
            let Some(seq) = message.seq else { return Ok(()) };
            self.topics.take_event(topic, message.to_event(stream, seq))?;
        }
        self.effects.push_back(Effect::Topic(topic.to_owned()));
        Ok(())
    }

    fn take_event(&mut self, stream: &str, message: &Incoming<'_>) -> Result<(), Violation> {
        let Some(seq) = message.seq else { return Ok(()) };
        match stream {
            "user" => self.effects.extend(self.user.take(message, seq)?),
            "all" if self.all.follow(stream, seq)? => {
                self.effects.push_back(Effect::Broadcast(message.to_event(stream, seq)));
            }
            _ => {}
        }
        Ok(())
    }

    fn refuse_long_commands(&mut self) {
        let Some(max) = self.message_bytes_max else { return };
        for id in self.commands.take_longer_than(max) {
            let message = format!("the command is longer than the {max} bytes that the server takes");
            let result = Err(Refusal::new(Code::TooLarge, message, None));
            self.effects.push_back(Effect::Answered { id, result, is_signal: false });
        }
    }

    fn next_id(&mut self) -> String {
        numbered(&self.id_prefix, &mut self.last_id)
    }
}

fn numbered(prefix: &str, last: &mut u64) -> String {
    *last += 1;
    format!("{prefix}-{last}")
}
