//! The topics of a connection: followed, left, and taken away.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{
    Code, CommandId, Cursor, Stream, TopicName,
    protocol::{Device, ServerMessage, Subscribe, Subscribed, Subscription, Unsubscribe, Unsubscribed},
    time::unix_ms,
};
use fanout::log::LogError;
use futures_util::future::join_all;
use metrics::counter;
use serde::Serialize;
use tokio::time::Instant;
use tracing::debug;

use super::{
    grants::{Due, Grant},
    outcome::{Admitted, CommandOutcome, PendingSubscribe},
    reply,
    session::Session,
};
use crate::{
    auth::Identity,
    commands::{failure::Failure, group_commit::Unavailable},
    edge::context::ConnectionContext,
    subscriptions::{Joined, Window},
};

/// Events that a window without `batchMax` waits for.
const WINDOW_EVENTS: u32 = 100;

impl Session {
    pub(super) fn subscribe(&mut self, id: CommandId, subscribe: Subscribe) {
        let Subscribe { topics, list } = subscribe;
        let mut joins = Vec::with_capacity(topics.len());
        for mut subscription in topics {
            let token = subscription.token.take();
            let joined = self.join(&id, &subscription, token);
            joins.push(async move {
                let outcome = match joined {
                    Ok(join) => join.await,
                    Err(failure) => Err(failure),
                };
                (subscription, outcome)
            });
        }
        self.in_flight(async move {
            CommandOutcome::Joined(Box::new(PendingSubscribe { id, list, topics: join_all(joins).await }))
        });
    }

    /// Begins to follow a topic, unless that is refused; of one that is followed already, only the token is looked at.
    fn join(
        &mut self,
        id: &CommandId,
        subscription: &Subscription,
        token: Option<String>,
    ) -> Result<impl Future<Output = Result<Admitted, Failure>> + use<>, Failure> {
        let topic = &subscription.topic;
        let evidence = match token {
            Some(token) => Evidence::Token(token),
            None => match self.check_follow(topic) {
                Ok(()) => Evidence::None,
                Err(_) if self.context.topics.asks_about(self.client.identity.as_ref()) => Evidence::Backend,
                Err(failure) => return Err(failure),
            },
        };
        let followed = self.subscriptions.topics().any(|followed| followed == topic);
        let joins = if followed { None } else { Some(self.begin_joining(id, subscription)?) };
        let warning = self.limits().token_warning;
        let granted =
            grant(self.context.clone(), self.client.identity.clone(), topic.clone(), evidence, warning);
        Ok(async move {
            let grant = granted.await?;
            let joined = match joins {
                Some(joins) => Some(joins.await.map_err(unavailable)?),
                None => None,
            };
            Ok(Admitted { joined, grant })
        })
    }

    /// Takes a place for a topic that is not followed yet, and makes a follower of it once that is polled.
    fn begin_joining(
        &mut self,
        id: &CommandId,
        subscription: &Subscription,
    ) -> Result<impl Future<Output = Result<Joined, LogError>> + use<>, Failure> {
        let topic = &subscription.topic;
        let topics_max = self.limits().topics_per_connection;
        // One that another command is joining already takes no further place. How often that may be is
        // bounded by the commands under way.
        let others: BTreeSet<&TopicName> = self.joining.iter().map(|(_, joining)| joining).collect();
        if !others.contains(topic) && self.subscriptions.topics().count() + others.len() >= topics_max {
            let message = format!("a connection may follow {topics_max} topics");
            return Err(Failure::new(Code::TooLarge, message));
        }
        self.joining.push((id.clone(), topic.clone()));
        Ok(self.subscriptions.join(Stream::Topic(topic.clone()), subscription.cursor.clone()))
    }

    /// Whether the topic may be followed, by the connection's token or by a right for this topic.
    fn check_follow(&self, topic: &TopicName) -> Result<(), Failure> {
        if self.grants.as_ref().is_some_and(|grants| grants.may_follow(topic)) {
            return Ok(());
        }
        self.context.topics.check_follow(self.client.identity.as_ref(), topic)
    }

    /// Takes topics that were joined: answers, and sends what is due from then on.
    pub(super) fn joined(&mut self, joining: PendingSubscribe) {
        #[derive(Serialize)]
        struct List<'a> {
            topics: Vec<Subscribed<'a>>,
        }
        let PendingSubscribe { id, list, topics } = joining;
        let mut followed = Vec::new();
        let mut answers: Vec<(TopicName, Result<Cursor, Failure>)> = Vec::with_capacity(topics.len());
        for (subscription, outcome) in topics {
            let topic = &subscription.topic;
            let answer = self.resolve(&id, topic, outcome).map(|(cursor, joined)| {
                followed.extend(joined.map(|joined| (joined, subscription.clone())));
                cursor
            });
            answers.push((subscription.topic, answer));
        }
        let message = if list {
            let topics = answers.iter().map(|(topic, answer)| told(topic, answer)).collect();
            reply::ack(&id, &List { topics })
        } else {
            match &answers[..] {
                [(topic, answer @ Ok(_))] => reply::ack(&id, &told(topic, answer)),
                [(_, Err(failure)), ..] => reply::error(Some(&id), failure),
                _ => return debug!("a subscription without a topic"),
            }
        };
        self.push(message);
        for (joined, subscription) in followed {
            let present = subscription.presence.then(|| Device {
                user_id: self.client.identity.as_ref().map(|identity| identity.user.clone()),
                device: self.client.device.clone(),
            });
            let window = window(&subscription).filter(|_| self.limits().batching);
            self.subscriptions.add(joined, window, present);
        }
    }

    /// What becomes of a topic that was joined: where it stands, and the follower if it is new.
    fn resolve(
        &mut self,
        id: &CommandId,
        topic: &TopicName,
        outcome: Result<Admitted, Failure>,
    ) -> Result<(Cursor, Option<Joined>), Failure> {
        let entry = self.joining.iter().position(|(of, joining)| of == id && joining == topic);
        // Gone when the client has left the topic in the meantime.
        let wanted = entry.map(|entry| self.joining.swap_remove(entry)).is_some();
        let Admitted { joined, grant } = outcome?;
        if grant.is_none() {
            // The token may have been changed in the meantime.
            self.check_follow(topic)?;
        }
        let followed = match (self.subscriptions.position(topic), joined) {
            // Followed already, or by another command in the meantime: that one goes on undisturbed.
            (Some(position), _) => (position, None),
            (None, Some(joined)) if wanted => (joined.head(), Some(joined)),
            (None, _) => return Err(Failure::new(Code::Conflict, "the topic was left in the meantime")),
        };
        if let Some(grant) = grant {
            self.grants.get_or_insert_default().insert(topic.clone(), grant);
        }
        Ok(followed)
    }

    pub(super) fn unsubscribe(&mut self, id: &CommandId, unsubscribe: Unsubscribe) {
        for topic in unsubscribe.topics {
            self.joining.retain(|(_, joining)| *joining != topic);
            self.leave(&topic);
        }
        self.push(reply::ack_nothing(id));
    }

    /// Leaves the topics that the client's token no longer allows, and says so.
    pub(super) fn revoke_topics(&mut self) {
        let topics = self.subscriptions.topics();
        let revoked: Vec<(TopicName, Failure)> =
            topics.filter_map(|topic| Some((topic.clone(), self.check_follow(topic).err()?))).collect();
        for (topic, failure) in revoked {
            self.revoke(topic, &failure);
        }
    }

    /// Leaves a topic, and says why.
    fn revoke(&mut self, topic: TopicName, failure: &Failure) {
        self.leave(&topic);
        let stream = Stream::Topic(topic).wire_name();
        let payload = Unsubscribed { code: failure.code, message: &failure.message };
        self.push(ServerMessage::Unsubscribed { stream: &stream, payload }.json());
    }

    fn leave(&mut self, topic: &TopicName) {
        self.subscriptions.remove(topic);
        if let Some(grants) = &mut self.grants {
            grants.remove(topic);
        }
    }

    /// Does what is due of the rights for single topics: warns of those that end soon, leaves the topics of those that
    /// have ended unless the connection's token allows them, and asks the backend again.
    pub(super) fn look_at_grants(&mut self) {
        let Some(grants) = &mut self.grants else { return };
        let mut to_ask = Vec::new();
        for (topic, due) in grants.due(Instant::now(), unix_ms()) {
            match due {
                Due::Warn(left) => self.warn(Some(&Stream::Topic(topic).wire_name()), left),
                Due::Ended => {
                    let message = format!("the token for {topic} has expired");
                    self.lost(topic, &Failure::new(Code::Unauthorized, message));
                }
                Due::Ask => to_ask.push(topic),
            }
        }
        let Some(identity) = self.client.identity.clone().filter(|_| !to_ask.is_empty()) else { return };
        let context = self.context.clone();
        // Together they count as one command under way.
        self.in_flight(async move {
            let answers = to_ask.into_iter().map(async |topic| {
                let answer = context.topics.ask_backend(&identity, &topic).await;
                (topic, answer)
            });
            CommandOutcome::Asked(join_all(answers).await)
        });
    }

    /// Takes what the backend says of topics that it was asked about again.
    pub(super) fn asked_again(&mut self, answers: Vec<(TopicName, Result<Instant, Failure>)>) {
        let grace = self.context.topics.grace();
        for (topic, answer) in answers {
            let Some(grants) = &mut self.grants else { return };
            if let Some(failure) = grants.settle(&topic, answer, grace, Instant::now()) {
                self.lost(topic, &failure);
            }
        }
    }

    /// Leaves a topic whose right is gone, unless the connection's token allows it.
    fn lost(&mut self, topic: TopicName, failure: &Failure) {
        if self.check_follow(&topic).is_err() {
            self.revoke(topic, failure);
        }
    }
}

/// What a right to follow a topic is taken from, where the connection has none.
enum Evidence {
    /// It has one.
    None,
    /// A token of the topic.
    Token(String),
    /// The application's backend.
    Backend,
}

/// Verifies the token of a topic, or asks the backend about it.
async fn grant(
    context: Arc<ConnectionContext>,
    identity: Option<Identity>,
    topic: TopicName,
    evidence: Evidence,
    warning: Duration,
) -> Result<Option<Grant>, Failure> {
    match (evidence, identity) {
        (Evidence::Token(token), identity) => {
            let now = unix_ms();
            let token = context.verifier.verify_topic(&token, now).await.inspect_err(|error| {
                counter!("draftwire_tokens_refused_total", "why" => error.label()).increment(1);
            })?;
            context.topics.check_topic_token(identity.as_ref(), &token, &topic)?;
            Ok(Some(Grant::of(&token, warning, now)))
        }
        (Evidence::Backend, Some(identity)) => {
            context.topics.ask_backend(&identity, &topic).await.map(|until| Some(Grant::until(until)))
        }
        _ => Ok(None),
    }
}

fn told<'a>(topic: &'a TopicName, answer: &'a Result<Cursor, Failure>) -> Subscribed<'a> {
    match answer {
        Ok(Cursor { epoch, seq }) => Subscribed::At { topic, epoch, seq: *seq },
        Err(failure) => Subscribed::Refused { topic, code: failure.code, message: &failure.message },
    }
}

fn window(subscription: &Subscription) -> Option<Window> {
    let wait = Duration::from_millis(subscription.batch_ms?.into());
    let events_max = subscription.batch_max.unwrap_or(WINDOW_EVENTS);
    Some(Window::new(wait, events_max as usize))
}

fn unavailable(error: LogError) -> Failure {
    debug!(%error, "cannot follow");
    Unavailable::Store.into()
}
