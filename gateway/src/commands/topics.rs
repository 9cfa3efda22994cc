//! What clients and backends may do with topics, and with the other streams that are published to: the
//! same over the socket and over HTTP.

use std::{sync::Arc, time::Duration};

use common::{Code, Seq, Signal, Stream, TopicName, protocol::NewEvent};
use fanout::{Hub, PresenceList};
use tokio::time::Instant;
use tracing::debug;

use super::{
    access,
    caller::Caller,
    failure::Failure,
    group_commit::{Answer, Committer, Unavailable},
    looks::Looks,
    reads::Reads,
};
use crate::{
    auth::{Backend, Identity, TopicToken},
    config::Live,
    store::{Append, Done, History, Op, Refusal, Write, plan::check_size},
};

/// About what an event takes while it waits to be committed, beyond its type and its data.
const EVENT_BYTES: usize = 256;

/// Publishing to streams, and reading their history.
pub struct Topics {
    committer: Committer,
    reads: Reads,
    hub: Arc<Hub>,
    /// Which topics everybody may follow, and how large events may be.
    live: Arc<Live>,
    /// Asked about topics that nothing else allows.
    backend: Arc<Backend>,
    looks: Looks,
}

/// What was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// Events, durable now, numbered from `first` to `seq`.
    Events {
        /// The number of the first.
        first: Seq,
        /// The number of the last.
        seq: Seq,
    },
    /// Signals, on their way.
    Signals,
}

impl Topics {
    /// Puts the parts together.
    pub(crate) fn new(
        committer: Committer,
        reads: Reads,
        hub: Arc<Hub>,
        live: Arc<Live>,
        backend: Arc<Backend>,
    ) -> Self {
        Self { committer, reads, hub, live, backend, looks: Looks::default() }
    }

    /// Whether the topic may be followed and its history read.
    ///
    /// # Errors
    /// `forbidden`; `unauthorized` where a token is missing.
    pub(crate) fn check_follow(&self, identity: Option<&Identity>, topic: &TopicName) -> Result<(), Failure> {
        if self.live.node().websocket.public_topics.iter().any(|pattern| pattern.matches(topic)) {
            return Ok(());
        }
        match identity {
            None => {
                Err(Failure::new(Code::Unauthorized, format!("{topic} cannot be followed without a token")))
            }
            Some(identity) if identity.scopes.may_subscribe(topic) => Ok(()),
            Some(_) => {
                Err(Failure::new(Code::Forbidden, format!("the token does not allow to follow {topic}")))
            }
        }
    }

    /// Whether the application's backend is to be asked about topics that this client may not follow by its token.
    pub(crate) fn asks_about(&self, identity: Option<&Identity>) -> bool {
        identity.is_some() && self.backend.decides_topics()
    }

    /// For how long a yes of the backend holds on where it cannot be asked again.
    pub(crate) fn grace(&self) -> Duration {
        self.backend.grace()
    }

    /// Asks the backend whether the topic may be followed: until when the yes holds.
    ///
    /// # Errors
    /// `forbidden`; `unavailable` where the backend does not answer.
    pub(crate) async fn ask_backend(
        &self,
        identity: &Identity,
        topic: &TopicName,
    ) -> Result<Instant, Failure> {
        access::check_subscribe(&self.backend, identity, topic).await
    }

    /// Whether the topic may be followed and its history read, by the token or, where that does not allow it, by the
    /// backend: until when the yes of the backend holds.
    ///
    /// # Errors
    /// `forbidden`; `unauthorized` where a token is missing; `unavailable` where the backend does not answer.
    pub(crate) async fn authorize_follow(
        &self,
        identity: Option<&Identity>,
        topic: &TopicName,
    ) -> Result<Option<Instant>, Failure> {
        match (self.check_follow(identity, topic), identity) {
            (Ok(()), _) => Ok(None),
            (Err(_), Some(identity)) if self.backend.decides_topics() => {
                self.ask_backend(identity, topic).await.map(Some)
            }
            (Err(failure), _) => Err(failure),
        }
    }

    /// Whether a verified token of one topic lets this client follow the topic.
    ///
    /// # Errors
    /// `forbidden` where it is for another topic or another user.
    pub(crate) fn check_topic_token(
        &self,
        identity: Option<&Identity>,
        token: &TopicToken,
        topic: &TopicName,
    ) -> Result<(), Failure> {
        if token.topic != *topic {
            return Err(Failure::new(
                Code::Forbidden,
                format!("the token is for another topic than {topic}"),
            ));
        }
        match (&token.user, identity) {
            (None, _) => Ok(()),
            (Some(user), Some(identity)) if *user == identity.user => Ok(()),
            (Some(_), _) => {
                Err(Failure::new(Code::Forbidden, format!("the token for {topic} is another user's")))
            }
        }
    }

    /// Whether the topic may be published to.
    ///
    /// # Errors
    /// `forbidden`.
    pub(crate) fn check_publish(&self, identity: &Identity, topic: &TopicName) -> Result<(), Failure> {
        if identity.scopes.may_publish(topic) {
            return Ok(());
        }
        Err(Failure::new(Code::Forbidden, format!("the token does not allow to publish to {topic}")))
    }

    /// Publishes to a stream, all or nothing. Events are in the queue when this returns; the answer
    /// comes once they are durable. Signals are on their way when this returns.
    pub fn publish(
        &self,
        caller: Caller,
        stream: Stream,
        events: Vec<NewEvent>,
    ) -> impl Future<Output = Result<Published, Failure>> + use<> {
        let published = self.check(&events).map(|signals| {
            if signals {
                self.signal(&caller, &stream, events);
                return None;
            }
            let bytes = events.iter().map(size).sum();
            let Caller { user, device, id, pipeline, trace } = caller;
            let write = Write { user, device, id, op: Op::Append(Append { stream, events }) };
            Some(self.committer.submit(write, bytes, pipeline.as_ref(), trace))
        });
        async move {
            match published? {
                None => Ok(Published::Signals),
                Some(answer) => settle(answer.await),
            }
        }
    }

    /// Who is present in a topic at this moment, through any node. Those who ask without a token have a share of the
    /// places. Cancel-safe.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn presence(
        &self,
        is_anonymous: bool,
        topic: TopicName,
    ) -> Result<PresenceList, Failure> {
        let _place = self.looks.take(is_anonymous).ok_or(Unavailable::Full)?;
        let following = self.hub.follow(Stream::Topic(topic), None, Arc::default(), 0);
        let reader = following.await.map_err(|error| {
            debug!(%error, "cannot look who is present");
            Failure::from(Unavailable::Store)
        })?;
        Ok(self.hub.presence(&reader).await)
    }

    /// The events of a stream after a number, as they stand in the store.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn history(&self, stream: Stream, after: Seq, limit: u32) -> Result<History, Failure> {
        self.reads.history(stream, after, limit).await
    }

    /// Returns whether all of them are signals.
    fn check(&self, events: &[NewEvent]) -> Result<bool, Failure> {
        check_size(events, self.live.node().writes.event_bytes_max).map_err(refused)?;
        let signals = events.iter().filter(|event| event.signal).count();
        if signals != 0 && signals != events.len() {
            let message = "signals and events cannot be published together";
            return Err(Failure::new(Code::BadRequest, message));
        }
        Ok(signals != 0)
    }

    fn signal(&self, caller: &Caller, stream: &Stream, events: Vec<NewEvent>) {
        for NewEvent { event, data, .. } in events {
            let signal = Signal::new(stream.clone(), event, caller.device.clone(), data.into_raw());
            self.hub.signal(Arc::new(signal));
        }
    }
}

fn size(event: &NewEvent) -> usize {
    EVENT_BYTES + event.event.as_str().len() + event.data.len()
}

fn settle(answer: Answer) -> Result<Published, Failure> {
    match answer {
        Ok(Ok(Done::Appended { first, seq })) => Ok(Published::Events { first, seq }),
        Ok(Ok(Done::Draft { .. })) => {
            Err(Failure::new(Code::BadRequest, "this id was already used for another command"))
        }
        Ok(Err(refusal)) => Err(refused(refusal)),
        Err(unavailable) => Err(unavailable.into()),
    }
}

fn refused(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::TooLarge(message) => Failure::new(Code::TooLarge, message),
        Refusal::BadRequest(message) => Failure::new(Code::BadRequest, message),
        Refusal::Locked(_) => Unavailable::Locked.into(),
        // Refusals of drafts.
        Refusal::NotFound | Refusal::Conflict { .. } | Refusal::PreconditionFailed { .. } => {
            Failure::new(Code::BadRequest, "this cannot be published")
        }
    }
}
