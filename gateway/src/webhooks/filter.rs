//! What a webhook is told of. Pure.

use common::{
    Event, Pattern, Stream, TopicName,
    ids::DraftKind,
    json::{DEPTH_MAX, Field, Fields, Invalid},
};
use serde::{Serialize, Serializer};

use crate::store::webhooks::NameRange;

/// Patterns of one webhook, of all kinds together.
pub(crate) const PATTERNS_MAX: usize = 100;

/// The choice of an endpoint: at least one pattern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Filter {
    /// Topics, all events of which are delivered.
    #[serde(serialize_with = "texts")]
    topics: Vec<Pattern>,
    /// Kinds of drafts, whose changes are delivered, whoever's they are.
    #[serde(serialize_with = "texts")]
    drafts: Vec<Pattern>,
    /// Topics of which it is told that somebody attends them, and that nobody does any more.
    #[serde(serialize_with = "texts")]
    presence: Vec<Pattern>,
}

fn texts<S: Serializer>(patterns: &[Pattern], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(patterns.iter().map(ToString::to_string))
}

impl Field for Filter {
    fn read(text: &str) -> Result<Self, Invalid> {
        let fields = Fields::of(text, &["topics", "drafts", "presence"], DEPTH_MAX)?;
        let patterns = |name| Ok::<_, Invalid>(fields.optional::<Vec<Pattern>>(name)?.unwrap_or_default());
        let filter = Self {
            topics: patterns("topics")?,
            drafts: patterns("drafts")?,
            presence: patterns("presence")?,
        };
        match filter.topics.len() + filter.drafts.len() + filter.presence.len() {
            0 => Err(Invalid::new("must have at least one pattern")),
            1..=PATTERNS_MAX => Ok(filter),
            _ => Err(Invalid::new(format!("must have at most {PATTERNS_MAX} patterns"))),
        }
    }
}

impl Filter {
    /// Returns the names of the streams that may hold something that it asks for, in order and apart.
    pub(crate) fn ranges(&self) -> Vec<NameRange> {
        let mut ranges: Vec<NameRange> = self.topics.iter().map(|pattern| names("topic:", pattern)).collect();
        if !self.drafts.is_empty() {
            ranges.push(beginning("user:".to_owned()));
        }
        merged(ranges)
    }

    /// Returns the names of the topics that it asks about who attends them, in order and apart.
    pub(super) fn presence_ranges(&self) -> Vec<NameRange> {
        merged(self.presence.iter().map(|pattern| names("", pattern)).collect())
    }

    /// Returns whether it asks about anybody who attends.
    pub(super) fn asks_for_presence(&self) -> bool {
        !self.presence.is_empty()
    }

    /// Returns whether it asks who attends this topic.
    pub(super) fn asks_who_attends(&self, topic: &TopicName) -> bool {
        self.presence.iter().any(|pattern| pattern.matches(topic))
    }

    /// Returns whether any event of this stream may be delivered.
    pub(crate) fn takes_stream(&self, stream: &Stream) -> bool {
        match stream {
            Stream::Topic(topic) => self.topics.iter().any(|pattern| pattern.matches(topic)),
            Stream::User(_) => !self.drafts.is_empty(),
            _ => false,
        }
    }

    /// Returns whether an event is delivered. `kind` is what a draft is; an event of a draft whose kind nobody knows
    /// any more is delivered to everybody who asks for drafts, because it may be what they ask for.
    pub(crate) fn takes(&self, event: &Event, kind: Option<&DraftKind>) -> bool {
        match &event.stream {
            Stream::User(_) => {
                let wanted = |kind: &DraftKind| self.drafts.iter().any(|one| one.matches_name(kind.as_str()));
                !self.drafts.is_empty() && is_of_a_draft(event) && kind.is_none_or(wanted)
            }
            stream => self.takes_stream(stream),
        }
    }
}

/// Returns whether an event reports a change of a draft.
pub(super) fn is_of_a_draft(event: &Event) -> bool {
    matches!(event.kind.as_str(), "DRAFT_CREATED" | "DRAFT_UPDATED" | "DRAFT_DELETED")
}

/// The names of the topics of a pattern, with something before them.
fn names(prefix: &str, pattern: &Pattern) -> NameRange {
    let start = format!("{prefix}{}", pattern.start());
    if pattern.is_open() { beginning(start) } else { NameRange::only(start) }
}

/// All names that begin so. The last character of what names begin with is one of ASCII, and has a next one; what
/// has none is behind all names.
fn beginning(start: String) -> NameRange {
    let mut end = start.clone();
    let next = end.pop().map_or(u32::from(char::MAX), |last| u32::from(last) + 1);
    end.push(char::from_u32(next).unwrap_or(char::MAX));
    NameRange { start, end }
}

/// The same names in ranges that are in order and do not touch.
fn merged(mut ranges: Vec<NameRange>) -> Vec<NameRange> {
    ranges.sort_unstable_by(|one, other| one.start.cmp(&other.start));
    let mut merged: Vec<NameRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => {
                if range.end > last.end {
                    last.end = range.end;
                }
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// The names in `ranges` that are in none of `others`; both are in order and apart.
pub(super) fn without(ranges: &[NameRange], others: &[NameRange]) -> Vec<NameRange> {
    let mut left = Vec::new();
    for range in ranges {
        let mut start = range.start.clone();
        for other in others.iter().filter(|other| other.end > range.start && other.start < range.end) {
            if other.start > start {
                left.push(NameRange { start, end: other.start.clone() });
            }
            start = other.end.clone();
        }
        if start < range.end {
            left.push(NameRange { start, end: range.end.clone() });
        }
    }
    left
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::read(text).unwrap()
    }

    fn holds(ranges: &[NameRange], name: &str) -> bool {
        ranges.iter().any(|range| *range.start <= *name && *name < *range.end)
    }

    fn event(stream: &str, kind: &str) -> Event {
        let payload = RawValue::from_string("null".to_owned()).unwrap();
        let (stream, kind) = (stream.parse().unwrap(), kind.parse().unwrap());
        Event::new(stream, common::Seq(1), kind, "d".parse().unwrap(), 0, payload)
    }

    #[test]
    fn a_filter_reads_and_shows_as_it_was_written() {
        let text = r#"{"topics":["match:*","news"],"drafts":["order"],"presence":["room:*"]}"#;
        assert_eq!(serde_json::to_string(&filter(text)).unwrap(), text);
        let many = format!(r#"{{"topics":[{}]}}"#, vec!["\"a\""; PATTERNS_MAX + 1].join(","));
        for bad in [
            "{}",
            "[]",
            r#"{"topics":[]}"#,
            r#"{"topics":["*a"]}"#,
            r#"{"topics":"a"}"#,
            r#"{"rooms":["a"]}"#,
            &many,
        ] {
            assert!(Filter::read(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn ranges_hold_the_streams_of_a_filter_and_no_others() {
        let ranges = filter(r#"{"topics":["match:*","match:1","news"]}"#).ranges();
        assert_eq!(ranges.len(), 2, "one is within the other: {ranges:?}");
        for name in ["topic:match:1", "topic:match:", "topic:match:zz", "topic:news"] {
            assert!(holds(&ranges, name), "{name}");
        }
        for name in ["topic:match", "topic:matches", "topic:news2", "topic:new", "user:match:1", "all"] {
            assert!(!holds(&ranges, name), "{name}");
        }
        let ranges = filter(r#"{"topics":["*"],"drafts":["*"]}"#).ranges();
        assert!(holds(&ranges, "user:\u{10ffff}") && holds(&ranges, "topic:~") && !holds(&ranges, "all"));
    }

    #[test]
    fn drafts_are_chosen_by_their_kind() {
        let filter = filter(r#"{"topics":["t"],"drafts":["order*"]}"#);
        let kind = |kind: &str| Some(kind.parse::<DraftKind>().unwrap());
        let updated = event("user:alice", "DRAFT_UPDATED");
        assert!(filter.takes(&updated, kind("order").as_ref()));
        assert!(filter.takes(&updated, kind("orders").as_ref()));
        assert!(!filter.takes(&updated, kind("note").as_ref()));
        assert!(filter.takes(&updated, None), "a kind that nobody knows may be the one");
        assert!(
            !filter.takes(&event("user:alice", "NUDGE"), None),
            "what backends send to users is no draft"
        );
        assert!(filter.takes(&event("topic:t", "DRAFT_LIKE"), None));
        assert!(!filter.takes(&event("topic:u", "GOAL"), None));
        assert!(!filter.takes(&event("all", "NEWS"), None));
    }

    proptest! {
        #[test]
        fn what_a_filter_lacks_is_what_another_one_adds(
            ours in proptest::collection::vec("[ab]{0,3}[*]?", 1..5),
            theirs in proptest::collection::vec("[ab]{0,3}[*]?", 1..5),
            name in "[ab]{1,4}",
        ) {
            let ranges = |patterns: &[String]| {
                merged(patterns.iter().filter_map(|text| Some(names("topic:", &text.parse().ok()?))).collect())
            };
            let (ours, theirs, name) = (ranges(&ours), ranges(&theirs), format!("topic:{name}"));
            let left = without(&ours, &theirs);
            prop_assert_eq!(holds(&left, &name), holds(&ours, &name) && !holds(&theirs, &name));
        }
    }
}
