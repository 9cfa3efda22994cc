//! Commands about topics, and what is published to them.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    event::{EventKind, Priority},
    ids::Cursor,
    json::{DEPTH_MAX, Field, Fields, Invalid},
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
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its name.
    pub topic: TopicName,
    /// Where the client stopped; from the head on when absent.
    pub cursor: Option<Cursor>,
    /// Whether the client wants to be seen among those who are here, and to see them.
    pub presence: bool,
    /// How long events may wait for others, milliseconds; not at all when absent.
    pub batch_ms: Option<u32>,
    /// How many waiting events end the wait.
    pub batch_max: Option<u32>,
    /// A JWT that gives rights for this topic.
    pub token: Option<String>,
}

/// The longest batch window, milliseconds: beyond it, what is waited for is no longer live.
const BATCH_MS_MAX: u32 = 10_000;

/// Topics in one command at most: all that a connection may be allowed to follow.
const TOPICS_PER_COMMAND_MAX: usize = 10_000;

/// The most events that a batch window may wait for.
const BATCH_EVENTS_MAX: u32 = 1000;

/// What a subscription may say besides its topic.
const PER_TOPIC: [&str; 5] = ["cursor", "presence", "batchMs", "batchMax", "token"];

impl Field for Subscription {
    fn read(json: &str) -> Result<Self, Invalid> {
        let names = ["topic", "cursor", "presence", "batchMs", "batchMax", "token"];
        Self::of(&Fields::of(json, &names, DEPTH_MAX)?)
    }
}

impl Subscription {
    fn of(fields: &Fields<'_>) -> Result<Self, Invalid> {
        let subscription = Self {
            topic: fields.required("topic")?,
            cursor: fields.optional("cursor")?,
            presence: fields.optional("presence")?.unwrap_or(false),
            batch_ms: fields.optional("batchMs")?,
            batch_max: fields.optional("batchMax")?,
            token: fields.optional("token")?,
        };
        within("batchMs", subscription.batch_ms, BATCH_MS_MAX)?;
        within("batchMax", subscription.batch_max, BATCH_EVENTS_MAX)?;
        if subscription.batch_max.is_some() && subscription.batch_ms.is_none() {
            return Err(Invalid::new("needs batchMs").within("batchMax"));
        }
        Ok(subscription)
    }
}

fn within(name: &str, number: Option<u32>, max: u32) -> Result<(), Invalid> {
    match number {
        Some(number) if !(1..=max).contains(&number) => {
            Err(Invalid::new(format!("must be 1 to {max}")).within(name))
        }
        _ => Ok(()),
    }
}

impl Subscribe {
    pub(super) fn from_json(text: &str) -> Result<Self, Invalid> {
        let names = ["topic", "topics", "cursor", "presence", "batchMs", "batchMax", "token"];
        let fields = Fields::of(text, &names, DEPTH_MAX)?;
        if !one_of_two(&fields)? {
            return Ok(Self { topics: vec![Subscription::of(&fields)?], list: false });
        }
        if let Some(name) = PER_TOPIC.into_iter().find(|name| fields.raw(name).is_some()) {
            return Err(Invalid::new("belongs to each of the topics, not beside them").within(name));
        }
        let topics: Vec<Subscription> = fields.required("topics")?;
        check_count(topics.len())?;
        let mut named = HashSet::with_capacity(topics.len());
        if topics.is_empty() {
            return Err(Invalid::new("is empty").within("topics"));
        }
        match topics.iter().find(|subscription| !named.insert(&subscription.topic)) {
            Some(Subscription { topic, .. }) => {
                Err(Invalid::new(format!("names {topic} twice")).within("topics"))
            }
            None => Ok(Self { topics, list: true }),
        }
    }
}

/// Whether `topics` is given, and not `topic`.
fn one_of_two(fields: &Fields<'_>) -> Result<bool, Invalid> {
    let given = |name| fields.raw(name).is_some_and(|text| text != "null");
    match (given("topic"), given("topics")) {
        (true, false) => Ok(false),
        (false, true) => Ok(true),
        _ => Err(Invalid::new("must have either topic or topics")),
    }
}

fn check_count(topics: usize) -> Result<(), Invalid> {
    if topics > TOPICS_PER_COMMAND_MAX {
        let what = format!("has more than {TOPICS_PER_COMMAND_MAX} topics");
        return Err(Invalid::new(what).within("topics"));
    }
    Ok(())
}

/// Ends following topics.
#[derive(Debug, Clone, PartialEq)]
pub struct Unsubscribe {
    /// Which.
    pub topics: Vec<TopicName>,
}

impl Unsubscribe {
    pub(super) fn from_json(text: &str) -> Result<Self, Invalid> {
        let fields = Fields::of(text, &["topic", "topics"], DEPTH_MAX)?;
        if !one_of_two(&fields)? {
            return Ok(Self { topics: vec![fields.required("topic")?] });
        }
        let topics: Vec<TopicName> = fields.required("topics")?;
        check_count(topics.len())?;
        Ok(Self { topics })
    }
}

/// Publishes to a topic.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where.
    pub topic: TopicName,
    /// What.
    pub event: NewEvent,
}

impl Publish {
    pub(super) fn from_json(text: &str) -> Result<Self, Invalid> {
        let fields = Fields::of(text, &["topic", "event", "data", "priority", "signal"], DEPTH_MAX)?;
        Ok(Self { topic: fields.required("topic")?, event: NewEvent::of(&fields)? })
    }
}

/// What somebody publishes: an event to be, or a signal.
#[derive(Debug, Clone, Serialize)]
pub struct NewEvent {
    /// Its type, none of the server's own.
    pub event: EventKind,
    /// Its body; null when absent.
    pub data: Data,
    /// How urgent it is.
    pub priority: Priority,
    /// Whether it is a signal, which is neither stored nor numbered.
    pub signal: bool,
}

impl NewEvent {
    /// Reads a body, or a part of one.
    ///
    /// # Errors
    /// When it is anything else.
    pub fn from_json(text: &str) -> Result<Self, Invalid> {
        Self::of(&Fields::of(text, &["event", "data", "priority", "signal"], DEPTH_MAX)?)
    }

    fn of(fields: &Fields<'_>) -> Result<Self, Invalid> {
        let event: EventKind = fields.required("event")?;
        if event.is_reserved() {
            return Err(Invalid::new(format!("{event} is reserved for the server")).within("event"));
        }
        Ok(Self {
            event,
            data: fields.optional("data")?.unwrap_or_default(),
            priority: fields.optional("priority")?.unwrap_or_default(),
            signal: fields.optional("signal")?.unwrap_or(false),
        })
    }
}

/// The body of an event: any JSON value, kept as its text. The text has been read once, so that
/// whoever receives it can read it too: nested no deeper than [`crate::json::DEPTH_MAX`], its strings and numbers
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

impl Field for Data {
    fn read(json: &str) -> Result<Self, Invalid> {
        RawValue::from_string(json.to_owned()).map(Self).map_err(|_| Invalid::new("must be JSON"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn subscribe(json: &str) -> Result<Subscribe, String> {
        Subscribe::from_json(json).map_err(|error| error.sentence("payload"))
    }

    #[test]
    fn one_topic_or_a_list() {
        let one = subscribe(r#"{"topic":"match:1","cursor":"e:4","presence":true,"batchMs":100}"#).unwrap();
        assert!(!one.list && one.topics[0].presence);
        assert_eq!(one.topics[0].cursor, Some("e:4".parse().unwrap()));
        let list = subscribe(r#"{"topics":[{"topic":"a"},{"topic":"b","cursor":"e:0"}]}"#).unwrap();
        assert!(list.list);
        assert_eq!(list.topics.len(), 2);
        let own = subscribe(r#"{"topics":[{"topic":"a","token":"t"},{"topic":"b"}]}"#).unwrap();
        assert_eq!((own.topics[0].token.as_deref(), own.topics[1].token.as_deref()), (Some("t"), None));
        let cases = [
            ("{}", "payload must have either topic or topics"),
            (r#"{"topic":"a","topics":[{"topic":"b"}]}"#, "either"),
            (r#"{"topics":[]}"#, "topics is empty"),
            (r#"{"topics":[{"topic":"a"}],"presence":true}"#, "presence belongs to each of the topics"),
            (r#"{"topics":[{"topic":"a"}],"token":"t"}"#, "token belongs to each of the topics"),
            (r#"{"topic":"a","token":7}"#, "token must be a string"),
            (r#"{"topics":[{"topic":"a"},{"topic":"a"}]}"#, "names a twice"),
            (r#"{"topic":"a*"}"#, "topic must be 1 to 128"),
            (r#"{"topic":"a","cursor":"4"}"#, "cursor must be"),
            (r#"{"topic":"a","batchMs":0}"#, "batchMs must be"),
            (r#"{"topic":"a","batchMs":10001}"#, "batchMs must be"),
            (r#"{"topic":"a","batchMs":1,"batchMax":0}"#, "batchMax must be"),
            (r#"{"topic":"a","batchMax":5}"#, "batchMax needs batchMs"),
            (r#"{"topic":"a","batch":5}"#, "payload has no field \"batch\""),
            (
                r#"{"topics":[{"topic":"a"},{"topic":"b","cursor":7}]}"#,
                "topics[1].cursor must be a string, not a number",
            ),
            (r#"{"topics":[["a"]]}"#, "topics[0] must be an object, not an array"),
        ];
        for (json, message) in cases {
            let refused = subscribe(json).expect_err(json);
            assert!(refused.contains(message), "{json}: {refused}");
        }
        let many: Vec<_> = (0..10_001).map(|n| format!(r#"{{"topic":"t{n}"}}"#)).collect();
        let refused = subscribe(&format!(r#"{{"topics":[{}]}}"#, many.join(","))).unwrap_err();
        assert!(refused.contains("more than 10000 topics"), "{refused}");
    }

    #[test]
    fn what_is_published_can_be_read_by_everybody() {
        let event = NewEvent::from_json(r#"{"event":"GOAL","data": {"b":1, "a":[2]}}"#).unwrap();
        assert_eq!(event.data.into_raw().get(), r#"{"b":1, "a":[2]}"#);
        let bare = NewEvent::from_json(r#"{"event":"GOAL"}"#).unwrap();
        assert_eq!((bare.data.0.get(), bare.priority, bare.signal), ("null", Priority::Normal, false));
        let deep = format!(r#"{{"event":"GOAL","data":{}1{}}}"#, "[".repeat(200), "]".repeat(200));
        let cases = [
            (r#"{"event":"goal"}"#, "event must be"),
            (r#"{"event":"ACK"}"#, "reserved"),
            (r#"{"event":"DRAFT_UPDATED"}"#, "reserved"),
            (r#"{"event":"GOAL","data":"\ud800"}"#, "data holds half of a surrogate pair, \\ud800"),
            (r#"{"event":"GOAL","data":1e999}"#, "data is a number beyond"),
            (r#"{"event":"GOAL","priority":"low"}"#, "priority must be normal, high or critical"),
            (r#"{"event":"GOAL","signal":1}"#, "signal must be true or false, not a number"),
            (r#"{"event":"GOAL","seq":1}"#, "has no field \"seq\""),
            (&deep, "nested deeper than 100 levels"),
        ];
        for (json, message) in cases {
            let refused = NewEvent::from_json(json).expect_err(json).to_string();
            assert!(refused.contains(message), "{json}: {refused}");
        }
    }
}
