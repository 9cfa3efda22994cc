//! One topic that a client follows: what was wished, how it stands on the connection, and the items that the
//! application has not taken yet.

use std::collections::VecDeque;

use super::{
    effect::{Next, TopicItem, TopicState, Wish},
    position::Position,
};
use crate::{
    cursor::Cursor,
    error::{Code, Refusal, Violation},
    message::{Event, Incoming, SubscribeAnswer, Unsubscribed},
    token::Secret,
};

/// Items of a topic that the application has not taken. Beyond it the client leaves the topic, and goes on
/// from its cursor when half of them have been taken: the server's log is the queue.
pub const TOPIC_ITEMS_MAX: usize = 1024;

/// As [`TOPIC_ITEMS_MAX`], of the data of events, in bytes.
pub const TOPIC_BYTES_MAX: usize = 4 << 20;

/// The bound with notices of presence and of what was missed: they may come where events do not fit any more.
/// What is let go of them is said anew when the topic is followed again.
const ITEMS_AND_NOTICES_MAX: usize = 2 * TOPIC_ITEMS_MAX;

/// How a topic stands on the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not followed.
    Idle,
    /// `SUBSCRIBE` was sent, for this life of the topic.
    Asked {
        life: u64,
    },
    /// `SUBSCRIBE` was refused for the moment.
    Unavailable,
    Followed,
    /// Followed, and `SUBSCRIBE` was sent with a fresh token.
    Renewing,
    /// `UNSUBSCRIBE` was sent.
    Leaving,
}

/// The token with which a topic is followed.
#[derive(Debug)]
enum Token {
    /// The topic needs none.
    Unused,
    /// None is at hand.
    Absent,
    /// The application was asked for one.
    Asked,
    /// To be shown.
    Ready(Secret),
    /// None could be had, or the server refused it: to be asked for again after a pause.
    Failed,
}

/// One topic.
#[derive(Debug)]
pub(super) struct Topic {
    wish: Wish,
    pub(super) wanted: bool,
    /// Counts the times that the application asked for it.
    pub(super) life: u64,
    pub(super) standing: Standing,
    token: Token,
    /// The token that was shown last.
    shown: Option<Secret>,
    /// The token that was shown ends, has ended or was refused: only another one helps.
    stale: bool,
    /// Of the last event that was put into the queue, or where it was first followed.
    position: Position,
    /// To be left for a while: the application does not take what comes, or it is followed for an earlier life.
    paused: bool,
    items: VecDeque<(TopicItem, Option<Cursor>)>,
    bytes: usize,
    answered: bool,
    refusal: Option<Refusal>,
}

impl Topic {
    /// A topic that the application asks for, where the server may still follow it for an earlier life.
    pub(super) fn new(wish: Wish, life: u64, standing: Standing) -> Self {
        // Followed for one who has left: it is left first, and asked for anew.
        let paused = matches!(standing, Standing::Followed | Standing::Renewing);
        Self {
            position: Position::new(wish.cursor.clone()),
            token: if wish.token { Token::Absent } else { Token::Unused },
            wish,
            wanted: true,
            life,
            standing,
            shown: None,
            stale: false,
            paused,
            items: VecDeque::new(),
            bytes: 0,
            answered: false,
            refusal: None,
        }
    }

    /// The application has gone.
    pub(super) fn leave(&mut self) {
        self.wanted = false;
        self.items.clear();
    }

    /// A connection has begun or ended: nothing is followed on it, and its tokens have ended with it.
    pub(super) fn reconnect(&mut self) {
        self.standing = Standing::Idle;
        self.stale = false;
        if !matches!(self.token, Token::Unused) {
            self.token = Token::Absent;
        }
        self.settle();
    }

    /// How it stands, as an application sees it.
    pub(super) fn state(&self) -> TopicState<'_> {
        match (&self.refusal, self.wanted, &self.standing) {
            (Some(refusal), ..) => TopicState::Refused(refusal),
            (None, false, _) => TopicState::Leaving,
            (None, true, Standing::Followed | Standing::Renewing) => TopicState::Followed,
            (None, true, _) => TopicState::Waiting,
        }
    }

    pub(super) fn cursor(&self) -> Option<&Cursor> {
        self.position.cursor()
    }

    /// Whether something of it may come on this connection.
    pub(super) fn is_followed(&self) -> bool {
        matches!(self.standing, Standing::Followed | Standing::Renewing | Standing::Leaving)
    }

    /// Whether nothing of it has to be remembered.
    pub(super) fn is_done(&self) -> bool {
        !self.wanted && matches!(self.standing, Standing::Idle | Standing::Unavailable)
    }

    /// Whether what comes of it is for the application.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.standing, Standing::Followed | Standing::Renewing) && self.wanted && !self.paused
    }

    /// Whether something of it has no answer, or is to be asked for again after a pause.
    pub(super) fn is_under_way(&self) -> bool {
        !matches!(self.standing, Standing::Idle | Standing::Followed)
            || matches!(self.token, Token::Asked | Token::Failed)
    }

    fn wants_to_be_followed(&self) -> bool {
        self.wanted && !self.paused && self.refusal.is_none()
    }

    /// Whether `UNSUBSCRIBE` is due.
    pub(super) fn is_to_leave(&self) -> bool {
        self.standing == Standing::Followed && !self.wants_to_be_followed()
    }

    /// Whether `SUBSCRIBE` is due, without a token.
    pub(super) fn is_to_follow(&self) -> bool {
        self.standing == Standing::Idle && self.wants_to_be_followed() && matches!(self.token, Token::Unused)
    }

    /// Whether `SUBSCRIBE` is due with a token: to follow the topic, or to go on following it.
    pub(super) fn is_to_show_token(&self) -> bool {
        matches!(self.standing, Standing::Idle | Standing::Followed)
            && self.wants_to_be_followed()
            && matches!(self.token, Token::Ready(_))
    }

    /// Whether the application is to be asked for a token.
    pub(super) fn wants_token(&self) -> bool {
        let needs = match self.standing {
            Standing::Idle => true,
            Standing::Followed => self.stale,
            _ => false,
        };
        needs && self.wants_to_be_followed() && matches!(self.token, Token::Absent)
    }

    /// The application is asked for a token. Returns the one that helps no longer.
    pub(super) fn ask_for_token(&mut self) -> Option<Secret> {
        self.token = Token::Asked;
        self.shown.clone().filter(|_| self.stale)
    }

    /// The application has given a token, or has none.
    pub(super) fn take_token(&mut self, token: Option<Secret>) {
        if !matches!(self.token, Token::Asked) {
            return;
        }
        self.token = match token {
            // By the time that it is followed again, it might have ended.
            Some(_) if !self.wants_to_be_followed() => Token::Absent,
            Some(token) if !(self.stale && self.shown.as_ref() == Some(&token)) => Token::Ready(token),
            _ => Token::Failed,
        };
    }

    /// `SUBSCRIBE` is sent. Returns how, and with what token.
    pub(super) fn subscribe(&mut self) -> (&Wish, Option<&Cursor>, Option<&Secret>) {
        self.standing = match self.standing {
            Standing::Followed => Standing::Renewing,
            _ => Standing::Asked { life: self.life },
        };
        let token = match std::mem::replace(&mut self.token, Token::Absent) {
            Token::Ready(token) => {
                self.stale = false;
                self.shown = Some(token);
                self.shown.as_ref()
            }
            other => {
                self.token = other;
                None
            }
        };
        (&self.wish, self.position.cursor(), token)
    }

    /// `UNSUBSCRIBE` was answered.
    pub(super) fn left(&mut self) {
        self.standing = Standing::Idle;
        if matches!(self.token, Token::Ready(_)) {
            self.token = Token::Absent;
        }
        self.settle();
    }

    /// Takes what a `SUBSCRIBE` was answered for it.
    pub(super) fn subscribed(&mut self, answer: SubscribeAnswer) {
        let (Some(epoch), Some(seq), None) = (answer.epoch, answer.seq, &answer.code) else {
            return self.refused(answer.code.as_deref().unwrap_or("bad_request").into(), answer.message);
        };
        match self.standing {
            Standing::Asked { life } => {
                self.standing = Standing::Followed;
                if self.life == life {
                    self.answered = true;
                    self.position.greet(&epoch, seq);
                } else {
                    // Followed for one who has left; whoever came since is served by a `SUBSCRIBE` of its own.
                    self.paused = true;
                }
            }
            Standing::Renewing => self.standing = Standing::Followed,
            _ => {}
        }
    }

    /// Its `SUBSCRIBE` was refused.
    pub(super) fn refused(&mut self, code: Code, message: String) {
        match self.standing {
            Standing::Asked { .. } if code == Code::Unavailable => self.standing = Standing::Unavailable,
            Standing::Asked { life } => {
                self.standing = Standing::Idle;
                if self.life != life {
                    // It was for one who has left.
                } else if self.answered && code == Code::Unauthorized && self.wish.token {
                    self.fail_token();
                } else {
                    self.refusal = Some(Refusal::new(code, message, None));
                }
                self.settle();
            }
            // The topic is still followed with the token before.
            Standing::Renewing => {
                self.standing = Standing::Followed;
                self.fail_token();
            }
            _ => {}
        }
    }

    fn fail_token(&mut self) {
        self.stale = true;
        self.token = Token::Failed;
    }

    /// Takes `UNSUBSCRIBED`.
    pub(super) fn unsubscribed(&mut self, body: Unsubscribed) {
        if self.standing == Standing::Renewing {
            // The server has left it before it reads the `SUBSCRIBE`, which named an older position by now: what
            // comes for it is let go, and the topic followed anew.
            self.standing = Standing::Asked { life: self.life };
            self.paused = true;
            return;
        }
        self.standing = Standing::Idle;
        match Code::from(body.code.as_str()) {
            Code::Unavailable => self.standing = Standing::Unavailable,
            Code::Unauthorized if self.wish.token => self.stale = true,
            code => self.refusal = Some(Refusal::new(code, body.message, None)),
        }
    }

    /// The token ends soon.
    pub(super) fn token_expires(&mut self) {
        self.stale = self.wish.token;
    }

    /// A pause is over.
    pub(super) fn retry(&mut self) {
        if self.standing == Standing::Unavailable {
            self.standing = Standing::Idle;
        }
        if matches!(self.token, Token::Failed) {
            self.token = Token::Absent;
        }
    }

    /// Whether a pause is due before something is asked for again.
    pub(super) fn wants_retry(&self) -> bool {
        self.standing == Standing::Unavailable || matches!(self.token, Token::Failed)
    }

    /// `None` until the server has answered; then where the topic stands, or why it is not followed.
    pub(super) fn answer(&self) -> Option<Result<Option<Cursor>, Refusal>> {
        match &self.refusal {
            Some(refusal) => Some(Err(refusal.clone())),
            None => self.answered.then(|| Ok(self.position.cursor().cloned())),
        }
    }

    /// Takes the next item.
    pub(super) fn take(&mut self) -> Next {
        if let Some((item, cursor)) = self.items.pop_front() {
            self.bytes -= size(&item);
            self.settle();
            return Next::Item(item, cursor);
        }
        self.refusal.clone().map_or(Next::Waiting, Next::Refused)
    }

    /// Ends a pause when the topic was left, and there is room. Before it was left, events have been let go.
    fn settle(&mut self) {
        let has_room = self.items.len() <= TOPIC_ITEMS_MAX / 2 && self.bytes <= TOPIC_BYTES_MAX / 2;
        if has_room && self.standing == Standing::Idle {
            self.paused = false;
        }
    }

    /// Takes an event.
    pub(super) fn take_event(&mut self, event: Event) -> Result<(), Violation> {
        if !self.position.expects(&event.stream, event.seq)? {
            return Ok(());
        }
        if self.items.len() >= TOPIC_ITEMS_MAX || self.bytes >= TOPIC_BYTES_MAX {
            self.paused = true;
            return Ok(());
        }
        self.position.follow(&event.stream, event.seq)?;
        self.push(TopicItem::Event(event));
        Ok(())
    }

    /// Takes `SYNCED`.
    pub(super) fn synced(&mut self, message: &Incoming<'_>) -> Result<(), Violation> {
        if self.items.len() >= ITEMS_AND_NOTICES_MAX {
            self.paused = true;
            return Ok(());
        }
        let missed = self.position.synced(message)?;
        self.push(missed.map_or(TopicItem::Synced, |before| TopicItem::Missed { before }));
        Ok(())
    }

    pub(super) fn push(&mut self, item: TopicItem) {
        if self.items.len() >= ITEMS_AND_NOTICES_MAX {
            self.paused = true;
            return;
        }
        self.bytes += size(&item);
        let position = self.position.cursor().cloned();
        self.items.push_back((item, position));
    }

    pub(super) fn offer_lossy(&mut self, item: TopicItem) {
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
