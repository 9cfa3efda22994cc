//! Streams and their names.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{InvalidId, UserId, is_name, is_path_name, text_id},
    json,
};

/// An ordered, durable log of events, numbered without gaps. Who may follow one sees all of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// The one stream that every connection follows.
    All,
    /// What the nodes of a cluster are to do, all of them and in one order. Internal: no client follows it or
    /// publishes to it.
    Control,
    /// A shared stream, ruled by token scopes.
    Topic(TopicName),
    /// A user's private stream: the drafts, and what backends send to the user.
    User(UserId),
}

impl Stream {
    /// The name under which the store and the bus know the stream: `user:<id>`, `topic:<name>`, `all`,
    /// `control`.
    pub fn key(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Control => "control".to_owned(),
            Self::Topic(name) => format!("topic:{name}"),
            Self::User(user) => format!("user:{user}"),
        }
    }

    /// The name that clients see. A user's own stream is just `user`: nobody else's can be followed.
    pub fn wire_name(&self) -> String {
        match self {
            Self::User(_) => "user".to_owned(),
            other => other.key(),
        }
    }

    /// The kind alone, for metric labels: bounded, whatever the number of users and topics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Control => "control",
            Self::Topic(_) => "topic",
            Self::User(_) => "user",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key())
    }
}

/// Reads a [`Stream::key`].
impl FromStr for Stream {
    type Err = InvalidId;

    fn from_str(key: &str) -> Result<Self, InvalidId> {
        match key.split_once(':') {
            Some(("user", user)) => Ok(Self::User(user.parse()?)),
            Some(("topic", name)) => Ok(Self::Topic(name.parse()?)),
            None if key == "all" => Ok(Self::All),
            None if key == "control" => Ok(Self::Control),
            _ => Err(InvalidId { what: "stream", rule: "all, control, user:<id> or topic:<name>" }),
        }
    }
}

text_id! {
    /// The name of a topic: `[A-Za-z0-9:_.-]{1,128}`, so that no encoding or look-alike widens a pattern.
    TopicName, "topic", 128, is_path_name, "1 to 128 characters of A-Z a-z 0-9 : _ . -, and not . or .."
}

/// Which topics a right is for: one name, or with `*` at its end, all that begin so. `*` alone is
/// every topic. Anywhere else a star is an error, and so is whatever no topic's name may hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    /// Without the star.
    start: Arc<str>,
    open: bool,
}

impl Pattern {
    /// Whether the topic is among them.
    pub fn matches(&self, topic: &TopicName) -> bool {
        self.matches_name(topic.as_str())
    }

    /// Whether a name of another kind is among them, such as what a draft is.
    pub fn matches_name(&self, name: &str) -> bool {
        if self.open { name.starts_with(&*self.start) } else { name == &*self.start }
    }

    /// The name, or with [`Pattern::is_open`], how the names begin.
    pub fn start(&self) -> &str {
        &self.start
    }

    /// Whether more may follow.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

impl json::Field for Pattern {
    fn read(text: &str) -> Result<Self, json::Invalid> {
        Ok(json::text(text)?.parse::<Self>()?)
    }
}

impl FromStr for Pattern {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let (start, open) = text.strip_suffix('*').map_or((text, false), |start| (start, true));
        let valid = if open { is_name(start) } else { is_path_name(start) && !start.is_empty() };
        if start.len() > 128 || !valid {
            let rule = "a topic's name, or the start of one and a *";
            return Err(InvalidId { what: "a pattern", rule });
        }
        Ok(Self { start: start.into(), open })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.start, if self.open { "*" } else { "" })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_its_stream() {
        for key in ["all", "control", "user:alice", "user:a:b c", "topic:match:1"] {
            assert_eq!(key.parse::<Stream>().unwrap().key(), key);
        }
        for key in ["", "user", "user:", "topic:a b", "topic:", "room:1", "ALL", "control:1"] {
            assert!(key.parse::<Stream>().is_err(), "{key:?} was taken");
        }
    }

    #[test]
    fn clients_do_not_see_user_ids_in_stream_names() {
        assert_eq!("user:alice".parse::<Stream>().unwrap().wire_name(), "user");
        assert_eq!("topic:t".parse::<Stream>().unwrap().wire_name(), "topic:t");
    }

    #[test]
    fn patterns_match_what_they_say_and_nothing_else() {
        let topics = ["match:1", "match:1:chat", "match", "matches", "project:1", "m"];
        let cases = [
            ("match:1", &["match:1"][..]),
            ("match:*", &["match:1", "match:1:chat"]),
            ("match*", &["match:1", "match:1:chat", "match", "matches"]),
            ("*", &topics),
            ("MATCH:*", &[]),
        ];
        for (pattern, expected) in cases {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.to_string(), pattern);
            let matched: Vec<_> =
                topics.into_iter().filter(|topic| parsed.matches(&topic.parse().unwrap())).collect();
            assert_eq!(matched, expected, "{pattern}");
        }
        for pattern in
            ["", "**", "*a", "a*b", "a b*", "mat\u{441}h:*", "%2a", "a/*", "a?", "[ab]*", ".", ".."]
        {
            assert!(pattern.parse::<Pattern>().is_err(), "{pattern:?} was taken");
        }
    }

    #[test]
    fn odd_names_are_no_topics() {
        let long = "t".repeat(129);
        for name in [
            "match:*",
            "*",
            "match%3A1",
            "m\u{430}tch:1",
            "match:1\n",
            "match:1\0",
            " match:1",
            "a/b",
            ".",
            "..",
            &long,
        ] {
            assert!(name.parse::<TopicName>().is_err(), "{name:?} was taken");
        }
    }
}
