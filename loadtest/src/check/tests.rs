//! Histories that are right, and each kind of lie about them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};
use testkit::device::DraftState;

use super::*;
use crate::check::history::{Moment, Stored};

/// What becomes of one change of a made-up history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Acked,
    /// It happened, and its author never knew.
    Unknown,
    /// It never happened, and its author never knew.
    UnknownNever,
    Refused,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Acked),
        1 => Just(Fate::Unknown),
        1 => Just(Fate::UnknownNever),
        1 => Just(Fate::Refused),
    ]
}

/// How much time there is between what happens.
const STEP: Moment = 10;

const DEVICES: [&str; 3] = ["u/d1", "u/d2", "u/d3"];

fn content(op: u64) -> Content {
    Content::new("CHANGE", "d1", &Value::Null, &json!({ "op": op }))
}

/// A stream with a change for each fate, asked for in turn and decided at once, so that each is answered
/// before the next but one. `resets` is where followers are given a state, or are told that events are gone.
fn history(user: bool, fates: &[Fate], resets: &[(usize, usize)]) -> StreamHistory {
    let mut events: Vec<(u64, Moment, u64)> = Vec::new();
    let mut ops = Vec::new();
    let mut fields = serde_json::Map::new();
    for (at, fate) in fates.iter().enumerate() {
        let id = at as u64 + 1;
        let (field, invoked) = (format!("d{}", id % 3 + 1), id * STEP);
        let happened = matches!(fate, Fate::Acked | Fate::Unknown);
        if happened {
            events.push((events.len() as u64 + 1, invoked + 1, id));
            fields.insert(field.clone(), json!(id));
        }
        let outcome = match fate {
            Fate::Acked => Outcome::Acked(Some(events.len() as u64)),
            Fate::Unknown | Fate::UnknownNever => Outcome::Unknown,
            Fate::Refused => Outcome::Refused("conflict".to_owned()),
        };
        let what = if user { What::Edit { draft: "a".to_owned(), field } } else { What::Post { with: None } };
        let answered = (*fate == Fate::Acked).then_some(invoked + STEP + STEP / 2);
        ops.push(Op {
            id,
            client: "u/d1".to_owned(),
            what,
            content: content(id),
            intended: invoked,
            invoked,
            answered,
            outcome,
        });
    }
    let head = events.len() as u64;
    let draft = DraftState { version: head, kind: "draft".to_owned(), content: Value::Object(fields) };
    let drafts = if user && head > 0 { BTreeMap::from([("a".to_owned(), draft)]) } else { BTreeMap::new() };
    let epoch = || "e".into();
    let followers = DEVICES.iter().enumerate().map(|(device, name)| {
        let mut saw = vec![(0, Saw::Start { epoch: epoch(), seq: 0 })];
        let mut reset: Option<u64> =
            resets.iter().find(|(of, _)| *of == device).map(|(_, at)| (*at as u64).min(head));
        for (seq, at, op) in &events {
            if let Some(to) = reset.filter(|to| seq > to) {
                let state = match user {
                    true => Saw::Snapshot { epoch: epoch(), seq: to },
                    false => Saw::Skip { epoch: epoch(), seq: to },
                };
                saw.push((*at, state));
                reset = None;
            }
            // What a state stands for does not come.
            if reset.is_none() {
                saw.push((at + 2 + device as u64, Saw::Event { seq: *seq, content: content(*op) }));
            }
        }
        if let Some(seq) = reset {
            let state =
                if user { Saw::Snapshot { epoch: epoch(), seq } } else { Saw::Skip { epoch: epoch(), seq } };
            saw.push((STEP * 1000, state));
        }
        saw.push((STEP * 1000, Saw::Synced { seq: head }));
        Follower { device: (*name).to_owned(), saw, drafts: drafts.clone() }
    });
    let followers = followers.collect();
    let floor = if user { 0 } else { resets.iter().map(|(_, at)| (*at as u64).min(head)).max().unwrap_or(0) };
    let log = events.iter().filter(|(seq, ..)| *seq > floor).map(|(seq, _, op)| (*seq, content(*op)));
    let stored = Stored { epoch: "e".to_owned(), head, floor, log: (!user).then(|| log.collect()), drafts };
    StreamHistory { name: "s".to_owned(), ops, followers, stored }
}

/// Where a follower's events stand among what it saw.
fn events(follower: &Follower) -> Vec<usize> {
    let is_event = |(at, (_, saw)): (usize, &(Moment, Saw))| matches!(saw, Saw::Event { .. }).then_some(at);
    follower.saw.iter().enumerate().filter_map(is_event).collect()
}

/// One lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    /// A follower was not sent an event.
    Drop,
    /// It was sent one again.
    Repeat,
    /// It was sent two in the wrong order.
    Swap,
    /// It was sent one with another content.
    Change,
    /// It was sent another change's event.
    Mistake,
    /// It was sent one that nobody asked for.
    Phantom,
    /// It holds another draft than the database.
    Draft,
    /// An acknowledged change is nowhere, and nobody can tell from the numbers.
    Lose,
    /// A change happened twice, and everybody agrees.
    Twice,
    /// A refused change happened.
    Refused,
    /// Two were given each other's place, by everybody, though the first was answered before the second
    /// was asked for.
    Backwards,
    /// An acknowledgement without an event.
    Nothing,
    /// The log lacks an event.
    Log,
    /// A follower was told that events are gone which are not.
    Skip,
    /// Changes of one request are not together.
    Tear,
    /// A follower was given an older state, and the events after it once more.
    PutBack,
}

pub(crate) const LIES: [Lie; 16] = [
    Lie::PutBack,
    Lie::Tear,
    Lie::Drop,
    Lie::Repeat,
    Lie::Swap,
    Lie::Change,
    Lie::Mistake,
    Lie::Phantom,
    Lie::Draft,
    Lie::Lose,
    Lie::Twice,
    Lie::Refused,
    Lie::Backwards,
    Lie::Nothing,
    Lie::Log,
    Lie::Skip,
];

/// Changes each event of a stream, wherever it is known.
fn everywhere(stream: &mut StreamHistory, change: impl Fn(u64, Content) -> Content) {
    for follower in &mut stream.followers {
        for (_, saw) in &mut follower.saw {
            if let Saw::Event { seq, content } = saw {
                *content = change(*seq, *content);
            }
        }
    }
    for (seq, content) in stream.stored.log.iter_mut().flatten() {
        *content = change(*seq, *content);
    }
}

/// Tells the lie at some place; returns the promise that it breaks. The history has at least five
/// changes, all acknowledged.
fn tell(stream: &mut StreamHistory, lie: Lie, place: usize) -> Promise {
    let device = place % DEVICES.len();
    let some_op = place % stream.ops.len();
    let head = stream.stored.head;
    let follower = &mut stream.followers[device];
    let events = events(follower);
    let at = events[place % events.len()];
    let seq_of = |saw: &Saw| match saw {
        Saw::Event { seq, .. } => *seq,
        _ => 0,
    };
    let seq = seq_of(&follower.saw[at].1);
    match lie {
        Lie::Drop => {
            follower.saw.remove(at);
            if seq == head { Promise::Equal } else { Promise::Order }
        }
        Lie::Repeat => {
            let again = follower.saw[at].clone();
            // At once, or after all others.
            let later = if place.is_multiple_of(2) { at + 1 } else { follower.saw.len() };
            follower.saw.insert(later, again);
            Promise::Once
        }
        Lie::Swap => {
            let first = events[place % (events.len() - 1)];
            follower.saw.swap(first, first + 1);
            Promise::Order
        }
        Lie::Change => {
            let op = content(seq).op;
            let other = Content::new("CHANGE", "d1", &Value::Null, &json!({ "op": op, "more": true }));
            follower.saw[at].1 = Saw::Event { seq, content: other };
            Promise::Content
        }
        Lie::Mistake => {
            let other = seq % head + 1;
            follower.saw[at].1 = Saw::Event { seq, content: content(other) };
            // The first that was seen counts.
            Promise::Equal
        }
        Lie::Phantom => {
            follower.saw.push((Moment::MAX, Saw::Event { seq: head + 1, content: content(9999) }));
            Promise::Content
        }
        Lie::Draft => {
            follower.drafts.insert(
                "a".to_owned(),
                DraftState { version: head, kind: "draft".to_owned(), content: json!({ "d1": 9999 }) },
            );
            Promise::Equal
        }
        Lie::Lose => {
            // Its number is given to a change whose author never had an answer.
            let lost = stream.ops[some_op].clone();
            let id = 5000;
            stream.ops.push(Op {
                id,
                content: content(id),
                answered: None,
                outcome: Outcome::Unknown,
                ..lost.clone()
            });
            everywhere(stream, |_, was| if was == lost.content { content(id) } else { was });
            Promise::Kept
        }
        Lie::Twice => {
            // The next one's author never had an answer, and its event is this one again.
            let first = place % (stream.ops.len() - 1);
            let again = stream.ops[first].content;
            let next = stream.ops[first + 1].content;
            stream.ops[first + 1].outcome = Outcome::Unknown;
            stream.ops[first + 1].answered = None;
            everywhere(stream, |_, was| if was == next { again } else { was });
            Promise::Once
        }
        Lie::Refused => {
            stream.ops[some_op].outcome = Outcome::Refused("conflict".to_owned());
            Promise::Content
        }
        Lie::Backwards => {
            // With one between them, the first was answered before the second was asked for.
            let first = place % (stream.ops.len() - 2);
            let (early, late) = (stream.ops[first].content, stream.ops[first + 2].content);
            let outcomes = (stream.ops[first].outcome.clone(), stream.ops[first + 2].outcome.clone());
            (stream.ops[first + 2].outcome, stream.ops[first].outcome) = outcomes;
            everywhere(stream, |_, was| match was {
                was if was == early => late,
                was if was == late => early,
                was => was,
            });
            Promise::Order
        }
        Lie::Nothing => {
            stream.ops[some_op].outcome = Outcome::Acked(None);
            Promise::Kept
        }
        Lie::Log => {
            if let Some(log) = &mut stream.stored.log {
                log.remove(place % log.len());
            }
            Promise::Order
        }
        Lie::PutBack => {
            let epoch = "e".into();
            let back = match stream.stored.log {
                Some(_) => Saw::Skip { epoch, seq: seq - 1 },
                None => Saw::Snapshot { epoch, seq: seq - 1 },
            };
            let again = [(follower.saw[at].0, back), follower.saw[at].clone()];
            follower.saw.splice(at + 1..at + 1, again);
            Promise::Once
        }
        Lie::Tear => {
            // The one between them is another's.
            let first = place % (stream.ops.len() - 2);
            let with = Some(stream.ops[first].id);
            stream.ops[first + 2].what = What::Post { with };
            Promise::Order
        }
        Lie::Skip => {
            // It stands for the events before it, which were not sent.
            let to = events[place % events.len()];
            let seq = seq_of(&follower.saw[to].1);
            let told = (follower.saw[to].0, Saw::Skip { epoch: "e".into(), seq });
            follower.saw.splice(1..=to, [told]);
            Promise::Order
        }
    }
}

/// A history of `changes` changes with one lie in it, and the promise that it breaks.
pub(crate) fn lied(user: bool, changes: usize, lie: Lie, place: usize) -> (StreamHistory, Promise) {
    // Only a topic has a log that can be read, and is skipped in.
    let user = user && !matches!(lie, Lie::Log | Lie::Skip | Lie::Tear);
    let mut stream = history(user, &vec![Fate::Acked; changes], &[]);
    let promise = tell(&mut stream, lie, place);
    (stream, promise)
}

proptest! {
    #[test]
    fn a_history_that_is_right_has_no_violations(
        user: bool,
        fates in prop::collection::vec(fate(), 0..40),
        resets in prop::collection::vec((0..3_usize, 0..40_usize), 0..3),
    ) {
        let stream = history(user, &fates, &resets);
        prop_assert_eq!(check(&stream), []);
    }

    #[test]
    fn each_lie_is_found(
        user: bool,
        changes in 5..30_usize,
        lie in prop::sample::select(&LIES[..]),
        place in 0..1000_usize,
    ) {
        let (stream, promise) = lied(user, changes, lie, place);
        let wrong = check(&stream);
        prop_assert!(wrong.iter().any(|wrong| wrong.promise() == promise), "{promise:?} in {wrong:?}");
    }
}

#[test]
fn the_value_of_a_draft_is_the_last_one_acknowledged() {
    let mut stream = history(true, &[Fate::Acked; 6], &[]);
    for drafts in
        stream.followers.iter_mut().map(|follower| &mut follower.drafts).chain([&mut stream.stored.drafts])
    {
        drafts.get_mut("a").expect("it is there").content["d1"] = json!(3);
    }
    let wrong = check(&stream);
    assert!(matches!(&wrong[..], [Fault::Value { acked: 6, stored: Some(3), .. }]), "{wrong:?}");
}

#[test]
fn in_a_new_history_numbers_mean_other_events() {
    // Two acknowledged changes are lost in a failover; numbers begin anew after the first.
    let mut stream = history(false, &[Fate::Acked; 4], &[]);
    let op = |id: u64, seq| Op {
        id,
        client: "backend".to_owned(),
        what: What::Post { with: None },
        content: content(id),
        intended: 900,
        invoked: 900,
        answered: Some(910),
        outcome: Outcome::Acked(Some(seq)),
    };
    stream.ops.push(op(5, 2));
    for follower in &mut stream.followers {
        follower.saw.push((920, Saw::Skip { epoch: "f".into(), seq: 1 }));
        follower.saw.push((930, Saw::Event { seq: 2, content: content(5) }));
    }
    stream.stored.epoch = "f".to_owned();
    stream.stored.head = 2;
    stream.stored.log = Some(vec![(1, content(1)), (2, content(5))]);
    assert!(stream.began_anew());
    assert_eq!(check(&stream), []);
    // Within it the rules are the same.
    stream.followers[1].saw.push((940, Saw::Event { seq: 2, content: content(5) }));
    assert_eq!(check(&stream), [Fault::Repeat { device: "u/d2".to_owned(), seq: 2 }]);
}

#[test]
fn changes_of_one_request_happen_together_or_not_at_all() {
    let together = |fates: &[Fate], resets: &[(usize, usize)]| {
        let mut stream = history(false, fates, resets);
        for op in &mut stream.ops[1..] {
            op.what = What::Post { with: Some(1) };
        }
        check(&stream)
    };
    assert_eq!(together(&[Fate::Acked; 3], &[]), []);
    assert_eq!(together(&[Fate::UnknownNever; 3], &[]), []);
    assert_eq!(together(&[Fate::Unknown; 3], &[]), []);
    let partly = [Fate::Unknown, Fate::UnknownNever, Fate::Unknown];
    assert_eq!(together(&partly, &[]), [Fault::Torn { op: 2, first: 1 }]);
    // Nobody can have seen what is gone for all.
    assert_eq!(together(&[Fate::Acked; 3], &[(0, 2), (1, 2), (2, 2)]), []);
    assert_eq!(together(&[Fate::Unknown; 3], &[(0, 1), (1, 2), (2, 1)]), []);
}

#[test]
fn a_topic_has_what_was_acknowledged() {
    assert_eq!(published(0, 0, &[], &[]), []);
    let events = [(1, 10), (2, 11), (3, 12)];
    assert_eq!(published(0, 3, &events, &[(1, 10), (3, 12)]), [], "2 was not answered");
    assert_eq!(published(1, 3, &events[1..], &[(1, 10), (3, 12)]), [], "retention has removed 1");
    let acked = [(1, 10), (2, 11), (3, 12)];
    for (head, events) in [
        (3, vec![(1, 10), (3, 12)]),
        (3, vec![(1, 10), (2, 99), (3, 12)]),
        (2, vec![(1, 10), (2, 11)]),
        (4, vec![(1, 10), (2, 11), (3, 12)]),
    ] {
        assert_ne!(published(0, head, &events, &acked), [], "{head} {events:?}");
    }
    assert_ne!(published(0, 1, &[(1, 10)], &[(1, 10), (1, 11)]), [], "two events under one number");
}
