//! Messages of the protocol: what the server sends, read; what clients send, written.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{cursor::Cursor, error::Violation, json::Json};

/// A message of the server, of any type. Fields that a type does not have are absent.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Incoming<'a> {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) id: Option<String>,
    pub(crate) stream: Option<String>,
    pub(crate) seq: Option<u64>,
    pub(crate) epoch: Option<String>,
    pub(crate) missed_before: Option<u64>,
    #[serde(default)]
    pub(crate) timestamp: u64,
    #[serde(default)]
    pub(crate) origin: String,
    #[serde(default)]
    pub(crate) priority: Priority,
    pub(crate) event: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    #[serde(borrow)]
    pub(crate) payload: Option<&'a RawValue>,
}

/// How urgent an event is. Urgent ones are not held back by batch windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Priority {
    /// Ends a batch window.
    High,
    /// Ends a batch window.
    Critical,
    /// As events are.
    #[default]
    #[serde(other)]
    Normal,
}

impl Priority {
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// An event of a stream. It serialises to what the server sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Event {
    /// Its type, chosen by the publisher: `GOAL`.
    #[serde(rename = "type")]
    pub event: String,
    /// The stream: `user`, `all`, or `topic:` and a name.
    pub stream: String,
    /// Its number in the stream.
    pub seq: u64,
    /// When it was committed, Unix milliseconds.
    pub timestamp: u64,
    /// The device that caused it.
    pub origin: String,
    /// How urgent it is.
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// What the publisher gave; `null` when it gave nothing.
    #[serde(rename = "payload")]
    pub data: Json,
}

/// Something that was true only at that moment; it has no number and is not stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Signal {
    /// Its type, chosen by the sender: `TYPING`.
    pub event: String,
    /// The device that sent it.
    pub origin: String,
    /// What the sender gave; `null` when it gave nothing.
    #[serde(rename = "payload")]
    pub data: Json,
}

impl Incoming<'_> {
    pub(crate) fn data(&self) -> Option<Json> {
        self.payload.map(Json::from_raw)
    }

    fn data_or_null(&self) -> Json {
        Json::from_raw(self.payload.unwrap_or(RawValue::NULL))
    }

    pub(crate) fn to_event(&self, stream: &str, seq: u64) -> Event {
        Event {
            event: self.kind.clone(),
            stream: stream.to_owned(),
            seq,
            timestamp: self.timestamp,
            origin: self.origin.clone(),
            priority: self.priority,
            data: self.data_or_null(),
        }
    }

    pub(crate) fn to_signal(&self) -> Signal {
        Signal {
            event: self.event.clone().unwrap_or_default(),
            origin: self.origin.clone(),
            data: self.data_or_null(),
        }
    }
}

/// The messages of a frame: one, or an array of them.
pub(crate) fn read(text: &str) -> serde_json::Result<Vec<Incoming<'_>>> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text);
    }
    serde_json::from_str(text).map(|message| vec![message])
}

/// What the server says of the connection in its first message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Welcome {
    /// Names the connection in the server's logs.
    pub connection_id: String,
    /// The token's user; absent without a token.
    pub user_id: Option<String>,
    /// This device.
    pub device: String,
    /// The node that serves the connection.
    pub node: String,
    /// The history that `seq` and `all_seq` count in.
    pub epoch: String,
    /// The head of the user's stream; absent without a token.
    pub seq: Option<u64>,
    /// The head of the stream `all`.
    pub all_seq: u64,
    /// The longest time between two signs of life of the server, milliseconds.
    pub heartbeat_ms: u64,
    /// The largest message that the server takes.
    pub max_message_bytes: u64,
}

/// A device that is present in a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Member {
    /// Whose; absent where the device has shown no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
    /// Which.
    pub device: String,
}

/// A device that came or left, and how many are present after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct MemberChange {
    /// The device.
    #[serde(flatten)]
    pub member: Member,
    /// How many users.
    pub users: u64,
    /// How many devices.
    pub devices: u64,
}

/// Who is present in a topic, all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Presence {
    /// Everyone; `None` when there are too many to list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<Member>>,
    /// How many users.
    pub users: u64,
    /// How many devices.
    pub devices: u64,
}

/// Where a topic of a `SUBSCRIBE` stands, or why it is not followed.
#[derive(Debug, Deserialize)]
pub(crate) struct SubscribeAnswer {
    pub(crate) topic: String,
    pub(crate) epoch: Option<String>,
    pub(crate) seq: Option<u64>,
    pub(crate) code: Option<String>,
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Deserialize)]
pub(crate) struct SubscribeAnswers {
    pub(crate) topics: Vec<SubscribeAnswer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct InMs {
    pub(crate) in_ms: u64,
}

#[derive(Deserialize)]
pub(crate) struct Unsubscribed {
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) message: String,
}

/// A topic in a `SUBSCRIBE`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SubscribeTopic<'a> {
    pub(crate) topic: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cursor: Option<&'a Cursor>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) presence: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) batch_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<&'a str>,
}

/// A client's message. `payload` is left out where a command has none.
#[derive(Serialize)]
pub(crate) struct Outgoing<'a, P> {
    #[serde(rename = "type")]
    pub(crate) kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<P>,
}

/// The text of a client's message.
pub(crate) fn write<P: Serialize>(
    kind: &str,
    id: Option<&str>,
    payload: Option<P>,
) -> serde_json::Result<String> {
    serde_json::to_string(&Outgoing { kind, id, payload })
}

/// Reads the body of a message.
pub(crate) fn body<'a, T: serde::Deserialize<'a>>(message: &Incoming<'a>) -> Result<T, Violation> {
    let text = message.payload.map_or("null", |raw| raw.get());
    serde_json::from_str(text).map_err(|error| Violation::Malformed(format!("{}: {error}", message.kind)))
}
