//! The events of the stream `control`.

use common::{
    Event, Priority, UserId,
    close::Close,
    event::EventKind,
    json::{DEPTH_MAX, Field, Fields, Invalid},
    protocol::{Data, NewEvent},
    text::cut,
};
use serde::{Deserialize, Serialize, Serializer};

/// An event of a kind that is known does not say what it should.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreadable(#[from] serde_json::Error);

/// What the nodes are to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ControlEvent {
    /// End the connections of a user.
    UserDisconnected(Disconnect),
    /// Look again which settings were changed at run time: the store says it.
    SettingsChanged,
}

/// The kind of the event of a setting that was changed.
pub(crate) const SETTING_CHANGED: &str = "SETTING_CHANGED";

/// The kind of the event of a setting that was set back to what each node was started with.
pub(crate) const SETTING_UNSET: &str = "SETTING_UNSET";

impl ControlEvent {
    /// Reads an event of the stream; `None` for a kind that this version does not know.
    ///
    /// # Errors
    /// When it is of a kind that is known, and does not say what it should.
    pub(super) fn of(event: &Event) -> Result<Option<Self>, Unreadable> {
        match event.kind.as_str() {
            Disconnect::KIND => {
                Disconnect::from_log(event.payload.get()).map(Self::UserDisconnected).map(Some)
            }
            SETTING_CHANGED | SETTING_UNSET => Ok(Some(Self::SettingsChanged)),
            _ => Ok(None),
        }
    }
}

/// Ends the connections that a user has at this moment, on all nodes. It takes no right away: the user may come back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disconnect {
    /// Whose.
    pub(crate) user_id: UserId,
    /// How WebSockets are closed.
    #[serde(serialize_with = "as_code", rename = "code")]
    pub(crate) close: Close,
    /// What their clients are told.
    pub(crate) reason: String,
}

/// The room for a reason in a close frame (RFC 6455 section 5.5), in bytes.
const REASON_BYTES_MAX: usize = 123;

/// The reason where none is given.
const REASON: &str = "the user was disconnected; connect again with a fresh token";

impl Disconnect {
    const KIND: &str = "USER_DISCONNECTED";

    /// The ways to close that may be asked for, the usual one first.
    const CLOSES: [Close; 2] = [Close::Disconnected, Close::Revoked];

    /// Reads what is asked for: `{code?, reason?}`; nothing at all is the same as `{}`.
    ///
    /// # Errors
    /// When the text is anything else.
    pub(crate) fn from_request(user_id: UserId, text: &str) -> Result<Self, Invalid> {
        let text = if text.is_empty() { "{}" } else { text };
        let fields = Fields::of(text, &["code", "reason"], DEPTH_MAX)?;
        let code: Option<u64> = fields.optional("code")?;
        let close = code.map_or(Some(Self::CLOSES[0]), Self::close_of).ok_or_else(|| {
            let [usual, other] = Self::CLOSES.map(Close::code);
            Invalid::new(format!("must be {usual} or {other}")).within("code")
        })?;
        let reason: String = fields.optional("reason")?.unwrap_or_else(|| REASON.to_owned());
        if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
            let rule = format!("must be 1 to {REASON_BYTES_MAX} bytes of UTF-8");
            return Err(Invalid::new(rule).within("reason"));
        }
        if reason.chars().any(char::is_control) {
            return Err(Invalid::new("must be without control characters").within("reason"));
        }
        Ok(Self { user_id, close, reason })
    }

    /// Reads what a node has committed, of a newer version perhaps: what is more in it is ignored, and a code that
    /// is not known here ends connections as usual.
    fn from_log(text: &str) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Logged {
            user_id: UserId,
            code: u64,
            reason: String,
        }
        let Logged { user_id, code, reason } = serde_json::from_str(text)?;
        let close = Self::close_of(code).unwrap_or(Self::CLOSES[0]);
        Ok(Self { user_id, close, reason: cut(&reason, REASON_BYTES_MAX).into_owned() })
    }

    fn close_of(code: u64) -> Option<Close> {
        Self::CLOSES.into_iter().find(|close| u64::from(close.code()) == code)
    }

    /// The event to be committed.
    ///
    /// # Errors
    /// Never: what was read can be written.
    pub(crate) fn new_event(&self) -> Result<NewEvent, Invalid> {
        let event: EventKind = Self::KIND.parse()?;
        let text = serde_json::to_string(self).map_err(|error| Invalid::new(error.to_string()))?;
        Ok(NewEvent { event, data: Data::read(&text)?, priority: Priority::Normal, signal: false })
    }
}

fn as_code<S: Serializer>(close: &Close, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(close.code())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use common::{Seq, Stream};

    use super::*;

    fn request(text: &str) -> Result<Disconnect, String> {
        let request = Disconnect::from_request("alice".parse().unwrap(), text);
        request.map_err(|error| error.sentence("the body"))
    }

    fn event(kind: &str, data: Data) -> Event {
        let (stream, origin) = (Stream::Control, "http".parse().unwrap());
        Event::new(stream, Seq(1), kind.parse().unwrap(), origin, 0, data.into_raw())
    }

    #[test]
    fn what_is_asked_for_comes_back_from_the_log() {
        for (text, code, reason) in [
            ("", 4410, REASON),
            ("{}", 4410, REASON),
            (r#"{"code":null,"reason":null}"#, 4410, REASON),
            (r#"{"code":4403,"reason":"gesperrt \"ü\""}"#, 4403, "gesperrt \"ü\""),
            (r#"{"code":4410.0}"#, 4410, REASON),
        ] {
            let asked = request(text).unwrap();
            assert_eq!((asked.close.code(), asked.reason.as_str()), (code, reason), "{text}");
            let new = asked.new_event().unwrap();
            let read = ControlEvent::of(&event(new.event.as_str(), new.data)).unwrap();
            assert_eq!(read, Some(ControlEvent::UserDisconnected(asked)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        let (fits, long) = ("é".repeat(61), "é".repeat(62));
        assert!(request(&format!(r#"{{"reason":"{fits}"}}"#)).is_ok());
        for (text, expected) in [
            ("[]", "must be an object"),
            (r#"{"code":4401}"#, "code must be 4410 or 4403"),
            (r#"{"code":70000}"#, "code must be 4410 or 4403"),
            (r#"{"code":-1}"#, "code must be a whole number"),
            (r#"{"code":"4410"}"#, "code must be a whole number"),
            (r#"{"reason":""}"#, "reason must be 1 to 123 bytes"),
            (&format!(r#"{{"reason":"{long}"}}"#), "reason must be 1 to 123 bytes"),
            (r#"{"reason":"a\nb"}"#, "reason must be without control characters"),
            (r#"{"reason":"\ud83d"}"#, "reason holds half of a surrogate pair"),
            (r#"{"reasons":"a"}"#, "the body has no field \"reasons\""),
            (r#"{"code":4410,"code":4403}"#, "twice"),
        ] {
            let refused = request(text).unwrap_err();
            assert!(refused.contains(expected), "{text}: {refused}");
        }
    }

    #[test]
    fn what_a_newer_node_has_written_is_told_from_what_is_damaged() {
        let data = |text: &str| Data::read(text).unwrap();
        assert_eq!(ControlEvent::of(&event("NODE_PAUSED", data("1"))).unwrap(), None);
        for text in ["1", "{}", r#"{"userId":"","code":4410,"reason":"r"}"#, r#"{"userId":"a","reason":"r"}"#]
        {
            assert!(ControlEvent::of(&event(Disconnect::KIND, data(text))).is_err(), "{text}");
        }
        let newer = data(r#"{"userId":"alice","code":4499,"reason":"r","devices":["phone"]}"#);
        let (user_id, close, reason) = ("alice".parse().unwrap(), Close::Disconnected, "r".to_owned());
        let known = ControlEvent::UserDisconnected(Disconnect { user_id, close, reason });
        assert_eq!(ControlEvent::of(&event(Disconnect::KIND, newer)).unwrap(), Some(known));
    }
}
