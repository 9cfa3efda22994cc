//! Which topics a device follows, and how.

use serde_json::{Value, json};

/// A topic as a device asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Where to begin (`<epoch>:<seq>`) when the device has no position of its own yet; at the head
    /// when `None`.
    pub cursor: Option<String>,
    /// Whether to be among those who are here, and to see them.
    pub presence: bool,
    /// How long events may be held back, milliseconds.
    pub batch_ms: Option<u32>,
    /// How many events end the wait.
    pub batch_max: Option<u32>,
}

impl Topic {
    /// A topic from its head on, without presence, its events at once.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), cursor: None, presence: false, batch_ms: None, batch_max: None }
    }

    /// With presence.
    #[must_use]
    pub fn presence(mut self) -> Self {
        self.presence = true;
        self
    }

    /// With a batch window.
    #[must_use]
    pub fn batch(mut self, ms: u32, max: Option<u32>) -> Self {
        self.batch_ms = Some(ms);
        self.batch_max = max;
        self
    }

    /// The name of its stream.
    pub fn stream(&self) -> String {
        stream_of(&self.name)
    }

    /// The topic in a `SUBSCRIBE`, going on from `position` when there is one.
    pub(super) fn subscription(&self, position: Option<String>) -> Value {
        let mut fields = json!({ "topic": self.name });
        if let Some(cursor) = position.or_else(|| self.cursor.clone()) {
            fields["cursor"] = cursor.into();
        }
        if self.presence {
            fields["presence"] = true.into();
        }
        if let Some(ms) = self.batch_ms {
            fields["batchMs"] = ms.into();
        }
        if let Some(max) = self.batch_max {
            fields["batchMax"] = max.into();
        }
        fields
    }
}

/// The name of a topic's stream.
pub fn stream_of(topic: &str) -> String {
    format!("topic:{topic}")
}
