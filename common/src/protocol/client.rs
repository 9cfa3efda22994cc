//! What clients send.

use crate::{
    ids::{CommandId, DraftId, DraftKind, Version},
    json::{self, DEPTH_MAX, Field, Fields, Invalid, Object},
    msgpack,
    protocol::topics::{Publish, Subscribe, Unsubscribe},
    text::quoted,
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
#[derive(Debug, Clone, PartialEq)]
pub struct DraftCreate {
    /// Made up by the server when absent.
    pub draft_id: Option<DraftId>,
    /// `draft` when absent.
    pub kind: Option<DraftKind>,
    /// The first content.
    pub content: Object,
}

/// Changes a draft.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftUpdate {
    /// Which draft.
    pub draft_id: DraftId,
    /// The version that the patch was made on.
    pub base_version: Version,
    /// The change, a merge patch of the content (RFC 7396).
    pub patch: Object,
}

/// Deletes a draft.
#[derive(Debug, Clone, PartialEq)]
pub struct DraftDelete {
    /// Which draft.
    pub draft_id: DraftId,
    /// When given, a draft changed since then is kept, and the answer is `conflict`.
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

/// What an absent payload stands for.
const EMPTY: &str = "{}";

impl Request {
    /// Reads one JSON message.
    ///
    /// # Errors
    /// [`Malformed`], with the `id` whenever it could be read, so that the client knows which of its
    /// commands was refused.
    pub fn from_json(text: &str) -> Result<Self, Malformed> {
        Self::read(text).map_err(|error| {
            let id = json::find_member(text, "id").and_then(|id| CommandId::read(id).ok());
            Malformed { id, message: error.sentence("the message") }
        })
    }

    /// Reads one MessagePack message.
    ///
    /// # Errors
    /// As [`Request::from_json`].
    pub fn from_message_pack(bytes: &[u8]) -> Result<Self, Malformed> {
        match msgpack::to_json(bytes) {
            Ok(text) => Self::from_json(&text),
            Err(error) => {
                let id = msgpack::find_member(bytes, "id").and_then(|id| CommandId::read(&id).ok());
                Err(Malformed { id, message: error.sentence("the message") })
            }
        }
    }

    fn read(text: &str) -> Result<Self, Invalid> {
        // One more level than what the payload carries.
        let envelope = Fields::of(text, &["type", "id", "payload"], DEPTH_MAX + 1)?;
        let id = envelope.optional("id")?;
        let kind: String = envelope.required("type")?;
        let payload = envelope.raw("payload").filter(|payload| *payload != "null").unwrap_or(EMPTY);
        let command = Command::read(&kind, payload)?;
        if id.is_none() && !matches!(command, Command::Ping) {
            return Err(Invalid::new("is missing: it makes the command safe to repeat").within("id"));
        }
        Ok(Self { id, command })
    }
}

impl Command {
    fn read(kind: &str, payload: &str) -> Result<Self, Invalid> {
        let command = match kind {
            "DRAFT_CREATE" => DraftCreate::from_json(payload).map(Self::DraftCreate),
            "DRAFT_UPDATE" => DraftUpdate::from_json(payload).map(Self::DraftUpdate),
            "DRAFT_DELETE" => DraftDelete::from_json(payload).map(Self::DraftDelete),
            "DRAFT_LIST" => nothing(payload).map(|()| Self::DraftList),
            "SUBSCRIBE" => Subscribe::from_json(payload).map(Self::Subscribe),
            "UNSUBSCRIBE" => Unsubscribe::from_json(payload).map(Self::Unsubscribe),
            "PUBLISH" => Publish::from_json(payload).map(Self::Publish),
            "AUTH" => auth(payload),
            "PING" => nothing(payload).map(|()| Self::Ping),
            other => {
                let what = format!("{} is no command of this protocol", quoted(other));
                return Err(Invalid::new(what).within("type"));
            }
        };
        command.map_err(|error| error.within("payload"))
    }
}

impl DraftCreate {
    /// Reads a payload, or a body.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_json(text: &str) -> Result<Self, Invalid> {
        let fields = Fields::of(text, &["draftId", "kind", "content"], DEPTH_MAX)?;
        Ok(Self {
            draft_id: fields.optional("draftId")?,
            kind: fields.optional("kind")?,
            content: fields.required("content")?,
        })
    }
}

impl DraftUpdate {
    fn from_json(text: &str) -> Result<Self, Invalid> {
        let fields = Fields::of(text, &["draftId", "baseVersion", "patch"], DEPTH_MAX)?;
        Ok(Self {
            draft_id: fields.required("draftId")?,
            base_version: fields.required("baseVersion")?,
            patch: fields.required("patch")?,
        })
    }
}

impl DraftDelete {
    fn from_json(text: &str) -> Result<Self, Invalid> {
        let fields = Fields::of(text, &["draftId", "baseVersion"], DEPTH_MAX)?;
        Ok(Self { draft_id: fields.required("draftId")?, base_version: fields.optional("baseVersion")? })
    }
}

fn nothing(payload: &str) -> Result<(), Invalid> {
    Fields::of(payload, &[], DEPTH_MAX).map(drop)
}

fn auth(payload: &str) -> Result<Command, Invalid> {
    Fields::of(payload, &["token"], DEPTH_MAX)?.required("token").map(|token| Command::Auth { token })
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
        assert_eq!(update.patch["a"], json::Value::Null);
        assert!(matches!(Request::from_json(r#"{"type":"PING"}"#).unwrap().command, Command::Ping));
    }

    #[test]
    fn what_is_wrong_is_named_and_the_id_is_kept() {
        let cases = [
            ("", None, "the message is empty"),
            ("[]", None, "the message must be an object, not an array"),
            ("{\"type\":\"PING\"} x", None, "the message is not JSON: unexpected 'x' at byte 16"),
            (r#"{"type":"PING","id":"c""#, Some("c"), "the message ends too early"),
            (r#"{"id":"c"}"#, Some("c"), "type is missing"),
            (r#"{"type":"NOPE","id":"c"}"#, Some("c"), "type \"NOPE\" is no command"),
            (r#"{"type":"DRAFT_LIST"}"#, None, "id is missing"),
            (r#"{"type":"DRAFT_LIST","id":7}"#, None, "id must be a string, not a number"),
            (r#"{"type":"DRAFT_LIST","id":"c","more":1}"#, Some("c"), "the message has no field \"more\""),
            (
                r#"{"type":"DRAFT_LIST","id":"c","id":"d"}"#,
                Some("c"),
                "the message has the field \"id\" twice",
            ),
            (r#"{"type":"DRAFT_CREATE","id":"c"}"#, Some("c"), "payload.content is missing"),
            (
                r#"{"payload":{"content":[]},"type":"DRAFT_CREATE","id":"c"}"#,
                Some("c"),
                "payload.content must be an object, not an array",
            ),
            (
                r#"{"type":"DRAFT_DELETE","id":"c","payload":{"draftId":"d","baseversion":1}}"#,
                Some("c"),
                "payload has no field \"baseversion\"",
            ),
            (
                r#"{"type":"DRAFT_DELETE","id":"c","payload":{"draftId":"d","baseVersion":-1}}"#,
                Some("c"),
                "payload.baseVersion must be a whole number",
            ),
            (
                r#"{"type":"DRAFT_DELETE","id":"c","payload":{"draftId":"a b"}}"#,
                Some("c"),
                "payload.draftId must be 1 to 64",
            ),
        ];
        for (text, id, message) in cases {
            let refused = Request::from_json(text).expect_err(text);
            assert_eq!(refused.id.as_ref().map(CommandId::as_str), id, "{text}");
            assert!(refused.message.contains(message), "{text}: {}", refused.message);
        }
        let broken = r#"{"payload":{"content":{"a":"}\"{"},"b":nul,},"type":"DRAFT_CREATE","id":"c"}"#;
        assert_eq!(Request::from_json(broken).unwrap_err().id.unwrap().as_str(), "c");
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
