//! What is in a batch: where it begins in each stream, and the body that is sent. Pure.

use std::{collections::HashMap, sync::Arc};

use common::{DeviceId, DraftId, Epoch, Event, Priority, Seq, Stream, UserId, ids::DraftKind, json::Fields};
use serde::Serialize;
use serde_json::value::RawValue;

use super::filter::{Filter, is_of_a_draft};
use crate::store::{
    occupancy::Occupancy,
    webhooks::{BatchStream, DueStream},
};

/// Streams of one batch.
pub(super) const STREAMS_MAX: usize = 64;

/// Events of one batch.
pub(super) const EVENTS_MAX: usize = 500;

/// What an event takes in a body besides its payload and its names, in bytes, at most.
const EVENT_BYTES: usize = 320;

/// The same for a part of a stream.
const PART_BYTES: usize = 160;

/// The same for a change of who attends.
const CHANGE_BYTES: usize = 64;

/// The kinds of drafts, by whose they are.
pub(super) type DraftKinds = HashMap<(UserId, DraftId), DraftKind>;

/// A part of a batch with its events.
pub(super) struct Part {
    pub(super) range: BatchStream,
    pub(super) events: Vec<Arc<Event>>,
}

/// Returns where delivery goes on in a stream, as an empty part.
///
/// In a history of another name, events may have been lost and their numbers given to others. The cursor holds on
/// where the event at it is still the same, or is gone through retention as well. Otherwise all that is kept is
/// delivered, because nothing tells where the histories part.
pub(super) fn begin(due: &DueStream, epoch: &Epoch) -> BatchStream {
    let (after, restored) = match &due.cursor {
        None => (Seq(0), false),
        Some(cursor) if cursor.seq == Seq(0) => (Seq(0), false),
        Some(cursor) if cursor.epoch == *epoch => (cursor.seq, cursor.seq > due.head),
        Some(cursor) => (cursor.seq, cursor.same != Some(true) && cursor.seq > due.floor),
    };
    let after = if restored { due.floor } else { after };
    let missed_before = (after < due.floor).then(|| due.floor.next());
    let after = after.max(due.floor);
    BatchStream { stream: due.stream.key(), after, seq: after, missed_before, restored }
}

/// Returns how many changes of who attends a batch tells, whose body may have so many bytes, and how many bytes they
/// take: at least one where there are any, and no more than fit into half of the body.
pub(super) fn changes_within(changes: &[Occupancy], body_bytes_max: usize) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    for change in changes {
        let more = bytes + CHANGE_BYTES + change.topic.len();
        if count > 0 && more > body_bytes_max / 2 {
            break;
        }
        (count, bytes) = (count + 1, more);
    }
    (count, bytes)
}

/// Cuts parts to the bounds of a batch, in whose body there are so many bytes left. A batch that is empty so far gets at
/// least one event. What is cut off is left to the next one.
pub(super) fn bound(parts: &mut Vec<Part>, bytes_left: usize, is_empty: bool) {
    let (mut events, mut bytes, mut is_empty) = (0, 0, is_empty);
    parts.retain_mut(|part| {
        let key_bytes = part.range.stream.len();
        let had_any = !part.events.is_empty();
        let says_more = part.range.restored || part.range.missed_before.is_some();
        let mut fits = 0;
        let mut more = bytes + PART_BYTES + key_bytes;
        let part_fits = is_empty || more <= bytes_left;
        for event in &part.events {
            more += event_bytes(event, key_bytes);
            if !is_empty && (events == EVENTS_MAX || more > bytes_left) {
                break;
            }
            (fits, events, bytes, is_empty) = (fits + 1, events + 1, more, false);
        }
        part.events.truncate(fits);
        part.range.seq = part.events.last().map_or(part.range.after, |last| last.seq);
        if fits == 0 && says_more && part_fits {
            (bytes, is_empty) = (bytes + PART_BYTES + key_bytes, false);
            return true;
        }
        fits > 0 || !had_any && !says_more
    });
}

fn event_bytes(event: &Event, key_bytes: usize) -> usize {
    EVENT_BYTES
        + key_bytes
        + event.kind.as_str().len()
        + event.origin.as_str().len()
        + event.payload.get().len()
}

/// The draft that an event is about, and its kind where the event says that.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DraftOf {
    pub(super) user: UserId,
    pub(super) id: DraftId,
    pub(super) kind: Option<DraftKind>,
}

/// Returns what an event says about a draft; `None` where it is about none.
pub(super) fn draft_of(event: &Event) -> Option<DraftOf> {
    let Stream::User(user) = &event.stream else { return None };
    if !is_of_a_draft(event) {
        return None;
    }
    let names = ["draftId", "version", "baseVersion", "kind", "content", "patch"];
    let fields = Fields::of(event.payload.get(), &names, usize::MAX).ok()?;
    let kind = fields.optional("kind").ok().flatten();
    Some(DraftOf { user: user.clone(), id: fields.required("draftId").ok()?, kind })
}

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'static str,
    webhook: &'a str,
    epoch: &'a Epoch,
    streams: Vec<&'a BatchStream>,
    events: Vec<Entry<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    presence: Vec<PresenceEntry<'a>>,
}

#[derive(Serialize)]
struct PresenceEntry<'a> {
    topic: &'a str,
    r#type: &'static str,
    number: u64,
}

#[derive(Serialize)]
struct Entry<'a> {
    stream: &'a str,
    seq: Seq,
    r#type: &'a str,
    timestamp: u64,
    origin: &'a DeviceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    priority: Option<Priority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<DraftKind>,
    payload: &'a RawValue,
}

/// What is sent.
pub(super) struct Content {
    /// The body; `None` where the filter takes nothing of the batch.
    pub(super) body: Option<Vec<u8>>,
    /// Events in it.
    pub(super) events: usize,
    /// Whether a smaller batch can be made of it.
    pub(super) is_divisible: bool,
}

/// What is said of who attends; `number` is that of the last one that was said before.
fn presence(changes: &[Occupancy], number: u64) -> Vec<PresenceEntry<'_>> {
    let numbered = changes.iter().zip(number + 1..);
    let entries = numbered.map(|(Occupancy { topic, occupied }, number)| {
        let r#type = if *occupied { "OCCUPIED" } else { "VACATED" };
        PresenceEntry { topic, r#type, number }
    });
    entries.collect()
}

/// Makes the body of a batch from its parts and the changes of who attends that it tells. `number` is that of the last
/// change that the webhook was told before.
///
/// # Errors
/// When it cannot be written as JSON.
pub(super) fn content(
    webhook: &str,
    epoch: &Epoch,
    (changes, number): (&[Occupancy], u64),
    parts: &[Part],
    filter: &Filter,
    kinds: &DraftKinds,
) -> Result<Content, serde_json::Error> {
    let mut body = Body {
        r#type: "draftwire.batch",
        webhook,
        epoch,
        streams: Vec::new(),
        events: Vec::new(),
        presence: presence(changes, number),
    };
    let mut items = changes.len();
    for part in parts {
        let before = body.events.len();
        for event in &part.events {
            let kind = draft_of(event)
                .and_then(|DraftOf { user, id, kind }| kind.or_else(|| kinds.get(&(user, id)).cloned()));
            if filter.takes(event, kind.as_ref()) {
                body.events.push(Entry {
                    stream: &part.range.stream,
                    seq: event.seq,
                    r#type: event.kind.as_str(),
                    timestamp: event.timestamp,
                    origin: &event.origin,
                    priority: Some(event.priority).filter(|priority| *priority != Priority::Normal),
                    kind,
                    payload: &event.payload,
                });
            }
        }
        if body.events.len() > before || part.range.missed_before.is_some() || part.range.restored {
            body.streams.push(&part.range);
            items += (body.events.len() - before).max(1);
        }
    }
    let text = if items == 0 { None } else { Some(serde_json::to_vec(&body)?) };
    Ok(Content { body: text, events: body.events.len(), is_divisible: items > 1 })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use common::json::Field;

    use super::*;
    use crate::store::webhooks::StreamCursor;

    fn epoch(name: &str) -> Epoch {
        name.parse().unwrap()
    }

    fn due(cursor: Option<(&str, u64, Option<bool>)>, head: u64, floor: u64) -> DueStream {
        let cursor = cursor.map(|(name, seq, same)| StreamCursor { epoch: epoch(name), seq: Seq(seq), same });
        DueStream { stream: "topic:t".parse().unwrap(), head: Seq(head), floor: Seq(floor), cursor }
    }

    fn event(stream: &str, seq: u64, kind: &str, payload: &str) -> Arc<Event> {
        let payload = RawValue::from_string(payload.to_owned()).unwrap();
        let kind = kind.parse().unwrap();
        Arc::new(Event::new(stream.parse().unwrap(), Seq(seq), kind, "d".parse().unwrap(), 5, payload))
    }

    fn part(stream: &str, events: Vec<Arc<Event>>) -> Part {
        let range = BatchStream {
            stream: stream.to_owned(),
            after: Seq(0),
            seq: Seq(0),
            missed_before: None,
            restored: false,
        };
        Part { range, events }
    }

    #[test]
    fn delivery_goes_on_where_it_stopped() {
        let cases = [
            // A new stream, and one that retention has cut before it was seen.
            (due(None, 3, 0), (0, None, false)),
            (due(None, 9, 4), (4, Some(5), false)),
            (due(Some(("e", 0, None)), 3, 0), (0, None, false)),
            (due(Some(("e", 2, None)), 3, 0), (2, None, false)),
            // Retention has overtaken the cursor.
            (due(Some(("e", 2, None)), 9, 4), (4, Some(5), false)),
            (due(Some(("e", 4, None)), 9, 4), (4, None, false)),
            // The history has another name, and the same events.
            (due(Some(("old", 2, Some(true))), 3, 0), (2, None, false)),
            (due(Some(("old", 2, None)), 9, 4), (4, Some(5), false)),
            // It has others: all that is kept is delivered.
            (due(Some(("old", 7, Some(false))), 9, 4), (4, None, true)),
            (due(Some(("old", 7, None)), 5, 1), (1, None, true)),
            (due(Some(("e", 7, None)), 5, 1), (1, None, true)),
        ];
        for (due, (after, missed_before, restored)) in cases {
            let range = begin(&due, &epoch("e"));
            let found = (range.after.0, range.missed_before.map(|seq| seq.0), range.restored);
            assert_eq!(found, (after, missed_before, restored), "{due:?}");
            assert_eq!(range.after, range.seq);
        }
    }

    #[test]
    fn a_batch_is_bounded_and_never_empty() {
        let events = |count: u64| (1..=count).map(|seq| event("topic:t", seq, "E", "1")).collect();
        let mut parts = vec![part("topic:t", events(300)), part("topic:u", events(300))];
        bound(&mut parts, 1 << 20, true);
        assert_eq!(parts.iter().map(|part| part.range.seq.0).collect::<Vec<_>>(), [300, 200]);
        let large = format!("\"{}\"", "x".repeat(10_000));
        let two =
            || vec![part("topic:t", vec![event("topic:t", 1, "E", &large), event("topic:t", 2, "E", "1")])];
        let mut parts = two();
        bound(&mut parts, 5000, true);
        assert_eq!((parts[0].events.len(), parts[0].range.seq), (1, Seq(1)));
        // With something else in the batch, it may have no event.
        let mut parts = two();
        bound(&mut parts, 5000, false);
        assert!(parts.is_empty());
        // What retention has removed is said all the same.
        let mut parts = two();
        parts[0].range.missed_before = Some(Seq(1));
        bound(&mut parts, 5000, false);
        assert_eq!((parts[0].events.len(), parts[0].range.seq), (0, Seq(0)));
    }

    #[test]
    fn a_body_has_at_most_the_bytes_that_it_may_have() {
        let filter = Filter::read(r#"{"topics":["*"],"drafts":["*"]}"#).unwrap();
        for bytes_max in [4000, 16_000, 100_000] {
            let key = format!("topic:{}", "k".repeat(128));
            let of = |seq| event(&key, seq, "KIND", r#"{"some":"payload"}"#);
            let mut parts: Vec<Part> = (0..64).map(|_| part(&key, (1..=100).map(of).collect())).collect();
            let topics = (0..500).map(|n| Occupancy { topic: format!("{n:0128}"), occupied: n % 2 == 0 });
            let topics: Vec<Occupancy> = topics.collect();
            let (count, bytes) = changes_within(&topics, bytes_max);
            assert!(count > 0 && bytes <= bytes_max / 2, "{count} changes take {bytes} bytes of {bytes_max}");
            bound(&mut parts, bytes_max - bytes, false);
            assert!(!parts.is_empty());
            let changes = (&topics[..count], u64::MAX / 2);
            let sent = content("wh_1", &epoch("e"), changes, &parts, &filter, &DraftKinds::new()).unwrap();
            let body = sent.body.unwrap();
            // The rest is what each body begins with.
            assert!(body.len() <= bytes_max + 200, "{} bytes for {bytes_max}", body.len());
        }
    }

    #[test]
    fn an_event_of_a_draft_names_it() {
        let created =
            event("user:a", 1, "DRAFT_CREATED", r#"{"draftId":"x","version":1,"kind":"order","content":{}}"#);
        let expected = DraftOf {
            user: "a".parse().unwrap(),
            id: "x".parse().unwrap(),
            kind: Some("order".parse().unwrap()),
        };
        assert_eq!(draft_of(&created), Some(expected));
        let deleted = event("user:a", 2, "DRAFT_DELETED", r#"{"draftId":"x","version":2}"#);
        assert_eq!(draft_of(&deleted).map(|draft| draft.kind), Some(None));
        assert_eq!(draft_of(&event("user:a", 3, "NUDGE", "{}")), None);
        assert_eq!(draft_of(&event("topic:a", 3, "GOAL", "{}")), None);
    }

    #[test]
    fn a_body_holds_what_the_filter_takes() {
        let filter = Filter::read(r#"{"topics":["t"],"drafts":["order"]}"#).unwrap();
        let mut parts = vec![
            part("topic:t", vec![event("topic:t", 1, "GOAL", r#"{"by":"x"}"#)]),
            part(
                "user:a",
                vec![
                    event(
                        "user:a",
                        1,
                        "DRAFT_UPDATED",
                        r#"{"draftId":"x","version":2,"baseVersion":1,"patch":{}}"#,
                    ),
                    event("user:a", 2, "DRAFT_DELETED", r#"{"draftId":"y","version":2}"#),
                ],
            ),
        ];
        bound(&mut parts, 1 << 20, true);
        let kinds = [(("a", "x"), "order"), (("a", "y"), "note")]
            .map(|((user, id), kind)| ((user.parse().unwrap(), id.parse().unwrap()), kind.parse().unwrap()));
        let kinds = DraftKinds::from(kinds);
        let sent = |changes: &[Occupancy], parts: &[Part], filter: &Filter| {
            content("wh_1", &epoch("e"), (changes, 4), parts, filter, &kinds).unwrap()
        };
        let both = sent(&[], &parts, &filter);
        assert_eq!((both.events, both.is_divisible), (2, true));
        assert_eq!(
            String::from_utf8(both.body.unwrap()).unwrap(),
            concat!(
                r#"{"type":"draftwire.batch","webhook":"wh_1","epoch":"e","#,
                r#""streams":[{"stream":"topic:t","after":0,"seq":1},{"stream":"user:a","after":0,"seq":2}],"#,
                r#""events":[{"stream":"topic:t","seq":1,"type":"GOAL","timestamp":5,"origin":"d","payload":{"by":"x"}},"#,
                r#"{"stream":"user:a","seq":1,"type":"DRAFT_UPDATED","timestamp":5,"origin":"d","kind":"order","#,
                r#""payload":{"draftId":"x","version":2,"baseVersion":1,"patch":{}}}]}"#,
            )
        );
        assert!(!sent(&[], &parts[..1], &filter).is_divisible, "one event");
        let nothing = Filter::read(r#"{"topics":["other"]}"#).unwrap();
        assert!(sent(&[], &parts, &nothing).body.is_none());
        let occupancy = |topic: &str, occupied| Occupancy { topic: topic.to_owned(), occupied };
        let changes = [occupancy("room:1", true), occupancy("room:2", false)];
        let body = sent(&changes, &parts, &nothing).body.unwrap();
        assert!(String::from_utf8(body).unwrap().ends_with(concat!(
            r#""events":[],"presence":[{"topic":"room:1","type":"OCCUPIED","number":5},"#,
            r#"{"topic":"room:2","type":"VACATED","number":6}]}"#,
        )));
        parts[0].range.missed_before = Some(Seq(1));
        assert!(sent(&[], &parts, &nothing).body.is_some());
    }
}
