//! The comparison finds what it is there for.

use serde_json::{Value, json};

use super::{Exchange, documents};

fn problem(status: u16) -> String {
    json!({ "title": "No", "status": status, "detail": "no", "code": "bad_request" }).to_string()
}

/// What is wrong with an answer.
fn fault(
    line: &str,
    sent: Option<&str>,
    status: u16,
    headers: &[(&str, &str)],
    body: &str,
) -> Option<String> {
    let (method, target) = line.split_once(' ').unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<_> = [("draftwire-node", "n1"), ("x-request-id", "r1")]
        .iter()
        .chain(headers)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let sent = sent.map(|sent| ("application/json", sent.as_bytes()));
    Exchange { method, path, query, sent, status, headers: &headers, body: Some(body) }.fault(documents())
}

const JSON: (&str, &str) = ("content-type", "application/json");
const PROBLEM: (&str, &str) = ("content-type", "application/problem+json");
const TAG: (&str, &str) = ("etag", "\"1\"");

#[test]
fn answers_that_are_described_are_sound() {
    let changed = r#"{"draftId":"d","version":1,"seq":1}"#;
    let location = ("location", "/v1/drafts/d");
    let created = [JSON, TAG, location];
    assert_eq!(fault("POST /v1/drafts?device=a", Some(r#"{"content":{}}"#), 201, &created, changed), None);
    assert_eq!(fault("GET /v1/drafts", None, 400, &[PROBLEM], &problem(400)), None);
    assert_eq!(fault("GET /nowhere", None, 404, &[PROBLEM], &problem(404)), None);
    assert_eq!(fault("PUT /v1/drafts", None, 405, &[PROBLEM], &problem(405)), None);
    // Bad input is the test's.
    assert_eq!(fault("POST /v1/drafts?x=1", Some("{"), 400, &[PROBLEM], &problem(400)), None);
}

#[test]
fn what_is_not_described_is_found() {
    let changed = r#"{"draftId":"d","version":1,"seq":1}"#;
    let created = [JSON, TAG, ("location", "/v1/drafts/d")];
    let good = Some(r#"{"content":{}}"#);
    let cases = [
        (
            fault("GET /v1/drafts", None, 418, &[PROBLEM], &problem(418)),
            "listDrafts does not have this status",
        ),
        (fault("GET /nowhere", None, 200, &[JSON], "{}"), "no such operation"),
        (fault("GET /v1/drafts", None, 400, &[PROBLEM], &problem(401)), "another status"),
        (fault("GET /v1/drafts", None, 400, &[JSON], &problem(400)), "the content type"),
        (fault("GET /v1/drafts", None, 401, &[PROBLEM], &problem(401)), "WWW-Authenticate is missing"),
        (fault("POST /v1/drafts", good, 201, &[JSON, TAG], changed), "Location is missing"),
        (fault("POST /v1/drafts", good, 201, &created, r#"{"draftId":"d"}"#), "version"),
        (fault("POST /v1/drafts", good, 201, &created, r#"{"draftId":"d","version":1,"more":1}"#), "more"),
        (fault("POST /v1/drafts", Some("{}"), 201, &created, changed), "was accepted"),
        (fault("POST /v1/drafts?x=1", good, 201, &created, changed), "the query parameter x"),
    ];
    for (found, expected) in cases {
        assert!(found.as_ref().is_some_and(|found| found.contains(expected)), "{expected}: {found:?}");
    }
}

#[test]
fn messages_have_the_name_of_the_schema_that_they_match() {
    let name = |message: Value| documents().name_of_message(&message);
    let event = |kind: &str| json!({ "type": kind, "stream": "topic:t", "seq": 1, "timestamp": 1, "origin": "a", "payload": null });
    assert_eq!(name(event("GOAL")).as_deref(), Ok("PublishedEvent"));
    assert_eq!(name(json!({ "type": "ACK", "id": "c", "seq": 1 })).as_deref(), Ok("PlainAck"));
    // A name of the server's own, a field more, a field less.
    assert!(name(event("WELCOME")).is_err());
    assert!(name(json!({ "type": "ACK", "id": "c", "more": 1 })).is_err());
    assert!(name(json!({ "type": "RECONNECT", "payload": {} })).is_err());
    let command =
        |payload| documents().name_of_command(&json!({ "type": "SUBSCRIBE", "id": "s", "payload": payload }));
    assert_eq!(command(json!({ "topics": [{ "topic": "t" }] })).as_deref(), Ok("SubscribeCommand"));
    assert!(command(json!({ "topic": "t", "batchms": 1 })).is_err());
}

#[test]
fn a_command_is_answered_as_described() {
    let command = json!({ "type": "PUBLISH", "id": "p", "payload": { "topic": "t", "event": "E" } });
    let fault = |answer: Value| documents().reply_fault(&command, &answer);
    assert_eq!(fault(json!({ "type": "ACK", "id": "p", "seq": 1 })), None);
    let other = fault(json!({ "type": "ACK", "id": "p", "payload": { "expiresAt": 1 } }));
    assert!(other.as_ref().is_some_and(|fault| fault.contains("not answered by AuthAck")), "{other:?}");
}
