//! What the server sends. Events have an encoding of their own: [`crate::Event::json`].

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    error::Code,
    ids::{CommandId, ConnectionId, DeviceId, DraftId, DraftKind, Epoch, NodeId, Seq, UserId, Version},
    message::Message,
    stream::TopicName,
};

/// A message of the server that is not an event.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase")]
pub enum ServerMessage<'a> {
    /// The first message, always.
    Welcome {
        /// Where the client is and what holds there.
        payload: Welcome,
    },
    /// Everything missed has been sent; what follows is live.
    Synced {
        /// The stream, as clients call it.
        stream: &'a str,
        /// The last event sent, or that the cursor stood at.
        seq: Seq,
        /// The history that `seq` counts in, where it is another than that of the cursor.
        #[serde(skip_serializing_if = "Option::is_none")]
        epoch: Option<&'a Epoch>,
        /// When given, the client's cursor could not be continued: it moves to `seq`, and the events
        /// before this number that the client has not seen are gone.
        #[serde(skip_serializing_if = "Option::is_none")]
        missed_before: Option<Seq>,
    },
    /// The connection no longer follows the stream, without having asked for that.
    Unsubscribed {
        /// The stream, as clients call it.
        stream: &'a str,
        /// Why.
        payload: Unsubscribed<'a>,
    },
    /// Who is here, all of it.
    Presence {
        /// The stream, as clients call it.
        stream: &'a str,
        /// The state.
        payload: Presence<'a>,
    },
    /// Somebody came.
    Join {
        /// The stream, as clients call it.
        stream: &'a str,
        /// Who.
        payload: Member<'a>,
    },
    /// Somebody left.
    Leave {
        /// The stream, as clients call it.
        stream: &'a str,
        /// Who.
        payload: Member<'a>,
    },
    /// The state of the stream at `seq`, instead of events that cannot be had.
    Snapshot {
        /// The stream, as clients call it.
        stream: &'a str,
        /// The history that `seq` counts in.
        epoch: &'a Epoch,
        /// What the state stands at; events follow from the next one on.
        seq: Seq,
        /// The drafts.
        payload: SnapshotBody<'a>,
    },
    /// The command `id` was carried out.
    Ack {
        /// The command.
        id: &'a CommandId,
        /// The event that reports the change, when there is one.
        #[serde(skip_serializing_if = "Option::is_none")]
        seq: Option<Seq>,
        /// What the command answers.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    /// The command `id`, or a message without one, was refused.
    Error {
        /// The command, where it could be read.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a CommandId>,
        /// What kind of refusal.
        code: Code,
        /// What is wrong, for the client's developer.
        message: &'a str,
        /// What helps to mend it, such as the current draft of a conflict.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
    },
    /// The answer to `PING`.
    Pong {
        /// The command's `id`, if it had one.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a CommandId>,
        /// When and where.
        payload: Pong,
    },
    /// The token ends soon: send `AUTH` with a fresh one, or the socket closes with 4401.
    TokenExpiring {
        /// Where it is the token of one topic: that stream, for which `SUBSCRIBE` takes a fresh one.
        #[serde(skip_serializing_if = "Option::is_none")]
        stream: Option<&'a str>,
        /// How soon.
        payload: TokenExpiring,
    },
    /// The node is about to stop: connect again after the given time.
    Reconnect {
        /// When to come back.
        payload: Reconnect,
    },
}

impl ServerMessage<'_> {
    /// The message as JSON.
    pub fn json(&self) -> Bytes {
        self.message().json().clone()
    }

    /// The message, for any encoding.
    pub fn message(&self) -> Message {
        Message::of(self)
    }
}

/// The body of [`ServerMessage::Welcome`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// Names this connection in the server's logs.
    pub connection_id: ConnectionId,
    /// The token's `sub`; absent where the client has shown none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// This device; made up when the client gave none.
    pub device: DeviceId,
    /// The node that serves the connection.
    pub node: NodeId,
    /// The history that `seq` and `all_seq` count in.
    pub epoch: Epoch,
    /// The head of the user's stream. Without a cursor, live events follow from the next one on. Absent
    /// where there is no user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<Seq>,
    /// The head of the stream `all`, which every connection follows.
    pub all_seq: Seq,
    /// The longest time between two signs of life of the server, milliseconds.
    pub heartbeat_ms: u64,
    /// The largest message that the server takes.
    pub max_message_bytes: u64,
    /// The server's clock, Unix milliseconds.
    pub server_time: u64,
}

/// The body of [`ServerMessage::Snapshot`].
#[derive(Debug, Serialize)]
pub struct SnapshotBody<'a> {
    /// All drafts of the user that are not deleted.
    pub drafts: &'a [Draft],
}

/// Where following a topic begins.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Subscribed<'a> {
    /// The topic is followed.
    At {
        /// Its name.
        topic: &'a TopicName,
        /// The history that `seq` counts in.
        epoch: &'a Epoch,
        /// The head. Without a cursor, live events follow from the next one on.
        seq: Seq,
    },
    /// It is not; of several topics, the others are.
    Refused {
        /// Its name.
        topic: &'a TopicName,
        /// What kind of refusal.
        code: Code,
        /// What is wrong.
        message: &'a str,
    },
}

/// The body of [`ServerMessage::Unsubscribed`].
#[derive(Debug, Serialize)]
pub struct Unsubscribed<'a> {
    /// What kind of reason.
    pub code: Code,
    /// The reason.
    pub message: &'a str,
}

/// The body of [`ServerMessage::Presence`].
#[derive(Debug, Serialize)]
pub struct Presence<'a> {
    /// Everyone who is here; absent when there are too many to list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<&'a [Device]>,
    /// How many users. All that have shown no token count as one each.
    pub users: u64,
    /// How many devices.
    pub devices: u64,
}

/// The body of [`ServerMessage::Join`] and [`ServerMessage::Leave`].
#[derive(Debug, Serialize)]
pub struct Member<'a> {
    /// Who came or left.
    #[serde(flatten)]
    pub device: &'a Device,
    /// How many users are here now.
    pub users: u64,
    /// How many devices are here now.
    pub devices: u64,
}

/// One device that is here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Whose; absent where the client has shown no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<UserId>,
    /// Which.
    pub device: DeviceId,
}

/// The body of [`ServerMessage::Pong`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pong {
    /// The server's clock, Unix milliseconds.
    pub server_time: u64,
}

/// The body of [`ServerMessage::TokenExpiring`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenExpiring {
    /// Milliseconds until the socket closes.
    pub in_ms: u64,
}

/// The body of [`ServerMessage::Reconnect`].
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Reconnect {
    /// Milliseconds to wait before connecting again. The socket closes soon after that.
    pub in_ms: u64,
}

/// A draft as clients see it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Draft {
    /// Its name within the user.
    pub draft_id: DraftId,
    /// Which change of it this is.
    pub version: Version,
    /// What it is.
    pub kind: DraftKind,
    /// The state, a JSON object.
    pub content: Box<RawValue>,
    /// When it last changed, Unix milliseconds.
    pub updated_at: u64,
}

/// What a change of a draft answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DraftAck {
    /// The draft.
    pub draft_id: DraftId,
    /// Its version after the change.
    pub version: Version,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_the_protocol_says() {
        let id: CommandId = "c1".parse().unwrap();
        let ack = ServerMessage::Ack { id: &id, seq: Some(Seq(3)), payload: None };
        assert_eq!(ack.json(), r#"{"type":"ACK","id":"c1","seq":3}"#);
        let error = ServerMessage::Error { id: None, code: Code::BadRequest, message: "no", payload: None };
        assert_eq!(error.json(), r#"{"type":"ERROR","code":"bad_request","message":"no"}"#);
        let expiring = ServerMessage::TokenExpiring { stream: None, payload: TokenExpiring { in_ms: 5 } };
        assert_eq!(expiring.json(), r#"{"type":"TOKEN_EXPIRING","payload":{"inMs":5}}"#);
        let synced = ServerMessage::Synced { stream: "user", seq: Seq(0), epoch: None, missed_before: None };
        assert_eq!(synced.json(), r#"{"type":"SYNCED","stream":"user","seq":0}"#);
    }
}
