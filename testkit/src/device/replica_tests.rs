#![allow(clippy::unwrap_used)]

use draftwire_client as client;
use serde_json::json;

use super::*;
use crate::device::Standing;

/// A device that has been welcomed at this position, and its drafts.
fn started(epoch: &str, seq: Option<u64>) -> Replica {
    let mut replica = Replica::new("d", seq.is_some(), false);
    replica.connected();
    replica.take(welcome(epoch, seq));
    replica
}

fn welcome(epoch: &str, seq: Option<u64>) -> Value {
    let mut payload = json!({ "connectionId": "c", "device": "d", "node": "n", "epoch": epoch, "allSeq": 3,
        "heartbeatMs": 1000, "maxMessageBytes": 1000 });
    if let Some(seq) = seq {
        payload["seq"] = json!(seq);
    }
    json!({ "type": "WELCOME", "payload": payload })
}

/// Acknowledges the command that the device sends next: a `DRAFT_LIST`, or one about topics.
fn answer(replica: &mut Replica, payload: Value) {
    let command: Value = serde_json::from_str(&replica.session.next_message().unwrap()).unwrap();
    replica.take(json!({ "type": "ACK", "id": command["id"], "payload": payload }));
}

fn event(stream: &str, seq: u64) -> Value {
    json!({ "type": "GOAL", "stream": stream, "seq": seq, "payload": null })
}

#[test]
fn a_stream_without_faults_leaves_none() {
    let mut replica = started("e", Some(0));
    assert!(!replica.is_ready(), "the drafts are not known");
    answer(&mut replica, json!({ "drafts": [], "epoch": "e", "seq": 0 }));
    replica.take(json!({ "type": "DRAFT_CREATED", "stream": "user", "seq": 1,
        "payload": { "draftId": "d", "version": 1, "kind": "draft", "content": { "a": 1 } } }));
    replica.take(json!({ "type": "DRAFT_UPDATED", "stream": "user", "seq": 2,
        "payload": { "draftId": "d", "version": 2, "baseVersion": 1, "patch": { "a": null, "b": 2 } } }));
    assert!(replica.is_ready());
    assert_eq!(replica.drafts()["d"].content, json!({ "b": 2 }));
    let synced = json!({ "type": "SYNCED", "stream": "user", "seq": 2 });
    replica.take(synced.clone());
    assert_eq!(replica.resumes, 0, "the first connection resumes nothing");
    replica.connected();
    replica.take(welcome("e", Some(2)));
    assert!(!replica.is_synced());
    replica.take(synced);
    assert_eq!((replica.is_synced(), replica.resumes, replica.seen()), (true, 1, &[1, 2][..]));
    assert_eq!(replica.violations, []);
}

#[test]
fn what_the_session_does_not_take_ends_the_connection_and_is_kept() {
    let mut replica = started("e", Some(1));
    assert!(replica.take(event("user", 2)).is_some());
    assert!(replica.take(event("user", 4)).is_none());
    let order = client::Violation::Order { stream: "user".to_owned(), after: 2, got: 4 };
    assert_eq!(replica.violations, [Violation::Rejected(order)]);
    assert_eq!(replica.violations[0].disordered(), Some("user"));
    assert_eq!((replica.seen(), replica.seq()), (&[2, 4][..], 2), "as received, and where it goes on");
}

#[test]
fn only_what_is_followed_may_come() {
    let is_stray = |replica: &Replica| matches!(replica.violations[..], [Violation::Stray(_)]);
    let mut replica = started("e", None);
    replica.want(Topic::named("t"));
    assert!(!replica.is_ready());
    replica.take(event("topic:t", 6));
    assert!(is_stray(&replica), "before the answer");
    assert_eq!(replica.topic("t").unwrap().received(), 0);
    replica.violations.clear();
    answer(&mut replica, json!({ "topics": [{ "topic": "t", "epoch": "e", "seq": 5 }] }));
    assert!(replica.is_ready());
    replica.take(event("topic:t", 6));
    let joined = json!({ "device": "x", "users": 1, "devices": 1 });
    replica.take(json!({ "type": "JOIN", "stream": "topic:t", "payload": joined }));
    assert!(matches!(replica.violations[..], [Violation::Presence { .. }]), "nobody has asked for it");
    replica.violations.clear();
    let reason = json!({ "code": "forbidden", "message": "no" });
    replica.take(json!({ "type": "UNSUBSCRIBED", "stream": "topic:t", "payload": reason }));
    assert_eq!(replica.violations, []);
    assert!(matches!(replica.topic("t").unwrap().standing(), Standing::Refused(_)));
    replica.take(event("topic:t", 7));
    assert!(is_stray(&replica), "after the end");
    assert_eq!(replica.topic("t").unwrap().runs(), [(6, 6)]);
}

#[test]
fn without_a_user_there_is_no_position_of_one() {
    let mut replica = started("e", None);
    assert!(replica.is_ready() && !replica.has_user());
    replica.take(event("all", 4));
    assert_eq!((replica.cursor(), replica.stream("all").unwrap().seq()), (None, 4));
    assert_eq!(replica.stream("all").unwrap().runs(), [(4, 4)]);
    assert_eq!(replica.violations, []);
}

#[test]
fn a_topic_that_was_left_goes_on_from_where_it_stood() {
    let mut replica = started("e", None);
    replica.want(Topic::named("t"));
    answer(&mut replica, json!({ "topics": [{ "topic": "t", "epoch": "e", "seq": 5 }] }));
    replica.take(event("topic:t", 6));
    replica.unwant("t");
    assert_eq!(replica.topic("t").unwrap().standing(), &Standing::Leaving);
    replica.take(event("topic:t", 7));
    answer(&mut replica, Value::Null);
    assert_eq!(replica.topic("t").unwrap().standing(), &Standing::Left);
    replica.want(Topic::named("t"));
    let subscribe = replica.session.next_message().unwrap();
    assert!(subscribe.contains(r#""cursor":"e:6""#), "{subscribe}");
    assert_eq!(replica.violations, []);
}
