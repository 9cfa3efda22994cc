//! The topics of a connection: followed, left, and taken away.

use std::{collections::BTreeSet, time::Duration};

use common::{
    Code, CommandId, Cursor, Stream, TopicName,
    protocol::{Device, ServerMessage, Subscribe, Subscribed, Subscription, Unsubscribe, Unsubscribed},
};
use fanout::log::LogError;
use futures_util::future::join_all;
use serde::Serialize;
use tracing::debug;

use super::{
    outcome::{CommandOutcome, PendingSubscribe},
    reply,
    session::Session,
};
use crate::{
    commands::{failure::Failure, group_commit::Unavailable},
    subscriptions::{Joined, Window},
};

/// Events that a window without `batchMax` waits for.
const WINDOW_EVENTS: u32 = 100;

impl Session {
    pub(super) fn subscribe(&mut self, id: CommandId, subscribe: Subscribe) {
        let Subscribe { topics, list } = subscribe;
        let mut joins = Vec::with_capacity(topics.len());
        for subscription in topics {
            let joined = self.join(&id, &subscription);
            joins.push(async move {
                let outcome = match joined {
                    Ok(Some(join)) => join.await.map(Some).map_err(unavailable),
                    Ok(None) => Ok(None),
                    Err(failure) => Err(failure),
                };
                (subscription, outcome)
            });
        }
        self.in_flight(async move {
            CommandOutcome::Joined(Box::new(PendingSubscribe { id, list, topics: join_all(joins).await }))
        });
    }

    /// Begins to follow a topic, unless that is refused or done already.
    fn join(
        &mut self,
        id: &CommandId,
        subscription: &Subscription,
    ) -> Result<Option<impl Future<Output = Result<Joined, LogError>> + use<>>, Failure> {
        let topic = &subscription.topic;
        self.context.topics.check_follow(self.client.identity.as_ref(), topic)?;
        if self.subscriptions.topics().any(|followed| followed == topic) {
            return Ok(None);
        }
        let topics_max = self.limits().topics_per_connection;
        // One that another command is joining already takes no further place. How often that may be is
        // bounded by the commands under way.
        let others: BTreeSet<&TopicName> = self.joining.iter().map(|(_, joining)| joining).collect();
        if !others.contains(topic) && self.subscriptions.topics().count() + others.len() >= topics_max {
            let message = format!("a connection may follow {topics_max} topics");
            return Err(Failure::new(Code::TooLarge, message));
        }
        self.joining.push((id.clone(), topic.clone()));
        Ok(Some(self.subscriptions.join(Stream::Topic(topic.clone()), subscription.cursor.clone())))
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
            self.subscriptions.add(joined, window(&subscription), present);
        }
    }

    /// What becomes of a topic that was joined: where it stands, and the follower if it is new.
    fn resolve(
        &mut self,
        id: &CommandId,
        topic: &TopicName,
        outcome: Result<Option<Joined>, Failure>,
    ) -> Result<(Cursor, Option<Joined>), Failure> {
        let entry = self.joining.iter().position(|(of, joining)| of == id && joining == topic);
        // Gone when the client has left the topic in the meantime.
        let wanted = entry.map(|entry| self.joining.swap_remove(entry)).is_some();
        let joined = outcome?;
        // The token may have been changed in the meantime.
        self.context.topics.check_follow(self.client.identity.as_ref(), topic)?;
        match (self.subscriptions.position(topic), joined) {
            // Followed already, or by another command in the meantime: that one goes on undisturbed.
            (Some(position), _) => Ok((position, None)),
            (None, Some(joined)) if wanted => Ok((joined.head(), Some(joined))),
            (None, _) => Err(Failure::new(Code::Conflict, "the topic was left in the meantime")),
        }
    }

    pub(super) fn unsubscribe(&mut self, id: &CommandId, unsubscribe: Unsubscribe) {
        for topic in unsubscribe.topics {
            self.joining.retain(|(_, joining)| *joining != topic);
            self.subscriptions.remove(&topic);
        }
        self.push(reply::ack_nothing(id));
    }

    /// Leaves the topics that the client's token no longer allows, and says so.
    pub(super) fn revoke_topics(&mut self) {
        let (context, identity) = (self.context.clone(), self.client.identity.as_ref());
        let revoked: Vec<(TopicName, Failure)> = self
            .subscriptions
            .topics()
            .filter_map(|topic| {
                let failure = context.topics.check_follow(identity, topic).err()?;
                Some((topic.clone(), failure))
            })
            .collect();
        for (topic, Failure { code, message, .. }) in revoked {
            self.subscriptions.remove(&topic);
            let stream = Stream::Topic(topic).wire_name();
            let payload = Unsubscribed { code, message: &message };
            self.push(ServerMessage::Unsubscribed { stream: &stream, payload }.json());
        }
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
