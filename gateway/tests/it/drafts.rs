//! Changes of drafts over the socket: merges, conflicts, repetitions, refusals.

use serde_json::{Value, json};
use testkit::RawSocket;

use crate::{
    DEADLINE,
    harness::{Server, ask, create},
};

async fn update(socket: &mut RawSocket, id: &str, base: u64, patch: Value) -> Value {
    ask(socket, "DRAFT_UPDATE", id, json!({ "draftId": "d", "baseVersion": base, "patch": patch })).await
}

async fn current(socket: &mut RawSocket, id: &str) -> Value {
    let list = ask(socket, "DRAFT_LIST", id, json!({})).await;
    list["payload"]["drafts"][0].clone()
}

#[tokio::test]
async fn changes_of_different_fields_on_one_base_both_survive() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    let (mut laptop, _) = server.connect("alice", "device=laptop").await;
    create(&mut phone, "d", json!({ "title": "t", "body": "b", "meta": { "x": 1 } })).await;
    assert_eq!(update(&mut phone, "u", 1, json!({ "title": "phone" })).await["payload"]["version"], 2);
    assert_eq!(update(&mut laptop, "u", 1, json!({ "body": "laptop" })).await["payload"]["version"], 3);
    let merged = json!({ "meta": { "x": 1, "y": 2 } });
    assert_eq!(update(&mut phone, "v", 1, merged).await["payload"]["version"], 4);
    let draft = current(&mut laptop, "l").await;
    assert_eq!(draft["version"], 4);
    assert_eq!(draft["content"], json!({ "title": "phone", "body": "laptop", "meta": { "x": 1, "y": 2 } }));
}

#[tokio::test]
async fn changes_of_the_same_field_conflict_and_change_nothing() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    let (mut laptop, _) = server.connect("alice", "device=laptop").await;
    create(&mut phone, "d", json!({ "title": "t", "a": { "b": 1 } })).await;
    update(&mut phone, "u", 1, json!({ "title": "phone", "a": { "b": 2 } })).await;
    let refused = update(&mut laptop, "u", 1, json!({ "title": "laptop", "a": null, "new": 1 })).await;
    assert_eq!((&refused["type"], &refused["code"]), (&json!("ERROR"), &json!("conflict")));
    let payload = &refused["payload"];
    assert_eq!(payload["draftId"], "d");
    assert_eq!(payload["fields"], json!(["/a", "/title"]));
    assert_eq!(payload["draft"]["version"], 2);
    assert_eq!(payload["draft"]["content"], json!({ "title": "phone", "a": { "b": 2 } }));
    // Refusals are not remembered: the same id, on the current base, goes through.
    let again = update(&mut laptop, "u", 2, json!({ "title": "laptop" })).await;
    assert_eq!(again["payload"]["version"], 3);
}

#[tokio::test]
async fn a_patch_that_changes_nothing_has_no_event() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "").await;
    create(&mut phone, "d", json!({ "title": "t" })).await;
    let same = update(&mut phone, "u", 1, json!({ "title": "t", "gone": null })).await;
    assert_eq!(same["payload"], json!({ "draftId": "d", "version": 1 }));
    assert!(same.get("seq").is_none(), "{same}");
    let next = update(&mut phone, "v", 1, json!({ "title": "u" })).await;
    assert_eq!(next["seq"], 2);
}

#[tokio::test]
async fn a_deleted_draft_is_gone_and_its_id_is_not_used_again() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "").await;
    create(&mut phone, "d", json!({ "a": 1 })).await;
    update(&mut phone, "u", 1, json!({ "a": 2 })).await;
    let guarded = ask(&mut phone, "DRAFT_DELETE", "x1", json!({ "draftId": "d", "baseVersion": 1 })).await;
    assert_eq!(guarded["code"], "conflict");
    assert_eq!(guarded["payload"]["draft"]["version"], 2);
    assert_eq!(guarded["payload"]["fields"], json!([]));
    let deleted = ask(&mut phone, "DRAFT_DELETE", "x2", json!({ "draftId": "d" })).await;
    assert_eq!(deleted["payload"]["version"], 3);
    assert_eq!(update(&mut phone, "v", 3, json!({ "a": 3 })).await["code"], "not_found");
    assert_eq!(ask(&mut phone, "DRAFT_DELETE", "x3", json!({ "draftId": "d" })).await["code"], "not_found");
    let again = ask(&mut phone, "DRAFT_CREATE", "c2", json!({ "draftId": "d", "content": {} })).await;
    assert_eq!(again["code"], "conflict");
    assert_eq!(again["payload"]["draft"], Value::Null);
    let list = ask(&mut phone, "DRAFT_LIST", "l", json!({})).await;
    assert_eq!(list["payload"]["drafts"], json!([]));
    assert_eq!(list["payload"]["seq"], 3);
}

#[tokio::test]
async fn creating_what_exists_conflicts_with_the_draft_as_it_stands() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "").await;
    create(&mut phone, "d", json!({ "a": 1 })).await;
    let again = ask(&mut phone, "DRAFT_CREATE", "c", json!({ "draftId": "d", "content": { "a": 2 } })).await;
    assert_eq!(again["code"], "conflict");
    assert_eq!(again["payload"]["draft"]["content"], json!({ "a": 1 }));
    // Another user's draft of the same id is another draft.
    let (mut bob, _) = server.connect("bob", "").await;
    assert_eq!(create(&mut bob, "d", json!({})).await, 1);
}

#[tokio::test]
async fn a_command_repeated_gets_its_first_answer_wherever_it_is_repeated() {
    let server = Server::start().await;
    let (mut phone, welcome) = server.connect("alice", "device=phone").await;
    let epoch = welcome["epoch"].as_str().unwrap();
    let made = json!({ "content": { "a": 1 } });
    let first = ask(&mut phone, "DRAFT_CREATE", "c", made.clone()).await;
    assert_eq!(first["type"], "ACK");
    let draft_id = first["payload"]["draftId"].as_str().unwrap().to_owned();
    assert_eq!(ask(&mut phone, "DRAFT_CREATE", "c", made.clone()).await, first);
    let changed = json!({ "draftId": draft_id, "baseVersion": 1, "patch": { "a": 2 } });
    let second = ask(&mut phone, "DRAFT_UPDATE", "u", changed.clone()).await;
    phone.drop_connection();

    let (mut back, _) = server.connect("alice", "device=phone").await;
    assert_eq!(ask(&mut back, "DRAFT_CREATE", "c", made.clone()).await, first);
    assert_eq!(ask(&mut back, "DRAFT_UPDATE", "u", changed.clone()).await, second);
    // Over HTTP the same device repeats it by the key; its body is the payload without the ids.
    let key = [("idempotency-key", "c")];
    let http = server.api("alice", "POST", "/v1/drafts?device=phone", &key, Some(made.clone())).await;
    assert_eq!((http.status, &http.json["draftId"]), (201, &json!(draft_id)));
    assert_eq!((&http.json["version"], &http.json["seq"]), (&json!(1), &first["seq"]));
    let quoted = [("idempotency-key", "\"u\"")];
    let path = format!("/v1/drafts/{draft_id}?device=phone&baseVersion=1");
    let http = server.api("alice", "PATCH", &path, &quoted, Some(json!({ "a": 2 }))).await;
    assert_eq!((http.status, &http.json["version"]), (200, &json!(2)));
    // Another device's id is another command.
    let (mut laptop, _) = server.connect("alice", "device=laptop").await;
    let other = ask(&mut laptop, "DRAFT_CREATE", "c", made).await;
    assert_ne!(other["payload"]["draftId"], draft_id);
    // Three changes in all.
    let (_, welcome) = server.connect("alice", &format!("cursor={epoch}:3")).await;
    assert_eq!(welcome["seq"], 3);
}

#[tokio::test]
async fn an_id_is_not_used_for_two_commands() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    create(&mut phone, "d", json!({ "a": 1 })).await;
    assert_eq!(update(&mut phone, "u", 1, json!({ "a": 2 })).await["type"], "ACK");
    let refused = update(&mut phone, "u", 1, json!({ "a": 3 })).await;
    assert_eq!(refused["code"], "bad_request");
    let refused = ask(&mut phone, "DRAFT_DELETE", "u", json!({ "draftId": "d" })).await;
    assert_eq!(refused["code"], "bad_request");
    assert_eq!(current(&mut phone, "l").await["content"], json!({ "a": 2 }));
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_code() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "").await;
    create(&mut phone, "d", json!({ "a": 1 })).await;
    let large = "x".repeat(5000);
    let cases = [
        ("DRAFT_UPDATE", json!({ "draftId": "d", "baseVersion": 2, "patch": { "a": 2 } }), "bad_request"),
        ("DRAFT_UPDATE", json!({ "draftId": "d", "baseVersion": 0, "patch": { "a": 2 } }), "bad_request"),
        ("DRAFT_DELETE", json!({ "draftId": "d", "baseVersion": 7 }), "bad_request"),
        ("DRAFT_UPDATE", json!({ "draftId": "e", "baseVersion": 1, "patch": {} }), "not_found"),
        ("DRAFT_DELETE", json!({ "draftId": "e" }), "not_found"),
        ("DRAFT_CREATE", json!({ "draftId": "e", "content": { "a": large } }), "too_large"),
        ("DRAFT_UPDATE", json!({ "draftId": "d", "baseVersion": 1, "patch": { "a": large } }), "too_large"),
    ];
    for (n, (kind, payload, code)) in cases.into_iter().enumerate() {
        let answer = ask(&mut phone, kind, &format!("r{n}"), payload).await;
        assert_eq!(answer["code"], code, "{kind}: {answer}");
        assert!(!answer["message"].as_str().unwrap().is_empty());
    }
    assert_eq!(current(&mut phone, "l").await["version"], 1);
    // The harness allows 20 drafts.
    for n in 1..20 {
        create(&mut phone, &format!("d{n}"), json!({})).await;
    }
    let many = ask(&mut phone, "DRAFT_CREATE", "many", json!({ "content": {} })).await;
    assert_eq!(many["code"], "too_large");
    ask(&mut phone, "DRAFT_DELETE", "room", json!({ "draftId": "d" })).await;
    let again = ask(&mut phone, "DRAFT_CREATE", "many", json!({ "content": {} })).await;
    assert_eq!(again["type"], "ACK");
}

#[tokio::test]
async fn everyone_receives_every_event_in_order_the_sender_too() {
    let server = Server::start().await;
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    let (mut laptop, _) = server.connect("alice", "device=laptop").await;
    let (mut stranger, _) = server.connect("bob", "").await;
    phone
        .send(&json!({ "type": "DRAFT_CREATE", "id": "c", "payload":
            { "draftId": "d", "kind": "order", "content": { "n": 0, "x": { "y": 1 } } } }))
        .await
        .unwrap();
    for n in 1..=30 {
        let payload = json!({ "draftId": "d", "baseVersion": n, "patch": { "n": n } });
        phone
            .send(&json!({ "type": "DRAFT_UPDATE", "id": format!("u{n}"), "payload": payload }))
            .await
            .unwrap();
    }
    phone
        .send(&json!({ "type": "DRAFT_DELETE", "id": "x", "payload": { "draftId": "d", "baseVersion": 31 } }))
        .await
        .unwrap();
    for socket in [&mut phone, &mut laptop] {
        for seq in 1..=32_u64 {
            let event = loop {
                let message = socket.next(DEADLINE).await.unwrap();
                if message["type"] != "ACK" {
                    break message;
                }
            };
            assert_eq!(event["seq"], seq);
            assert_eq!((&event["stream"], &event["origin"]), (&json!("user"), &json!("phone")));
            assert!(event["timestamp"].as_u64().unwrap() > 1_600_000_000_000);
            let expected = match seq {
                1 => json!({ "draftId": "d", "version": 1, "kind": "order",
                             "content": { "n": 0, "x": { "y": 1 } } }),
                32 => json!({ "draftId": "d", "version": 32, "baseVersion": 31 }),
                n => json!({ "draftId": "d", "version": n, "baseVersion": n - 1, "patch": { "n": n - 1 } }),
            };
            assert_eq!(event["payload"], expected);
        }
    }
    // Nothing of it reached another user.
    let pong = ask(&mut stranger, "PING", "p", json!({})).await;
    assert_eq!(pong["type"], "PONG");
}
