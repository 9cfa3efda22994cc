//! Commands about topics, and what is published to them.

use std::collections::HashSet;

use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::value::RawValue;

use crate::{
    event::{EventKind, Priority},
    ids::Cursor,
    json,
    stream::TopicName,
};

/// Follows topics from now on.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe {
    /// Which, and how; at least one.
    pub topics: Vec<Subscription>,
    /// Whether they were given as a list, and are to be answered as one.
    pub list: bool,
}

/// One topic to follow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subscription {
    /// Its name.
    pub topic: TopicName,
    /// Where the client stopped; from the head on when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
    /// Whether the client wants to be seen among those who are here, and to see them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub presence: bool,
    /// How long events may wait for others, milliseconds; not at all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_ms: Option<u32>,
    /// How many waiting events end the wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_max: Option<u32>,
}

/// The longest batch window, milliseconds: beyond it, what is waited for is no longer live.
pub const BATCH_MS_MAX: u32 = 10_000;

/// Topics in one command at most: all that a connection may be allowed to follow.
const TOPICS_PER_COMMAND_MAX: usize = 10_000;

/// The most events that a batch window may wait for.
pub const BATCH_EVENTS_MAX: u32 = 1000;

impl<'de> Deserialize<'de> for Subscribe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Fields {
            topics: Option<Vec<Subscription>>,
            topic: Option<TopicName>,
            cursor: Option<Cursor>,
            presence: Option<bool>,
            batch_ms: Option<u32>,
            batch_max: Option<u32>,
        }
        let fields = Fields::deserialize(deserializer)?;
        let alone = fields.cursor.is_none()
            && fields.presence.is_none()
            && fields.batch_ms.is_none()
            && fields.batch_max.is_none();
        let subscribe = match (fields.topic, fields.topics) {
            (Some(topic), None) => {
                let presence = fields.presence.unwrap_or(false);
                let (batch_ms, batch_max) = (fields.batch_ms, fields.batch_max);
                let one = Subscription { topic, cursor: fields.cursor, presence, batch_ms, batch_max };
                Self { topics: vec![one], list: false }
            }
            (None, Some(topics)) if alone => Self { topics, list: true },
            (None, Some(_)) => return Err(D::Error::custom("cursor, presence and batches are per topic")),
            _ => return Err(D::Error::custom("either `topic` or `topics` must be given")),
        };
        subscribe.check().map_err(D::Error::custom)?;
        Ok(subscribe)
    }
}

impl Subscribe {
    fn check(&self) -> Result<(), String> {
        if self.topics.is_empty() {
            return Err("`topics` is empty".to_owned());
        }
        check_count(self.topics.len())?;
        let mut named = HashSet::with_capacity(self.topics.len());
        for subscription in &self.topics {
            let topic = &subscription.topic;
            if !named.insert(topic) {
                return Err(format!("topic {topic} is named twice"));
            }
            if subscription.batch_ms.is_some_and(|ms| !(1..=BATCH_MS_MAX).contains(&ms)) {
                return Err(format!("batchMs must be 1 to {BATCH_MS_MAX}"));
            }
            if subscription.batch_max.is_some_and(|max| !(1..=BATCH_EVENTS_MAX).contains(&max)) {
                return Err(format!("batchMax must be 1 to {BATCH_EVENTS_MAX}"));
            }
            if subscription.batch_max.is_some() && subscription.batch_ms.is_none() {
                return Err("batchMax needs batchMs".to_owned());
            }
        }
        Ok(())
    }
}

fn check_count(topics: usize) -> Result<(), String> {
    if topics > TOPICS_PER_COMMAND_MAX {
        return Err(format!("a command may name {TOPICS_PER_COMMAND_MAX} topics"));
    }
    Ok(())
}

/// Ends following topics.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsubscribe {
    /// Which.
    pub topics: Vec<TopicName>,
}

impl<'de> Deserialize<'de> for Unsubscribe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            topic: Option<TopicName>,
            topics: Option<Vec<TopicName>>,
        }
        match Fields::deserialize(deserializer)? {
            Fields { topic: Some(topic), topics: None } => Ok(Self { topics: vec![topic] }),
            Fields { topic: None, topics: Some(topics) } => {
                check_count(topics.len()).map_err(D::Error::custom)?;
                Ok(Self { topics })
            }
            _ => Err(D::Error::custom("either `topic` or `topics` must be given")),
        }
    }
}

/// Publishes to a topic.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Publish {
    /// Where.
    pub topic: TopicName,
    /// See [`NewEvent::event`].
    #[serde(deserialize_with = "publishable")]
    event: EventKind,
    /// See [`NewEvent::data`].
    #[serde(default)]
    data: Data,
    /// See [`NewEvent::priority`].
    #[serde(default)]
    priority: Priority,
    /// See [`NewEvent::signal`].
    #[serde(default)]
    signal: bool,
}

impl Publish {
    /// Where, and what.
    pub fn into_parts(self) -> (TopicName, NewEvent) {
        let Self { topic, event, data, priority, signal } = self;
        (topic, NewEvent { event, data, priority, signal })
    }
}

/// What somebody publishes: an event to be, or a signal.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// Its type, none of the server's own.
    #[serde(deserialize_with = "publishable")]
    pub event: EventKind,
    /// Its body; null when absent.
    #[serde(default)]
    pub data: Data,
    /// How urgent it is.
    #[serde(default)]
    pub priority: Priority,
    /// Whether it is a signal, which is neither stored nor numbered.
    #[serde(default)]
    pub signal: bool,
}

fn publishable<'de, D: Deserializer<'de>>(deserializer: D) -> Result<EventKind, D::Error> {
    let kind = EventKind::deserialize(deserializer)?;
    if kind.is_reserved() {
        return Err(D::Error::custom(format!("event {kind} is reserved for the server")));
    }
    Ok(kind)
}

/// The body of an event: any JSON value, kept as its text. The text has been read once, so that
/// whoever receives it can read it too: nested no deeper than [`json::DEPTH_MAX`], its strings and numbers
/// sound.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct Data(Box<RawValue>);

impl Data {
    /// The text.
    pub fn into_raw(self) -> Box<RawValue> {
        self.0
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.0.get().len()
    }

    /// Never: the shortest is `0`.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl Default for Data {
    fn default() -> Self {
        Self(RawValue::NULL.to_owned())
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        json::check(raw.get()).map_err(|error| D::Error::custom(format!("data: {error}")))?;
        Ok(Self(raw))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn subscribe(json: &str) -> Result<Subscribe, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn one_topic_or_a_list() {
        let one = subscribe(r#"{"topic":"match:1","cursor":"e:4","presence":true,"batchMs":100}"#).unwrap();
        assert!(!one.list && one.topics[0].presence);
        assert_eq!(one.topics[0].cursor, Some("e:4".parse().unwrap()));
        let list = subscribe(r#"{"topics":[{"topic":"a"},{"topic":"b","cursor":"e:0"}]}"#).unwrap();
        assert!(list.list);
        assert_eq!(list.topics.len(), 2);
        let cases = [
            ("{}", "either `topic` or `topics`"),
            (r#"{"topic":"a","topics":[{"topic":"b"}]}"#, "either"),
            (r#"{"topics":[]}"#, "empty"),
            (r#"{"topics":[{"topic":"a"}],"presence":true}"#, "per topic"),
            (r#"{"topics":[{"topic":"a"},{"topic":"a"}]}"#, "named twice"),
            (r#"{"topic":"a*"}"#, "topic must be"),
            (r#"{"topic":"a","cursor":"4"}"#, "cursor must be"),
            (r#"{"topic":"a","batchMs":0}"#, "batchMs must be"),
            (r#"{"topic":"a","batchMs":10001}"#, "batchMs must be"),
            (r#"{"topic":"a","batchMs":1,"batchMax":0}"#, "batchMax must be"),
            (r#"{"topic":"a","batchMax":5}"#, "batchMax needs batchMs"),
            (r#"{"topic":"a","batch":5}"#, "unknown field"),
        ];
        for (json, message) in cases {
            let refused = subscribe(json).expect_err(json);
            assert!(refused.contains(message), "{json}: {refused}");
        }
        let many: Vec<_> = (0..10_001).map(|n| format!(r#"{{"topic":"t{n}"}}"#)).collect();
        let refused = subscribe(&format!(r#"{{"topics":[{}]}}"#, many.join(","))).unwrap_err();
        assert!(refused.contains("10000 topics"), "{refused}");
    }

    #[test]
    fn what_is_published_can_be_read_by_everybody() {
        let event: NewEvent = serde_json::from_str(r#"{"event":"GOAL","data": {"b":1, "a":[2]}}"#).unwrap();
        assert_eq!(event.data.into_raw().get(), r#"{"b":1, "a":[2]}"#);
        let bare: NewEvent = serde_json::from_str(r#"{"event":"GOAL"}"#).unwrap();
        assert_eq!((bare.data.0.get(), bare.priority, bare.signal), ("null", Priority::Normal, false));
        let deep = format!(r#"{{"event":"GOAL","data":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let cases = [
            (r#"{"event":"goal"}"#, "event must be"),
            (r#"{"event":"ACK"}"#, "reserved"),
            (r#"{"event":"DRAFT_UPDATED"}"#, "reserved"),
            (r#"{"event":"GOAL","data":"\ud800"}"#, "data"),
            (r#"{"event":"GOAL","data":1e999}"#, "data"),
            (r#"{"event":"GOAL","priority":"low"}"#, "unknown variant"),
            (r#"{"event":"GOAL","signal":1}"#, "invalid type"),
            (r#"{"event":"GOAL","seq":1}"#, "unknown field"),
            (&deep, "nested deeper than 100 levels"),
        ];
        for (json, message) in cases {
            let refused = serde_json::from_str::<NewEvent>(json).expect_err(json).to_string();
            assert!(refused.contains(message), "{json}: {refused}");
        }
    }
}
