//! Commands of the client: checked, carried out, answered.

use common::{
    Code, CommandId,
    close::Close,
    protocol::{Command, Pong, Request, ServerMessage},
    time::unix_ms,
};
use futures_util::future::BoxFuture;
use metrics::counter;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    reply,
    session::{Due, End, Expiry, Session},
    socket::Received,
};
use crate::{
    auth::{AuthError, Identity},
    drafts::{Caller, DraftListBody},
    failure::Failure,
    store::{Base, Done},
};

/// Malformed messages in a row after which the connection is closed with 4400.
const MISUSE_MAX: u32 = 10;

impl Session {
    pub(super) fn received(&mut self, received: Received) -> Result<(), End> {
        self.heartbeat.alive();
        match received {
            Received::Alive => Ok(()),
            Received::Text(text) => self.command(&text),
            Received::Binary => {
                if !self.within_rate(None)? {
                    return Ok(());
                }
                self.misused(None, "binary frames have no meaning in draftwire.v1.json".to_owned())
            }
        }
    }

    fn command(&mut self, text: &str) -> Result<(), End> {
        let request = Request::from_json(text);
        let id = match &request {
            Ok(request) => request.id.as_ref(),
            Err(malformed) => malformed.id.as_ref(),
        };
        if !self.within_rate(id)? {
            return Ok(());
        }
        let Request { id, command } = match request {
            Ok(request) => request,
            Err(malformed) => return self.misused(malformed.id.as_ref(), malformed.message),
        };
        self.misuse = 0;
        counter!("draftwire_commands_total", "type" => command.name()).increment(1);
        let Some(id) = id else {
            // Only PING may have none.
            self.pong(None);
            return Ok(());
        };
        let caller = Caller {
            user: self.client.identity.user.clone(),
            device: self.client.device.clone(),
            id: Some(id.clone()),
        };
        let drafts = &self.node.drafts;
        match command {
            Command::Ping => self.pong(Some(&id)),
            Command::DraftCreate(create) => self.reply(id, drafts.create(caller, create, text.len())),
            Command::DraftUpdate(update) => {
                let base = Base::Merge(update.base_version);
                self.reply(id, drafts.update(caller, update.draft_id, base, update.patch, text.len()));
            }
            Command::DraftDelete(delete) => {
                let base = delete.base_version.map(Base::Merge);
                self.reply(id, drafts.delete(caller, delete.draft_id, base));
            }
            Command::DraftList => {
                let listed = drafts.list(caller.user);
                self.under_way(Box::pin(async move {
                    Due::Reply(match listed.await {
                        Ok(list) => reply::ack(&id, &DraftListBody::from(&list)),
                        Err(failure) => reply::error(Some(&id), &failure),
                    })
                }));
            }
            Command::Subscribe(_) | Command::Unsubscribe(_) | Command::Publish(_) => {
                return self.misused(Some(&id), "not yet".to_owned());
            }
            Command::Auth { token } => {
                let node = self.node.clone();
                self.under_way(Box::pin(async move {
                    let verified = node.verifier.verify(&token, unix_ms()).await;
                    Due::Auth(id, verified)
                }));
            }
        }
        Ok(())
    }

    fn reply(&mut self, id: CommandId, answer: impl Future<Output = Result<Done, Failure>> + Send + 'static) {
        self.under_way(Box::pin(async move {
            Due::Reply(match answer.await {
                Ok(done) => reply::done(&id, &done),
                Err(failure) => reply::error(Some(&id), &failure),
            })
        }));
    }

    fn under_way(&mut self, command: BoxFuture<'static, Due>) {
        self.commands += 1;
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
            Ok(identity) if identity.user != self.client.identity.user => {
                Err(Failure::new(Code::Forbidden, "the token is another user's; open a new connection"))
            }
            Ok(identity) => {
                self.expiry = Expiry::of(&identity);
                let expires_at = identity.expires_at;
                self.client.identity = identity;
                Ok(Renewed { expires_at })
            }
            Err(error) => Err(error.into()),
        };
        let message = match answer {
            Ok(renewed) => reply::ack(id, &renewed),
            Err(failure) => reply::error(Some(id), &failure),
        };
        self.push(message);
    }

    /// Answers whether the message is within the connection's rate; otherwise it has been refused.
    fn within_rate(&mut self, id: Option<&CommandId>) -> Result<bool, End> {
        if self.rate.take(Instant::now()) {
            self.over_rate = 0;
            return Ok(true);
        }
        self.over_rate += 1;
        let per_second = self.limits().commands_per_second;
        if self.over_rate > self.limits().commands_burst() {
            return Err(End::close(Close::TooMany, format!("more than {per_second} commands per second")));
        }
        let failure = Failure::new(Code::RateLimited, format!("at most {per_second} commands per second"));
        self.push(reply::error(id, &failure));
        Ok(false)
    }

    fn misused(&mut self, id: Option<&CommandId>, message: String) -> Result<(), End> {
        self.misuse += 1;
        if self.misuse >= MISUSE_MAX {
            return Err(End::close(Close::Misuse, format!("{MISUSE_MAX} malformed messages: {message}")));
        }
        self.push(reply::error(id, &Failure::new(Code::BadRequest, message)));
        Ok(())
    }
}
