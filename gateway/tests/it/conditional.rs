//! Conditional requests (RFC 9110 section 13) on drafts.

use serde_json::{Value, json};
use testkit::http::Answer;

use crate::harness::{Server, problem};

const DRAFT: &str = "/v1/drafts/d";

/// A node with one draft, `d`, at version 3.
async fn at_version_3() -> Server {
    let server = Server::start().await;
    server.api("alice", "POST", "/v1/drafts", &[], Some(json!({ "draftId": "d", "content": {} }))).await;
    for n in 1..=2 {
        let path = format!("{DRAFT}?baseVersion={n}");
        let answer = server.api("alice", "PATCH", &path, &[], Some(json!({ "n": n }))).await;
        assert_eq!(answer.status, 200);
    }
    server
}

async fn ask(server: &Server, method: &str, header: (&str, &str), body: Option<Value>) -> Answer {
    server.api("alice", method, DRAFT, &[header], body).await
}

#[tokio::test]
async fn if_match_takes_a_star_and_lists_and_compares_tags_as_text() {
    let server = at_version_3().await;
    let mut version = 3;
    for tags in ["*", "{}", "\"1\", {}", "{} , \"77\"", "W/\"1\",{}", "\"a,b\", {}", "\"\",{},", ",{}"] {
        let tags = tags.replace("{}", &format!("\"{version}\""));
        version += 1;
        let answer = ask(&server, "PATCH", ("if-match", &tags), Some(json!({ "n": version }))).await;
        let etag = format!("\"{version}\"");
        assert_eq!((answer.status, answer.header("etag")), (200, Some(etag.as_str())), "{tags}: {answer:?}");
    }
    let (now, before) = (format!("\"{version}\""), format!("\"{}\"", version - 1));
    let no_match = [
        format!("\"0{version}\""),
        format!("\"+{version}\""),
        "\"x\"".to_owned(),
        "\"\"".to_owned(),
        "\"99999999999999999999\"".to_owned(),
        format!("W/{now}"),
        format!("{before}, W/{now}"),
        format!("{before}, \"x\""),
    ];
    for tags in &no_match {
        for (method, body) in [("PATCH", Some(json!({ "n": 0 }))), ("DELETE", None), ("GET", None)] {
            let answer = ask(&server, method, ("if-match", tags), body).await;
            problem(&answer, 412, "conflict");
            assert_eq!(
                answer.json["payload"],
                json!({ "draftId": "d", "version": version }),
                "{method} {tags}"
            );
        }
    }
    for malformed in ["3", "", "w/\"3\"", "\"3", "3\"", "\"3\" \"4\"", "*, \"3\"", "\"a\"b", "\"a b\"", "**"]
    {
        for (method, body) in [("PATCH", Some(json!({ "n": 0 }))), ("DELETE", None), ("GET", None)] {
            let answer = ask(&server, method, ("if-match", malformed), body).await;
            problem(&answer, 400, "bad_request");
        }
    }
    // The tags of a list may stand in several fields (RFC 9110 section 5.3).
    let headers = [("if-match", before.as_str()), ("if-match", now.as_str())];
    assert_eq!(server.api("alice", "GET", DRAFT, &headers, None).await.status, 200);
    assert_eq!(ask(&server, "DELETE", ("if-match", "*"), None).await.status, 200);
}

/// A precondition does not replace the answer of a request that would be refused without it (RFC 9110
/// section 13.2.1).
#[tokio::test]
async fn what_does_not_exist_is_not_found_with_conditions_too() {
    let server = Server::start().await;
    for tags in ["*", "\"1\""] {
        problem(&ask(&server, "PATCH", ("if-match", tags), Some(json!({}))).await, 404, "not_found");
        problem(&ask(&server, "DELETE", ("if-match", tags), None).await, 404, "not_found");
        problem(&ask(&server, "GET", ("if-match", tags), None).await, 404, "not_found");
        problem(&ask(&server, "GET", ("if-none-match", tags), None).await, 404, "not_found");
    }
}

#[tokio::test]
async fn if_none_match_spares_what_is_known() {
    let server = at_version_3().await;
    for (tags, status) in [
        ("\"3\"", 304),
        ("W/\"3\"", 304),
        ("*", 304),
        ("\"7\", \"3\"", 304),
        ("\"a,b\", \"3\"", 304),
        ("\"03\"", 200),
        ("\"2\"", 200),
        // It only spares something: what is no list of tags spares nothing.
        ("3", 200),
    ] {
        let answer = ask(&server, "GET", ("if-none-match", tags), None).await;
        assert_eq!(answer.status, status, "{tags}: {answer:?}");
        assert_eq!((answer.header("etag"), answer.text.is_empty()), (Some("\"3\""), status == 304));
    }
}

#[tokio::test]
async fn if_none_match_creates_only_what_does_not_exist() {
    let server = at_version_3().await;
    let create = async |id: &str, tags: &str| {
        let body = json!({ "draftId": id, "content": {} });
        server.api("alice", "POST", "/v1/drafts", &[("if-none-match", tags)], Some(body)).await
    };
    let exists = create("d", "*").await;
    problem(&exists, 412, "conflict");
    assert_eq!(exists.json["payload"]["draft"]["version"], 3);
    problem(&create("d", "W/\"3\"").await, 412, "conflict");
    // The condition holds, but the id is taken all the same.
    problem(&create("d", "\"2\"").await, 409, "conflict");
    problem(&create("d", "3").await, 400, "bad_request");
    assert_eq!(create("new", "*").await.status, 201);
    server.api("alice", "DELETE", DRAFT, &[], None).await;
    // It does not exist, and its id is not used again.
    problem(&create("d", "*").await, 409, "conflict");
    let key = [("if-none-match", "*"), ("idempotency-key", "k")];
    for _ in 0..2 {
        let body = json!({ "draftId": "e", "content": {} });
        let answer = server.api("alice", "POST", "/v1/drafts", &key, Some(body)).await;
        assert_eq!(answer.status, 201, "a repetition gets the first answer: {answer:?}");
    }
}

/// A condition that has no meaning on a route is refused: ignored, it would guard nothing.
#[tokio::test]
async fn conditions_without_meaning_are_refused() {
    let server = at_version_3().await;
    let none = ("if-none-match", "*");
    problem(&ask(&server, "PATCH", none, Some(json!({ "n": 5 }))).await, 400, "bad_request");
    problem(&ask(&server, "DELETE", none, None).await, 400, "bad_request");
    let body = json!({ "draftId": "f", "content": {} });
    let answer = server.api("alice", "POST", "/v1/drafts", &[("if-match", "\"3\"")], Some(body)).await;
    problem(&answer, 400, "bad_request");
    let path = format!("{DRAFT}?baseVersion=3");
    let both = server.api("alice", "DELETE", &path, &[("if-match", "*")], None).await;
    problem(&both, 400, "bad_request");
}
