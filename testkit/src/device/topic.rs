//! Which topics a device follows, and how.

use draftwire_client::{Cursor, session::Wish};

/// A topic as a device asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
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
        Self { name: name.to_owned(), presence: false, batch_ms: None, batch_max: None }
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

    /// How the session is to follow it: from `cursor` on, or from the head.
    pub(super) fn wish(&self, cursor: Option<Cursor>) -> Wish {
        let mut wish = Wish::default();
        wish.cursor = cursor;
        wish.presence = self.presence;
        wish.batch_ms = self.batch_ms.map(u64::from);
        wish.batch_max = self.batch_max.map(u64::from);
        wish
    }
}

/// The name of a topic's stream.
pub fn stream_of(topic: &str) -> String {
    format!("topic:{topic}")
}
