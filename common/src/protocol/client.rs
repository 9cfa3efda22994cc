//! What clients send.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    ids::{CommandId, DraftId, DraftKind, Version},
    json,
    protocol::topics::{Publish, Subscribe, Unsubscribe},
};

/// One message of a client.
#[derive(Debug, Clone)]
pub struct Request {
    /// The client's name for it. Every command but `PING` has one.
    pub id: Option<CommandId>,
    /// What it asks for.
    pub command: Command,
}

/// What a client asks for. A field that a command does not know is an error, not a silent no-op: a
/// misspelt `baseVersion` must not turn a guarded delete into an unguarded one.
#[derive(Debug, Clone)]
pub enum Command {
    /// `DRAFT_CREATE`
    DraftCreate(DraftCreate),
    /// `DRAFT_UPDATE`
    DraftUpdate(DraftUpdate),
    /// `DRAFT_DELETE`
    DraftDelete(DraftDelete),
    /// `DRAFT_LIST`
    DraftList,
    /// `SUBSCRIBE`
    Subscribe(Subscribe),
    /// `UNSUBSCRIBE`
    Unsubscribe(Unsubscribe),
    /// `PUBLISH`
    Publish(Publish),
    /// `AUTH`: a fresh token for the same user.
    Auth {
        /// The JWT.
        token: String,
    },
    /// `PING`
    Ping,
}

impl Command {
    /// The type on the wire, which is the metric label too.
    pub fn name(&self) -> &'static str {
        match self {
            Self::DraftCreate(_) => "DRAFT_CREATE",
            Self::DraftUpdate(_) => "DRAFT_UPDATE",
            Self::DraftDelete(_) => "DRAFT_DELETE",
            Self::DraftList => "DRAFT_LIST",
            Self::Subscribe(_) => "SUBSCRIBE",
            Self::Unsubscribe(_) => "UNSUBSCRIBE",
            Self::Publish(_) => "PUBLISH",
            Self::Auth { .. } => "AUTH",
            Self::Ping => "PING",
        }
    }
}

/// Creates a draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DraftCreate {
    /// Made up by the server when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draft_id: Option<DraftId>,
    /// `draft` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<DraftKind>,
    /// The first content.
    #[serde(deserialize_with = "json::object")]
    pub content: Map<String, Value>,
}

/// Changes a draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DraftUpdate {
    /// Which draft.
    pub draft_id: DraftId,
    /// The version that the patch was made on.
    pub base_version: Version,
    /// The change, a merge patch of the content (RFC 7396).
    #[serde(deserialize_with = "json::object")]
    pub patch: Map<String, Value>,
}

/// Deletes a draft.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DraftDelete {
    /// Which draft.
    pub draft_id: DraftId,
    /// When given, a draft changed since then is kept, and the answer is `conflict`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_version: Option<Version>,
}

/// Why a message is not a [`Request`]. Answered with `ERROR bad_request`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Malformed {
    /// The message's `id`, where that much could be read.
    pub id: Option<CommandId>,
    /// What is wrong, for the client's developer.
    pub message: String,
}

impl Request {
    /// Reads one JSON message.
    ///
    /// # Errors
    /// [`Malformed`], with the `id` whenever it could be read, so that the client knows which of its
    /// commands was refused.
    pub fn from_json(text: &str) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Envelope<'a> {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            id: Option<CommandId>,
            #[serde(default, borrow)]
            payload: Option<&'a RawValue>,
        }
        let envelope: Envelope<'_> = serde_json::from_str(text)
            .map_err(|error| Malformed { id: id_of(text), message: error.to_string() })?;
        let id = envelope.id;
        let refuse = |message: String| Malformed { id: id.clone(), message };
        let payload = envelope.payload.map_or("{}", RawValue::get);
        let command = match envelope.kind.as_str() {
            "DRAFT_CREATE" => Command::DraftCreate(read(payload).map_err(refuse)?),
            "DRAFT_UPDATE" => Command::DraftUpdate(read(payload).map_err(refuse)?),
            "DRAFT_DELETE" => Command::DraftDelete(read(payload).map_err(refuse)?),
            "DRAFT_LIST" => read::<Nothing>(payload).map(|_| Command::DraftList).map_err(refuse)?,
            "SUBSCRIBE" => Command::Subscribe(read(payload).map_err(refuse)?),
            "UNSUBSCRIBE" => Command::Unsubscribe(read(payload).map_err(refuse)?),
            "PUBLISH" => Command::Publish(read(payload).map_err(refuse)?),
            "AUTH" => {
                let Auth { token } = read(payload).map_err(refuse)?;
                Command::Auth { token }
            }
            "PING" => read::<Nothing>(payload).map(|_| Command::Ping).map_err(refuse)?,
            other => {
                let shown: String = other.chars().take(64).collect();
                return Err(refuse(format!("unknown type {shown:?}")));
            }
        };
        if id.is_none() && !matches!(command, Command::Ping) {
            return Err(refuse("missing field `id`: it makes the command safe to repeat".to_owned()));
        }
        Ok(Self { id, command })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Auth {
    token: String,
}

fn read<T: DeserializeOwned>(payload: &str) -> Result<T, String> {
    serde_json::from_str(payload).map_err(|error| format!("payload: {error}"))
}

/// The `id` of a message whose other parts are wrong, if it can be had.
fn id_of(text: &str) -> Option<CommandId> {
    #[derive(Deserialize)]
    struct OnlyId {
        id: CommandId,
    }
    serde_json::from_str::<OnlyId>(text).ok().map(|only| only.id)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let request = Request::from_json(
            r#"{"type":"DRAFT_UPDATE","id":"c1","payload":{"draftId":"d","baseVersion":3,"patch":{"a":null}}}"#,
        )
        .unwrap();
        assert_eq!(request.id.unwrap().as_str(), "c1");
        let Command::DraftUpdate(update) = request.command else { panic!("another command") };
        assert_eq!(update.base_version, Version(3));
        assert_eq!(update.patch["a"], Value::Null);
        assert!(matches!(Request::from_json(r#"{"type":"PING"}"#).unwrap().command, Command::Ping));
    }

    #[test]
    fn what_is_wrong_is_named_and_the_id_is_kept() {
        let cases = [
            ("", None, "EOF"),
            ("[]", None, "expected"),
            ("{\"type\":\"PING\"} x", None, "trailing"),
            (r#"{"id":"c"}"#, Some("c"), "missing field `type`"),
            (r#"{"type":"NOPE","id":"c"}"#, Some("c"), "unknown type \"NOPE\""),
            (r#"{"type":"DRAFT_LIST"}"#, None, "missing field `id`"),
            (r#"{"type":"DRAFT_LIST","id":7}"#, None, "invalid type"),
            (r#"{"type":"DRAFT_LIST","id":"c","more":1}"#, Some("c"), "unknown field `more`"),
            (r#"{"type":"DRAFT_CREATE","id":"c"}"#, Some("c"), "missing field `content`"),
            (r#"{"type":"DRAFT_CREATE","id":"c","payload":{"content":[]}}"#, Some("c"), "invalid type"),
            (
                r#"{"type":"DRAFT_DELETE","id":"c","payload":{"draftId":"d","baseversion":1}}"#,
                Some("c"),
                "unknown field `baseversion`",
            ),
            (
                r#"{"type":"DRAFT_DELETE","id":"c","payload":{"draftId":"d","baseVersion":-1}}"#,
                Some("c"),
                "invalid value",
            ),
            (r#"{"type":"DRAFT_DELETE","id":"c","payload":{"draftId":"a b"}}"#, Some("c"), "draftId must be"),
        ];
        for (text, id, message) in cases {
            let refused = Request::from_json(text).expect_err(text);
            assert_eq!(refused.id.as_ref().map(CommandId::as_str), id, "{text}");
            assert!(refused.message.contains(message), "{text}: {}", refused.message);
        }
        let long = format!(r#"{{"type":"DRAFT_LIST","id":"{}"}}"#, "x".repeat(65));
        assert!(Request::from_json(&long).unwrap_err().message.contains("id must be 1 to 64"));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let deep = format!(
            r#"{{"type":"DRAFT_CREATE","id":"c","payload":{{"content":{}1{}}}}}"#,
            r#"{"a":"#.repeat(100_000),
            "}".repeat(100_000)
        );
        assert!(Request::from_json(&deep).is_err());
    }
}
