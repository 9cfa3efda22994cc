//! Commands of the client: checked, carried out, answered.

use std::sync::Arc;

use bytes::Bytes;
use common::{
    Code, CommandId, ConnectionId, Stream,
    close::Close,
    message::Encoding,
    operations::{Operation, Outcome, Tally},
    protocol::{
        Command, Malformed, Pong, Publish, Request, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, ServerMessage,
    },
    time::unix_ms,
};
use metrics::counter;
use serde::Serialize;
use tokio::{sync::Semaphore, time::Instant};
use tracing::warn;
use websocket::Received;

use super::{
    order::{Behind, Taken},
    outcome::{CommandOutcome, End},
    reply,
    session::Session,
};
use crate::{
    auth::{AuthError, Expiry, Identity},
    commands::{caller::Caller, drafts::DraftListBody, failure::Failure, group_commit::Unavailable},
    edge::traffic,
    operations::{SlowKind, may_report},
    store::Base,
};

/// Consecutive messages, malformed or not allowed without a token, after which the connection
/// is closed with 4400.
const MISUSE_MAX: u32 = 10;

/// How many bytes of a message, inflated, count as one more message: reading them is work.
const BYTES_PER_COST: usize = 16 * 1024;

/// Topics of a `SUBSCRIBE` that count as one more message. Following one may cost the node a
/// subscription and a look at the store; still, a client that comes back to all of its topics should
/// not have to wait. A signature to check counts as a message of its own.
const TOPICS_PER_COST: usize = 10;

impl Session {
    pub(super) fn received(&mut self, received: Received) -> Result<(), End> {
        self.heartbeat.alive();
        self.guard.heard();
        let taken = self.take(received);
        self.pause_reading();
        taken
    }

    fn take(&mut self, received: Received) -> Result<(), End> {
        match received {
            // They too are work: a client that sends nothing but pings must not keep a thread to itself.
            Received::Alive => {
                self.rate.charge(1, Instant::now());
                Ok(())
            }
            Received::Pong(payload) => {
                self.ponged(&payload);
                self.rate.charge(1, Instant::now());
                Ok(())
            }
            Received::Text(text) => match self.outbox.encoding() {
                Encoding::Json => self.message(text.len(), || Request::from_json(&text)),
                Encoding::MessagePack => {
                    self.message(text.len(), || Err(strange("text", SUBPROTOCOL_MSGPACK)))
                }
            },
            Received::Binary(bytes) => match self.outbox.encoding() {
                Encoding::Json => self.message(bytes.len(), || Err(strange("binary", SUBPROTOCOL_JSON))),
                Encoding::MessagePack => self.message(bytes.len(), || Request::from_message_pack(&bytes)),
            },
        }
    }

    /// Takes a message of `bytes` bytes. Reading is what a message costs first.
    fn message(
        &mut self,
        bytes: usize,
        read: impl FnOnce() -> Result<Request, Malformed>,
    ) -> Result<(), End> {
        traffic::WEBSOCKET.received(bytes as u64);
        Tally::MessagesIn.add(1);
        let now = Instant::now();
        self.spoke_at = now;
        self.guard.active();
        self.rate.charge(1 + bytes / BYTES_PER_COST, now);
        let request = read();
        Operation::Decode.meter().record(Outcome::of(&request), now.elapsed());
        match request {
            Ok(request) => self.command(request),
            Err(Malformed { id, message }) => self.misused(id.as_ref(), Code::BadRequest, message),
        }
    }

    /// Reads nothing more for a while from a client that sends too fast. Refusing what comes too early would
    /// take it out of its order; so it waits in the socket, and the client for the socket.
    fn pause_reading(&mut self) {
        self.paused_until = self.rate.exhausted_until();
        if self.paused_until.is_some() {
            counter!("draftwire_rate_pauses_total").increment(1);
        }
    }

    fn command(&mut self, Request { id, command }: Request) -> Result<(), End> {
        counter!("draftwire_commands_total", "type" => command.name()).increment(1);
        let Some(id) = id else {
            // Only PING may have none.
            self.misuse = 0;
            self.pong(None);
            return Ok(());
        };
        match command {
            Command::Ping => {
                self.give_up(&id);
                self.pong(Some(&id));
            }
            Command::Subscribe(subscribe) => {
                let tokens = subscribe.topics.iter().filter(|topic| topic.token.is_some()).count();
                self.rate.charge(tokens + subscribe.topics.len() / TOPICS_PER_COST, Instant::now());
                self.subscribe(id, subscribe);
            }
            Command::Unsubscribe(unsubscribe) => self.unsubscribe(&id, unsubscribe),
            command => match self.client.identity.clone() {
                Some(identity) => self.change(id, &identity, command),
                None => {
                    let message = "the connection has no token; open one with it";
                    return self.misused(Some(&id), Code::Unauthorized, message.to_owned());
                }
            },
        }
        self.misuse = 0;
        Ok(())
    }

    /// Carries out a command that only a user may give.
    fn change(&mut self, id: CommandId, identity: &Identity, command: Command) {
        let (user, device) = (identity.user.clone(), self.client.device.clone());
        let caller = Caller { user, device, id: Some(id.clone()), pipeline: None, trace: None };
        let context = self.context.clone();
        let drafts = &context.drafts;
        match command {
            Command::DraftCreate(create) => {
                self.in_order(id, caller, |caller| drafts.create(caller, create), reply::done);
            }
            Command::DraftUpdate(update) => {
                let base = Base::Merge(update.base_version);
                let change = |caller| drafts.update(caller, update.draft_id, base, update.patch);
                self.in_order(id, caller, change, reply::done);
            }
            Command::DraftDelete(delete) => {
                let base = delete.base_version.map(Base::Merge);
                let change = |caller| drafts.delete(caller, delete.draft_id, base);
                self.in_order(id, caller, change, reply::done);
            }
            Command::DraftList => {
                let listed = drafts.list(caller.user);
                let turn = self.listing.get_or_insert_with(|| Arc::new(Semaphore::new(1))).clone();
                let listed = async move {
                    // Never closed.
                    let _turn = turn.acquire_owned().await;
                    listed.await
                };
                self.answer(id, listed, |id, list| reply::ack(id, &DraftListBody::from(list)));
            }
            Command::Publish(publish) => {
                let Publish { topic, event } = publish;
                if let Err(failure) = context.topics.check_publish(identity, &topic)
                    && !self.grants.as_ref().is_some_and(|grants| grants.may_publish(&topic))
                {
                    self.give_up(&id);
                    return self.push(reply::error(Some(&id), &failure));
                }
                let is_signal = event.signal;
                let publish = |caller| context.topics.publish(caller, Stream::Topic(topic), vec![event]);
                if is_signal {
                    self.answer(id, publish(caller), reply::published);
                } else {
                    self.in_order(id, caller, publish, reply::published);
                }
            }
            Command::Auth { token } => {
                self.authenticating = true;
                self.in_flight(async move {
                    let verified = context.verifier.verify(&token, unix_ms()).await;
                    CommandOutcome::Auth(id, verified)
                });
            }
            // Done before, also for those who have no token.
            Command::Ping | Command::Subscribe(_) | Command::Unsubscribe(_) => {}
        }
    }

    /// Makes a change, unless another one has to come again before it, and answers it when it is done.
    fn in_order<T, F>(
        &mut self,
        id: CommandId,
        caller: Caller,
        change: impl FnOnce(Caller) -> F,
        told: impl FnOnce(&CommandId, &T) -> Bytes + Send + 'static,
    ) where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let order = self.order.get_or_insert_default();
        let taken = match order.take(&id) {
            Ok(taken) => taken,
            Err(Behind(first)) => {
                counter!("draftwire_commands_held_back_total").increment(1);
                let message = match first {
                    Some(first) => format!("{first} was refused before it and has to be repeated first"),
                    None => Unavailable::Behind.to_string(),
                };
                return self.push(reply::error(Some(&id), &Failure::new(Code::Unavailable, message)));
            }
        };
        let changed = change(Caller { pipeline: Some(order.pipeline()), ..caller });
        let timer = self.timer();
        self.in_flight(async move {
            let changed = changed.await;
            timer.finished(&id, Outcome::of(&changed));
            let (decided, reply) = match changed {
                Ok(done) => (true, told(&id, &done)),
                Err(failure) => (failure.code != Code::Unavailable, reply::error(Some(&id), &failure)),
            };
            CommandOutcome::Changed { taken, id, decided, reply }
        });
    }

    /// Takes the outcome of a change.
    pub(super) fn changed(&mut self, taken: Taken, id: &CommandId, decided: bool) {
        if let Some(order) = &mut self.order {
            order.settle(taken, id, decided);
            if order.is_idle() {
                self.order = None;
            }
        }
    }

    /// A change that was refused for the moment will not come again.
    fn give_up(&mut self, id: &CommandId) {
        if let Some(order) = &mut self.order {
            order.give_up(id);
        }
    }

    /// Answers a command when it is done.
    fn answer<T>(
        &mut self,
        id: CommandId,
        answer: impl Future<Output = Result<T, Failure>> + Send + 'static,
        told: impl FnOnce(&CommandId, &T) -> Bytes + Send + 'static,
    ) {
        let timer = self.timer();
        self.in_flight(async move {
            let answer = answer.await;
            timer.finished(&id, Outcome::of(&answer));
            CommandOutcome::Reply(match answer {
                Ok(done) => told(&id, &done),
                Err(failure) => reply::error(Some(&id), &failure),
            })
        });
    }

    pub(super) fn in_flight(&mut self, command: impl Future<Output = CommandOutcome> + Send + 'static) {
        self.pending.push(command);
    }

    fn timer(&self) -> Timer {
        Timer { began: self.spoke_at, connection: self.client.connection.clone() }
    }

    fn pong(&mut self, id: Option<&CommandId>) {
        let payload = Pong { server_time: unix_ms() };
        self.push(ServerMessage::Pong { id, payload }.json());
    }

    pub(super) fn authenticated(&mut self, id: &CommandId, verified: Result<Identity, AuthError>) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Renewed {
            expires_at: u64,
        }
        let answer = match verified {
            Ok(identity) if self.client.identity.as_ref().is_none_or(|own| own.user != identity.user) => {
                Err(Failure::new(Code::Forbidden, "the token is another user's; open a new connection"))
            }
            Ok(identity) => {
                self.expiry = Some(Expiry::of(&identity, self.limits().token_warning, unix_ms()));
                let expires_at = identity.expires_at;
                self.client.identity = Some(identity);
                Ok(Renewed { expires_at })
            }
            Err(error) => Err(error.into()),
        };
        let message = match &answer {
            Ok(renewed) => reply::ack(id, renewed),
            Err(failure) => reply::error(Some(id), failure),
        };
        self.push(message);
        if answer.is_ok() {
            if let Some(grants) = &mut self.grants {
                grants.ask_again(Instant::now());
            }
            self.revoke_topics();
        }
    }

    fn misused(&mut self, id: Option<&CommandId>, code: Code, message: String) -> Result<(), End> {
        if let Some(id) = id {
            self.give_up(id);
        }
        self.misuse += 1;
        if self.misuse >= MISUSE_MAX {
            let reason = format!("{MISUSE_MAX} consecutive invalid messages: {message}");
            return Err(End::close(Close::Misuse, reason));
        }
        self.push(reply::error(id, &Failure::new(code, message)));
        Ok(())
    }
}

/// The time since a command was read.
struct Timer {
    began: Instant,
    connection: ConnectionId,
}

impl Timer {
    /// Logs the command if it was slow.
    fn finished(self, id: &CommandId, outcome: Outcome) {
        let took = self.began.elapsed();
        let Some(left) = may_report(SlowKind::Command, took) else { return };
        warn!(
            connection = %self.connection,
            command = %id,
            outcome = outcome.label(),
            took_ms = took.as_millis() as u64,
            left_out = left.0,
            "slow command"
        );
    }
}

fn strange(kind: &str, subprotocol: &str) -> Malformed {
    Malformed { id: None, message: format!("{kind} frames have no meaning in {subprotocol}") }
}
