//! Commands of the client: checked, carried out, answered.

use std::sync::Arc;

use bytes::Bytes;
use common::{
    Code, CommandId, Stream,
    close::Close,
    message::Encoding,
    protocol::{
        Command, Malformed, Pong, Publish, Request, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, ServerMessage,
    },
    time::unix_ms,
};
use metrics::counter;
use serde::Serialize;
use tokio::{sync::Semaphore, time::Instant};
use websocket::Received;

use super::{
    reply,
    session::{Due, End, Session},
};
use crate::{
    auth::{AuthError, Expiry, Identity},
    caller::Caller,
    drafts::DraftListBody,
    failure::Failure,
    store::Base,
};

/// Messages without use in a row, malformed or not allowed without a token, after which the connection
/// is closed with 4400.
const MISUSE_MAX: u32 = 10;

/// How many bytes of a message, inflated, count as one more message: reading them is work.
const BYTES_PER_COST: usize = 16 * 1024;

/// Topics of a `SUBSCRIBE` that count as one more message. Following one may cost the node a
/// subscription and a look at the store; still, a client that comes back to all of its topics should
/// not have to wait.
const TOPICS_PER_COST: usize = 10;

/// Up to how many bytes a message over the rate is read nevertheless, to answer under its `id`.
const OVER_RATE_READ_MAX: usize = 4 * 1024;

impl Session {
    pub(super) fn received(&mut self, received: Received) -> Result<(), End> {
        self.heartbeat.alive();
        match received {
            // They too are work: a client that sends nothing but pings must not keep a thread to itself.
            Received::Alive => self.control(),
            Received::Pong(payload) => {
                self.ponged(&payload);
                self.control()
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

    /// Takes a message of so many bytes, if it is within the rate. Reading is what a message costs
    /// first, so it is paid for beforehand.
    fn message(
        &mut self,
        bytes: usize,
        read: impl FnOnce() -> Result<Request, Malformed>,
    ) -> Result<(), End> {
        let now = Instant::now();
        self.spoke_at = now;
        if !self.rate.take(1 + bytes / BYTES_PER_COST, now) {
            return self.refuse_over_rate(bytes, read);
        }
        self.over_rate = 0;
        match read() {
            Ok(request) => self.command(request),
            Err(Malformed { id, message }) => self.misused(id.as_ref(), Code::BadRequest, message),
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
            Command::Ping => self.pong(Some(&id)),
            Command::Subscribe(subscribe) => {
                self.rate.charge(subscribe.topics.len() / TOPICS_PER_COST);
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

    /// Takes a control frame, which counts against the rate like a message and is answered by none.
    fn control(&mut self) -> Result<(), End> {
        if self.rate.take(1, Instant::now()) { Ok(()) } else { self.count_over_rate() }
    }

    /// Carries out a command that only a user may give.
    fn change(&mut self, id: CommandId, identity: &Identity, command: Command) {
        let caller =
            Caller { user: identity.user.clone(), device: self.client.device.clone(), id: Some(id.clone()) };
        let node = self.node.clone();
        let drafts = &node.drafts;
        match command {
            Command::DraftCreate(create) => {
                self.answer(id, drafts.create(caller, create), |id, done| reply::done(id, &done));
            }
            Command::DraftUpdate(update) => {
                let base = Base::Merge(update.base_version);
                let updated = drafts.update(caller, update.draft_id, base, update.patch);
                self.answer(id, updated, |id, done| reply::done(id, &done));
            }
            Command::DraftDelete(delete) => {
                let base = delete.base_version.map(Base::Merge);
                let deleted = drafts.delete(caller, delete.draft_id, base);
                self.answer(id, deleted, |id, done| reply::done(id, &done));
            }
            Command::DraftList => {
                let listed = drafts.list(caller.user);
                let turn = self.listing.get_or_insert_with(|| Arc::new(Semaphore::new(1))).clone();
                let listed = async move {
                    // Never closed.
                    let _turn = turn.acquire_owned().await;
                    listed.await
                };
                self.answer(id, listed, |id, list| reply::ack(id, &DraftListBody::from(&list)));
            }
            Command::Publish(publish) => {
                let Publish { topic, event } = publish;
                match node.topics.check_publish(identity, &topic) {
                    Ok(()) => {
                        let published = node.topics.publish(caller, Stream::Topic(topic), vec![event]);
                        self.answer(id, published, reply::published);
                    }
                    Err(failure) => self.push(reply::error(Some(&id), &failure)),
                }
            }
            Command::Auth { token } => {
                self.authenticating = true;
                self.under_way(async move {
                    let verified = node.verifier.verify(&token, unix_ms()).await;
                    Due::Auth(id, verified)
                });
            }
            // Done before, also for those who have no token.
            Command::Ping | Command::Subscribe(_) | Command::Unsubscribe(_) => {}
        }
    }

    /// Answers a command when it is done.
    fn answer<T>(
        &mut self,
        id: CommandId,
        answer: impl Future<Output = Result<T, Failure>> + Send + 'static,
        told: impl FnOnce(&CommandId, T) -> Bytes + Send + 'static,
    ) {
        self.under_way(async move {
            Due::Reply(match answer.await {
                Ok(done) => told(&id, done),
                Err(failure) => reply::error(Some(&id), &failure),
            })
        });
    }

    pub(super) fn under_way(&mut self, command: impl Future<Output = Due> + Send + 'static) {
        self.pending.push(command);
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
            self.revoke_topics();
        }
    }

    fn refuse_over_rate(
        &mut self,
        bytes: usize,
        read: impl FnOnce() -> Result<Request, Malformed>,
    ) -> Result<(), End> {
        self.count_over_rate()?;
        let per_second = self.limits().commands_per_second;
        let id = if bytes <= OVER_RATE_READ_MAX {
            read().map_or_else(|malformed| malformed.id, |request| request.id)
        } else {
            None
        };
        let failure = Failure::new(Code::RateLimited, format!("at most {per_second} commands per second"));
        self.push(reply::error(id.as_ref(), &failure));
        Ok(())
    }

    fn count_over_rate(&mut self) -> Result<(), End> {
        self.over_rate += 1;
        if self.over_rate > self.limits().commands_burst() {
            let per_second = self.limits().commands_per_second;
            return Err(End::close(Close::TooMany, format!("more than {per_second} commands per second")));
        }
        Ok(())
    }

    fn misused(&mut self, id: Option<&CommandId>, code: Code, message: String) -> Result<(), End> {
        self.misuse += 1;
        if self.misuse >= MISUSE_MAX {
            let reason = format!("{MISUSE_MAX} messages in a row without use: {message}");
            return Err(End::close(Close::Misuse, reason));
        }
        self.push(reply::error(id, &Failure::new(code, message)));
        Ok(())
    }
}

fn strange(kind: &str, subprotocol: &str) -> Malformed {
    Malformed { id: None, message: format!("{kind} frames have no meaning in {subprotocol}") }
}
