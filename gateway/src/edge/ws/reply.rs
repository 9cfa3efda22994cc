//! Answers to commands, encoded.

use bytes::Bytes;
use common::{CommandId, protocol::ServerMessage};
use metrics::counter;
use serde::Serialize;
use serde_json::value::to_raw_value;

use crate::{
    commands::{failure::Failure, topics::Published},
    store::Done,
};

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

/// `ACK` of what was published.
pub(crate) fn published(id: &CommandId, published: &Published) -> Bytes {
    let seq = match published {
        Published::Events { seq, .. } => Some(*seq),
        Published::Signals => None,
    };
    ServerMessage::Ack { id, seq, payload: None }.json()
}

/// `ACK` without anything else to say.
pub(crate) fn ack_nothing(id: &CommandId) -> Bytes {
    ServerMessage::Ack { id, seq: None, payload: None }.json()
}

/// `ERROR`.
pub(crate) fn error(id: Option<&CommandId>, failure: &Failure) -> Bytes {
    counter!("draftwire_errors_total", "code" => failure.code.as_str()).increment(1);
    let (code, message, payload) = (failure.code, failure.message.as_str(), failure.payload.as_deref());
    ServerMessage::Error { id, code, message, payload }.json()
}
