#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::*;

fn started() -> Replica {
    let mut replica = Replica { keeps_drafts: true, ..Replica::default() };
    replica.welcome("e", Some(0), 0);
    replica.list(&json!({ "drafts": [], "epoch": "e", "seq": 0 }));
    replica
}

fn created(seq: u64) -> Value {
    json!({ "type": "DRAFT_CREATED", "stream": "user", "seq": seq,
            "payload": { "draftId": "d", "version": 1, "kind": "draft", "content": { "a": 1 } } })
}

fn updated(seq: u64, base: u64) -> Value {
    json!({ "type": "DRAFT_UPDATED", "stream": "user", "seq": seq,
            "payload": { "draftId": "d", "version": base + 1, "baseVersion": base,
                         "patch": { "a": null, "b": { "c": seq } } } })
}

#[test]
fn a_stream_without_faults_leaves_none() {
    let mut replica = started();
    replica.event(created(1));
    replica.event(updated(2, 1));
    replica.take_synced(&json!({ "stream": "user", "seq": 2 }));
    assert_eq!(replica.violations, []);
    assert_eq!(replica.drafts["d"].content, json!({ "b": { "c": 2 } }));
    assert_eq!(replica.cursor().as_deref(), Some("e:2"));
    assert_eq!(replica.resumes, 0, "the first connection resumes nothing");
    replica.welcome("e", Some(2), 0);
    replica.take_synced(&json!({ "stream": "user", "seq": 2 }));
    assert_eq!(replica.resumes, 1);
    assert_eq!(replica.starts, [Start { epoch: "e".to_owned(), seq: 0, seen_before: 0 }]);
}

#[test]
fn faults_are_told_apart() {
    let mut replica = started();
    replica.event(created(1));
    replica.event(updated(3, 1));
    replica.event(updated(3, 2));
    replica.event(updated(2, 2));
    let stream = || "user".to_owned();
    assert_eq!(
        replica.violations,
        [
            Violation::Gap { stream: stream(), after: 1, got: 3 },
            Violation::Repeat { stream: stream(), seq: 3 },
            Violation::Reorder { stream: stream(), seq: 2, after: 3 },
        ]
    );
    let seen: Vec<u64> = replica.seen.iter().map(|seen| seen.seq).collect();
    assert_eq!(seen, [1, 3, 3, 2], "as received");
    replica.event(updated(4, 7));
    assert_eq!(
        replica.violations[3],
        Violation::Base { seq: 4, draft_id: "d".to_owned(), have: 2, got: (7, 8) }
    );
}

#[test]
fn a_list_that_ran_ahead_of_the_events_is_not_applied_twice() {
    let mut replica = Replica { keeps_drafts: true, ..Replica::default() };
    replica.welcome("e", Some(1), 0);
    replica.event(updated(2, 1));
    let draft = json!({ "draftId": "d", "version": 3, "kind": "draft", "content": { "b": { "c": 3 } } });
    replica.list(&json!({ "drafts": [draft], "epoch": "e", "seq": 3 }));
    replica.event(updated(3, 2));
    replica.event(updated(4, 3));
    assert_eq!(replica.violations, []);
    assert_eq!(replica.version("d"), 4);
}

#[test]
fn another_epoch_needs_a_snapshot() {
    let mut replica = started();
    replica.welcome("f", Some(5), 0);
    replica.snapshot(&json!({ "stream": "user", "epoch": "f", "seq": 5, "payload": { "drafts": [] } }));
    replica.event(created(6));
    assert_eq!(replica.violations, []);
    let start = |epoch: &str, seq| Start { epoch: epoch.to_owned(), seq, seen_before: 0 };
    assert_eq!(replica.starts, [start("e", 0), start("f", 5)]);
    assert_eq!((replica.snapshots, replica.resumes), (1, 0));
    replica.welcome("g", Some(5), 0);
    replica.event(updated(7, 1));
    assert!(matches!(replica.violations[..], [Violation::EpochWithoutSnapshot { .. }]));
}

#[test]
fn only_what_is_followed_may_come() {
    let mut replica = started();
    replica.want(Topic::named("t"));
    assert!(!replica.is_ready());
    let event = |seq: u64| json!({ "type": "GOAL", "stream": "topic:t", "seq": seq, "payload": null });
    replica.take(event(5));
    assert!(matches!(replica.violations[..], [Violation::Unfollowed { .. }]), "before the answer");
    replica.violations.clear();
    replica.stream_mut("topic:t").unwrap().follow("e", 5);
    assert!(replica.is_ready());
    replica.take(event(6));
    let reason = json!({ "code": "forbidden", "message": "no" });
    replica.take(json!({ "type": "UNSUBSCRIBED", "stream": "topic:t", "payload": reason }));
    assert_eq!(replica.violations, []);
    assert!(matches!(replica.topic("t").unwrap().standing(), Standing::Refused { revoked: true, .. }));
    replica.take(event(7));
    assert!(matches!(replica.violations[..], [Violation::Unfollowed { .. }]), "after the end");
}

#[test]
fn without_a_user_there_is_no_position_of_one() {
    let mut replica = Replica::default();
    replica.welcome("e", None, 3);
    assert!(replica.is_ready() && !replica.has_user());
    replica.take(json!({ "type": "NEWS", "stream": "all", "seq": 4, "payload": {} }));
    assert_eq!((replica.cursor(), replica.stream("all").unwrap().seq()), (None, 4));
    assert_eq!(replica.violations, []);
}
