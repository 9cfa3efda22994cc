//! Tokens of topics: asked for each time, never shown again when they have ended, and without a loop where none helps.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const TOPIC: &str = "room";

/// A session on a connection, which follows a topic with tokens of its own.
fn connected() -> Session {
    let (device, id_prefix) = ("d".to_owned(), "p".to_owned());
    let mut session = Session::new(SessionOptions { device, id_prefix, replica: None, all: None });
    assert!(session.follow(TOPIC, Wish { token: true, ..Wish::default() }));
    assert_eq!(session.next_token_request(), None, "there is no connection");
    connect(&mut session);
    session
}

fn connect(session: &mut Session) {
    session.connected();
    let welcome = json!({ "type": "WELCOME", "payload": { "connectionId": "c", "userId": "u", "device": "d",
        "node": "n", "epoch": "e", "seq": 0, "allSeq": 0, "heartbeatMs": 1000, "maxMessageBytes": 1000 } });
    session.receive(&welcome.to_string()).unwrap();
}

/// Takes the `SUBSCRIBE` that is due: its id, its cursor and its token.
fn subscribe(session: &mut Session) -> (String, Value, Value) {
    let message: Value = serde_json::from_str(&session.next_message().unwrap()).unwrap();
    assert_eq!(message["type"], "SUBSCRIBE");
    let topic = &message["payload"]["topics"][0];
    assert_eq!(topic["topic"], TOPIC);
    (message["id"].as_str().unwrap().to_owned(), topic["cursor"].clone(), topic["token"].clone())
}

fn give(session: &mut Session, token: &str) -> TokenRequest {
    let request = session.next_token_request().unwrap();
    assert_eq!(session.next_token_request(), None, "it is asked once at a time");
    session.give_topic_token(&request, token);
    request
}

fn answer(session: &mut Session, id: &str, answer: Value) {
    let mut topic = json!({ "topic": TOPIC });
    topic.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
    let ack = json!({ "type": "ACK", "id": id, "payload": { "topics": [topic] } });
    session.receive(&ack.to_string()).unwrap();
}

fn tell(session: &mut Session, kind: &str, payload: Value) {
    let message = json!({ "type": kind, "stream": "topic:room", "payload": payload });
    session.receive(&message.to_string()).unwrap();
}

fn event(session: &mut Session, seq: u64) {
    let event = json!({ "type": "E", "stream": "topic:room", "seq": seq, "payload": seq });
    session.receive(&event.to_string()).unwrap();
}

/// Follows the topic with the token `a`, from position 0.
fn followed() -> Session {
    let mut session = connected();
    assert_eq!(session.next_message(), None, "nothing is asked without the token");
    assert_eq!(give(&mut session, "a").stale(), None);
    let (id, cursor, token) = subscribe(&mut session);
    assert_eq!((cursor, token), (Value::Null, json!("a")));
    answer(&mut session, &id, json!({ "epoch": "e", "seq": 0 }));
    assert_eq!(session.topic_answer(TOPIC), Some(Ok(Some(Cursor::new("e", 0)))));
    assert!(session.is_settled());
    session
}

#[test]
fn each_connection_asks_for_a_token_anew() {
    let mut session = followed();
    event(&mut session, 1);
    let lost = {
        tell(&mut session, "TOKEN_EXPIRING", json!({ "inMs": 1000 }));
        session.next_token_request().unwrap()
    };
    connect(&mut session);
    // What was asked on the earlier connection is too late, and the same token may do again.
    session.give_topic_token(&lost, "old");
    assert_eq!(session.next_message(), None);
    assert_eq!(give(&mut session, "a").stale(), None);
    let (_, cursor, token) = subscribe(&mut session);
    assert_eq!((cursor, token), (json!("e:1"), json!("a")));
}

#[test]
fn a_token_that_ends_is_replaced_by_another_one() {
    let mut session = followed();
    tell(&mut session, "TOKEN_EXPIRING", json!({ "inMs": 1000 }));
    assert_eq!(give(&mut session, "a").stale(), Some("a"));
    assert!(session.wants_retry(), "the same one does not help");
    assert_eq!(session.next_token_request(), None, "before the pause");
    session.retry();
    give(&mut session, "b");
    let (id, _, token) = subscribe(&mut session);
    assert_eq!(token, "b");
    event(&mut session, 1);
    assert!(matches!(session.take(TOPIC), Next::Item(..)), "it is followed meanwhile");
    // Another one that is refused takes nothing away.
    answer(&mut session, &id, json!({ "code": "unauthorized", "message": "" }));
    assert_eq!(session.next_token_request(), None, "before the pause");
    session.retry();
    assert_eq!(give(&mut session, "c").stale(), Some("b"));
    let (id, ..) = subscribe(&mut session);
    answer(&mut session, &id, json!({ "epoch": "e", "seq": 1 }));
    event(&mut session, 2);
    assert!(matches!(session.take(TOPIC), Next::Item(..)));
    assert!(session.is_settled() && session.next_message().is_none());
}

#[test]
fn a_topic_whose_token_has_ended_is_followed_again_from_its_cursor() {
    let mut session = followed();
    event(&mut session, 1);
    tell(&mut session, "UNSUBSCRIBED", json!({ "code": "unauthorized", "message": "expired" }));
    let request = session.next_token_request().unwrap();
    session.no_topic_token(&request);
    assert!(session.wants_retry());
    session.retry();
    assert_eq!(give(&mut session, "b").stale(), Some("a"));
    let (id, cursor, token) = subscribe(&mut session);
    assert_eq!((cursor, token), (json!("e:1"), json!("b")));
    // Also where the server refuses the new one: the application has been given the topic before.
    answer(&mut session, &id, json!({ "code": "unauthorized", "message": "" }));
    session.retry();
    assert_eq!(give(&mut session, "c").stale(), Some("b"));
    let (id, ..) = subscribe(&mut session);
    answer(&mut session, &id, json!({ "code": "forbidden", "message": "no" }));
    assert!(matches!(session.topic_answer(TOPIC), Some(Err(refusal)) if refusal.code == Code::Forbidden));
    assert_eq!((session.next_token_request(), session.wants_retry()), (None, false));
}

#[test]
fn the_first_refusal_is_the_application_s() {
    let mut session = connected();
    give(&mut session, "bad");
    let (id, ..) = subscribe(&mut session);
    answer(&mut session, &id, json!({ "code": "unauthorized", "message": "expired" }));
    assert!(matches!(session.topic_answer(TOPIC), Some(Err(refusal)) if refusal.code == Code::Unauthorized));
    assert_eq!((session.next_token_request(), session.wants_retry()), (None, false));
}

/// The server leaves the topic while the fresh token is on its way, and takes the `SUBSCRIBE` for a new one, from the
/// cursor that it names.
#[test]
fn a_token_that_crosses_with_the_end_of_the_topic_loses_nothing() {
    let mut session = followed();
    tell(&mut session, "TOKEN_EXPIRING", json!({ "inMs": 1000 }));
    give(&mut session, "b");
    let (id, cursor, _) = subscribe(&mut session);
    assert_eq!(cursor, "e:0");
    event(&mut session, 1);
    tell(&mut session, "UNSUBSCRIBED", json!({ "code": "unauthorized", "message": "expired" }));
    answer(&mut session, &id, json!({ "epoch": "e", "seq": 1 }));
    event(&mut session, 1);
    let leave: Value = serde_json::from_str(&session.next_message().unwrap()).unwrap();
    assert_eq!(leave["type"], "UNSUBSCRIBE");
    session.receive(&json!({ "type": "ACK", "id": leave["id"] }).to_string()).unwrap();
    give(&mut session, "b");
    let (id, cursor, _) = subscribe(&mut session);
    assert_eq!(cursor, "e:1");
    answer(&mut session, &id, json!({ "epoch": "e", "seq": 1 }));
    event(&mut session, 2);
    let seen = [session.take(TOPIC), session.take(TOPIC), session.take(TOPIC)].map(|next| match next {
        Next::Item(TopicItem::Event(event), _) => Some(event.seq),
        _ => None,
    });
    assert_eq!(seen, [Some(1), Some(2), None]);
}

#[test]
fn a_topic_that_is_left_for_the_moment_is_asked_for_again() {
    let mut session = connected();
    session.follow("open", Wish::default());
    let message: Value = serde_json::from_str(&session.next_message().unwrap()).unwrap();
    let at = json!({ "topic": "open", "epoch": "e", "seq": 4 });
    let ack = json!({ "type": "ACK", "id": message["id"], "payload": { "topics": [at] } });
    session.receive(&ack.to_string()).unwrap();
    let payload = json!({ "code": "unavailable", "message": "the backend does not answer" });
    let left = json!({ "type": "UNSUBSCRIBED", "stream": "topic:open", "payload": payload });
    session.receive(&left.to_string()).unwrap();
    assert_eq!((session.next_message(), session.wants_retry()), (None, true));
    session.retry();
    assert!(session.next_message().unwrap().contains(r#""cursor":"e:4""#));
}

#[test]
fn tokens_are_not_shown_by_accident() {
    let mut session = followed();
    tell(&mut session, "TOKEN_EXPIRING", json!({ "inMs": 1000 }));
    let request = give(&mut session, "secret-token");
    let (id, ..) = subscribe(&mut session);
    answer(&mut session, &id, json!({ "epoch": "e", "seq": 0 }));
    assert!(!format!("{session:?} {request:?}").contains("secret-token"));
}
