//! The topics that a client follows: what was wished, what the server has answered, and the items that the
//! application has not taken yet.

use std::collections::{BTreeMap, VecDeque};

use super::{
    effect::{Next, TopicItem, TopicState, Wish},
    position::Position,
};
use crate::{
    cursor::Cursor,
    error::{Code, Refusal, Violation},
    message::{Event, Incoming, SubscribeAnswer, SubscribeTopic, Unsubscribed, write},
};

/// Items of a topic that the application has not taken. Beyond it the client leaves the topic, and goes on
/// from its cursor when half of them have been taken: the server's log is the queue.
pub const TOPIC_ITEMS_MAX: usize = 1024;

/// As [`TOPIC_ITEMS_MAX`], of the data of events, in bytes.
pub const TOPIC_BYTES_MAX: usize = 4 << 20;

/// The bound with notices of presence and of what was missed: they may come where events do not fit any more.
/// What is let go of them is said anew when the topic is followed again.
const ITEMS_AND_NOTICES_MAX: usize = 2 * TOPIC_ITEMS_MAX;

/// Topics in one command; each ten cost as much of the rate as a command does.
const TOPICS_PER_COMMAND: usize = 100;

/// How a topic stands on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Not followed.
    Idle,
    /// `SUBSCRIBE` was sent, for this life of the topic.
    Asked {
        life: u64,
    },
    /// `SUBSCRIBE` was refused for the moment.
    Unavailable,
    Followed,
    /// `UNSUBSCRIBE` was sent.
    Leaving,
}

/// One topic.
#[derive(Debug)]
struct Topic {
    wish: Wish,
    wanted: bool,
    /// Counts the times that the application asked for it.
    life: u64,
    standing: Standing,
    /// Of the last event that was put into the queue, or where it was first followed.
    position: Position,
    /// To be left for a while: the application does not take what comes, or it is followed for an earlier life.
    paused: bool,
    items: VecDeque<(TopicItem, Option<Cursor>)>,
    bytes: usize,
    answered: bool,
    refusal: Option<Refusal>,
}

#[derive(Debug, Default)]
pub(super) struct Topics {
    topics: BTreeMap<String, Topic>,
    /// `SUBSCRIBE` and `UNSUBSCRIBE` commands without an answer, and their topics.
    asked: BTreeMap<String, Vec<String>>,
    lives: u64,
}

impl Topics {
    /// Follows a topic; `false` when it is followed already.
    pub(super) fn follow(&mut self, name: &str, wish: Wish) -> bool {
        if self.topics.get(name).is_some_and(|topic| topic.wanted) {
            return false;
        }
        self.lives += 1;
        let standing = self.topics.remove(name).map_or(Standing::Idle, |topic| topic.standing);
        // Still followed for one who has left: it is left first, and asked for anew.
        let paused = standing == Standing::Followed;
        let topic = Topic {
            position: Position::new(wish.cursor.clone()),
            wish,
            wanted: true,
            life: self.lives,
            standing,
            paused,
            items: VecDeque::new(),
            bytes: 0,
            answered: false,
            refusal: None,
        };
        self.topics.insert(name.to_owned(), topic);
        true
    }

    /// Follows a topic no longer.
    pub(super) fn leave(&mut self, name: &str) {
        if let Some(topic) = self.topics.get_mut(name) {
            topic.wanted = false;
            topic.items.clear();
        }
        self.forget_idle();
    }

    /// `None` until the server has answered; then where the topic stands, or why it is not followed.
    pub(super) fn answer(&self, name: &str) -> Option<Result<Option<Cursor>, Refusal>> {
        let topic = self.topics.get(name)?;
        match &topic.refusal {
            Some(refusal) => Some(Err(refusal.clone())),
            None => topic.answered.then(|| Ok(topic.position.cursor().cloned())),
        }
    }

    /// How a topic stands; `None` when it is not followed, nor to be.
    pub(super) fn state(&self, name: &str) -> Option<TopicState<'_>> {
        let topic = self.topics.get(name)?;
        Some(match (&topic.refusal, topic.wanted, &topic.standing) {
            (Some(refusal), ..) => TopicState::Refused(refusal),
            (None, false, _) => TopicState::Leaving,
            (None, true, Standing::Followed) => TopicState::Followed,
            (None, true, _) => TopicState::Waiting,
        })
    }

    pub(super) fn cursor(&self, name: &str) -> Option<&Cursor> {
        self.topics.get(name)?.position.cursor()
    }

    /// Whether something of a topic may come on this connection.
    pub(super) fn is_followed(&self, name: &str) -> bool {
        let standing = self.topics.get(name).map(|topic| &topic.standing);
        matches!(standing, Some(Standing::Followed | Standing::Leaving))
    }

    /// Follows a topic that was named when the connection was opened, where the server says it stands.
    pub(super) fn named(&mut self, name: &str, at: Cursor) {
        let Some(topic) = self.topics.get_mut(name) else { return };
        topic.standing = Standing::Asked { life: topic.life };
        let (epoch, seq) = (Some(at.epoch), Some(at.seq));
        let answer =
            SubscribeAnswer { topic: name.to_owned(), epoch, seq, code: None, message: String::new() };
        self.subscribed(answer);
    }

    /// Takes the next item of a topic.
    pub(super) fn take(&mut self, name: &str) -> Next {
        let Some(topic) = self.topics.get_mut(name) else { return Next::Waiting };
        if let Some((item, cursor)) = topic.items.pop_front() {
            topic.bytes -= size(&item);
            topic.settle();
            return Next::Item(item, cursor);
        }
        topic.refusal.clone().map_or(Next::Waiting, Next::Refused)
    }

    /// A connection has begun or ended: nothing is followed on it.
    pub(super) fn reconnect(&mut self) {
        self.asked.clear();
        for topic in self.topics.values_mut() {
            topic.standing = Standing::Idle;
            topic.settle();
        }
        self.forget_idle();
    }

    /// The next `SUBSCRIBE` or `UNSUBSCRIBE` that brings what is followed closer to what is wished.
    pub(super) fn next(&mut self, id: impl FnOnce() -> String) -> Option<String> {
        let wants = |topic: &Topic| topic.wanted && !topic.paused && topic.refusal.is_none();
        let to_leave = |topic: &Topic| topic.standing == Standing::Followed && !wants(topic);
        let to_follow = |topic: &Topic| topic.standing == Standing::Idle && wants(topic);
        let some = |due: &dyn Fn(&Topic) -> bool| -> Vec<String> {
            let due = self.topics.iter().filter(|(_, topic)| due(topic));
            due.take(TOPICS_PER_COMMAND).map(|(name, _)| name.clone()).collect()
        };
        let leaving = some(&to_leave);
        let following = if leaving.is_empty() { some(&to_follow) } else { Vec::new() };
        let names = if leaving.is_empty() { following } else { leaving.clone() };
        if names.is_empty() {
            return None;
        }
        let id = id();
        #[derive(serde::Serialize)]
        struct List<T> {
            topics: Vec<T>,
        }
        let text = if leaving.is_empty() {
            let topics = self.topics.iter().filter(|(name, _)| names.contains(name));
            let topics = topics.map(|(name, topic)| SubscribeTopic {
                topic: name,
                cursor: topic.position.cursor(),
                presence: topic.wish.presence,
                batch_ms: topic.wish.batch_ms,
                batch_max: topic.wish.batch_max,
            });
            write("SUBSCRIBE", Some(&id), Some(List { topics: topics.collect() }))
        } else {
            write("UNSUBSCRIBE", Some(&id), Some(List { topics: names.clone() }))
        };
        for name in &names {
            if let Some(topic) = self.topics.get_mut(name) {
                let asked = Standing::Asked { life: topic.life };
                topic.standing = if leaving.is_empty() { asked } else { Standing::Leaving };
            }
        }
        self.asked.insert(id, names);
        // Names and cursors always serialise.
        text.ok()
    }

    /// The topics that a command was about, when it is a `SUBSCRIBE` or `UNSUBSCRIBE` without an answer yet.
    pub(super) fn asked(&mut self, id: &str) -> Option<Vec<String>> {
        self.asked.remove(id)
    }

    /// Takes the `ACK` of an `UNSUBSCRIBE`. Returns whether it was one.
    pub(super) fn left(&mut self, names: &[String]) -> bool {
        let mut any = false;
        for name in names {
            if let Some(topic) = self.topics.get_mut(name).filter(|topic| topic.standing == Standing::Leaving)
            {
                topic.standing = Standing::Idle;
                topic.settle();
                any = true;
            }
        }
        self.forget_idle();
        any
    }

    /// Takes what a `SUBSCRIBE` was answered for one topic.
    pub(super) fn subscribed(&mut self, answer: SubscribeAnswer) {
        let Some(topic) = self.topics.get_mut(&answer.topic) else { return };
        let Standing::Asked { life } = topic.standing else { return };
        match (answer.epoch, answer.seq, answer.code) {
            (Some(epoch), Some(seq), None) => {
                topic.standing = Standing::Followed;
                if topic.life == life {
                    topic.answered = true;
                    topic.position.greet(&epoch, seq);
                } else {
                    // Followed for one who has left; whoever came since is served by a `SUBSCRIBE` of its own.
                    topic.paused = true;
                }
            }
            (_, _, code) => {
                let code = Code::from(code.as_deref().unwrap_or("bad_request"));
                topic.refuse(code, answer.message, life);
            }
        }
        self.forget_idle();
    }

    /// A whole `SUBSCRIBE` or `UNSUBSCRIBE` was refused.
    pub(super) fn refused(&mut self, names: &[String], refusal: &Refusal) {
        for name in names {
            let Some(topic) = self.topics.get_mut(name) else { continue };
            match topic.standing {
                Standing::Asked { life } => topic.refuse(refusal.code.clone(), refusal.message.clone(), life),
                // It says no more than that it is not followed, or will be asked to leave again.
                Standing::Leaving if refusal.code == Code::Unavailable => topic.standing = Standing::Followed,
                Standing::Leaving => {
                    topic.standing = Standing::Idle;
                    topic.settle();
                }
                _ => {}
            }
        }
        self.forget_idle();
    }

    pub(super) fn wants_retry(&self) -> bool {
        self.topics.values().any(|topic| topic.standing == Standing::Unavailable)
    }

    pub(super) fn retry(&mut self) {
        for topic in self.topics.values_mut() {
            if topic.standing == Standing::Unavailable {
                topic.standing = Standing::Idle;
            }
        }
        self.forget_idle();
    }

    /// Takes a message of a topic that is no event. Returns whether the type is one of a topic.
    pub(super) fn take_notice(&mut self, name: &str, message: &Incoming<'_>) -> Result<bool, Violation> {
        let known = ["SYNCED", "SIGNAL", "PRESENCE", "JOIN", "LEAVE", "UNSUBSCRIBED"];
        if !known.contains(&message.kind.as_str()) {
            return Ok(false);
        }
        let Some(topic) = self.topics.get_mut(name).filter(|topic| topic.is_open()) else {
            return Ok(true);
        };
        let malformed = |what: &str| Violation::Malformed(format!("{} of {name}: {what}", message.kind));
        let payload = message.payload.map_or("null", |raw| raw.get());
        let read = |error: serde_json::Error| malformed(&error.to_string());
        match message.kind.as_str() {
            "SYNCED" => topic.synced(message)?,
            "SIGNAL" => topic.offer_lossy(TopicItem::Signal(message.to_signal())),
            "PRESENCE" => topic.push(TopicItem::Presence(serde_json::from_str(payload).map_err(read)?)),
            "JOIN" => topic.push(TopicItem::Join(serde_json::from_str(payload).map_err(read)?)),
            "LEAVE" => topic.push(TopicItem::Leave(serde_json::from_str(payload).map_err(read)?)),
            _ => {
                let body: Unsubscribed = serde_json::from_str(payload).map_err(read)?;
                topic.standing = Standing::Idle;
                topic.refusal = Some(Refusal::new(Code::from(body.code.as_str()), body.message, None));
            }
        }
        self.forget_idle();
        Ok(true)
    }

    /// Takes an event of a topic.
    pub(super) fn take_event(&mut self, name: &str, event: Event) -> Result<(), Violation> {
        let Some(topic) = self.topics.get_mut(name).filter(|topic| topic.is_open()) else {
            return Ok(());
        };
        if !topic.position.expects(&event.stream, event.seq)? {
            return Ok(());
        }
        if topic.items.len() >= TOPIC_ITEMS_MAX || topic.bytes >= TOPIC_BYTES_MAX {
            topic.paused = true;
            return Ok(());
        }
        topic.position.follow(&event.stream, event.seq)?;
        topic.push(TopicItem::Event(event));
        Ok(())
    }

    fn forget_idle(&mut self) {
        let is_done =
            |topic: &Topic| !topic.wanted && matches!(topic.standing, Standing::Idle | Standing::Unavailable);
        self.topics.retain(|_, topic| !is_done(topic));
    }
}

impl Topic {
    /// Whether what comes of it is for the application.
    fn is_open(&self) -> bool {
        self.standing == Standing::Followed && self.wanted && !self.paused
    }

    /// Ends a pause when the topic was left, and there is room. Before it was left, events have been let go.
    fn settle(&mut self) {
        let has_room = self.items.len() <= TOPIC_ITEMS_MAX / 2 && self.bytes <= TOPIC_BYTES_MAX / 2;
        if has_room && self.standing == Standing::Idle {
            self.paused = false;
        }
    }

    fn refuse(&mut self, code: Code, message: String, life: u64) {
        if code == Code::Unavailable {
            self.standing = Standing::Unavailable;
            return;
        }
        self.standing = Standing::Idle;
        if self.life == life {
            self.refusal = Some(Refusal::new(code, message, None));
        }
    }

    fn synced(&mut self, message: &Incoming<'_>) -> Result<(), Violation> {
        if self.items.len() >= ITEMS_AND_NOTICES_MAX {
            self.paused = true;
            return Ok(());
        }
        let missed = self.position.synced(message)?;
        self.push(missed.map_or(TopicItem::Synced, |before| TopicItem::Missed { before }));
        Ok(())
    }

    fn push(&mut self, item: TopicItem) {
        if self.items.len() >= ITEMS_AND_NOTICES_MAX {
            self.paused = true;
            return;
        }
        self.bytes += size(&item);
        let position = self.position.cursor().cloned();
        self.items.push_back((item, position));
    }

    fn offer_lossy(&mut self, item: TopicItem) {
        if self.items.len() < TOPIC_ITEMS_MAX && self.bytes < TOPIC_BYTES_MAX {
            self.push(item);
        }
    }
}

fn size(item: &TopicItem) -> usize {
    match item {
        TopicItem::Event(event) => event.data.text().len(),
        TopicItem::Signal(signal) => signal.data.text().len(),
        _ => 0,
    }
}
