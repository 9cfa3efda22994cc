//! Answers to commands, encoded.

use bytes::Bytes;
use common::{CommandId, protocol::ServerMessage};
use metrics::counter;
use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::{failure::Failure, store::Done};

/// `ACK` of a change.
pub(crate) fn done(id: &CommandId, done: &Done) -> Bytes {
    let payload = done.draft().and_then(|ack| to_raw_value(ack).ok());
    ServerMessage::Ack { id, seq: done.seq(), payload: payload.as_deref() }.json()
}

/// `ACK` with a body.
pub(crate) fn ack(id: &CommandId, payload: &impl Serialize) -> Bytes {
    let payload = to_raw_value(payload).ok();
    ServerMessage::Ack { id, seq: None, payload: payload.as_deref() }.json()
}

/// `ERROR`.
pub(crate) fn error(id: Option<&CommandId>, failure: &Failure) -> Bytes {
    counter!("draftwire_errors_total", "code" => failure.code.as_str()).increment(1);
    let (code, message, payload) = (failure.code, failure.message.as_str(), failure.payload.as_deref());
    ServerMessage::Error { id, code, message, payload }.json()
}
