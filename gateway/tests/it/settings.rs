//! Settings that operators change while nodes run: `/v1/admin/settings`.

use fanout::bus::MemoryBus;
use serde_json::{Value, json};
use testkit::{RawRequest, http::Answer, token, wait};

use crate::{
    DEADLINE,
    harness::{ANY_PORT, Disk, Server, problem, service, settings},
};

fn admin() -> String {
    token::scoped("operator", "admin")
}

async fn call(server: &Server, method: &str, name: &str, body: &Value) -> Answer {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    server.call(&admin(), method, &format!("/v1/admin/settings/{name}"), &[], &body).await
}

/// Changes a setting, and checks that this is accepted.
async fn set(server: &Server, name: &str, value: &str) -> Value {
    set_with(server, name, json!({ "value": value })).await
}

async fn set_with(server: &Server, name: &str, body: Value) -> Value {
    let answer = call(server, "PUT", name, &body).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text);
    answer.json
}

async fn get(server: &Server, name: &str) -> Value {
    let answer = call(server, "GET", name, &Value::Null).await;
    assert_eq!(answer.status, 200, "{name}: {}", answer.text);
    answer.json
}

/// Whether compression is negotiated with a user who offers it.
async fn deflates(server: &Server, user: &str) -> bool {
    let query = format!("token={}", token::good(user));
    let offer = [("sec-websocket-extensions", "permessage-deflate")];
    let answered = server.handshake(&query, &offer).await;
    assert_eq!(answered.status, 101);
    answered.header("sec-websocket-extensions").is_some()
}

async fn until_deflates(server: &Server, expected: bool) {
    wait::until("the setting to hold", DEADLINE, || async {
        if deflates(server, "alice").await == expected { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

/// Nodes over one store and one network.
async fn nodes(some: [&[(&str, &str)]; 3]) -> Vec<Server> {
    let (network, disk) = (MemoryBus::network(), Disk::new().await);
    let mut nodes = Vec::new();
    for (number, some) in (1..).zip(some) {
        let settings = settings(&format!("n{number}"), some);
        nodes.push(Server::assemble_at(ANY_PORT, &disk, network.join(), settings).await);
    }
    nodes
}

#[tokio::test]
async fn a_change_holds_at_once_on_the_node_that_was_asked_and_soon_on_all() {
    let nodes = nodes([&[]; 3]).await;
    let before = get(&nodes[0], "DEFLATE").await;
    assert_eq!(
        before,
        json!({
            "name": "DEFLATE", "value": "true", "source": "default", "default": "true",
            "changes": "new connections", "state": "applied", "version": 0,
        })
    );
    let body = json!({ "value": "false", "reason": "to see" });
    let after = set_with(&nodes[0], "DEFLATE", body).await;
    assert_eq!((&after["value"], &after["source"]), (&json!("false"), &json!("run time")), "{after}");
    assert_eq!((&after["who"], &after["reason"]), (&json!("operator"), &json!("to see")));
    assert_eq!((&after["version"], &after["startedWith"]), (&json!(1), &json!("true")));
    assert!(!deflates(&nodes[0], "alice").await, "at once");
    for node in &nodes[1..] {
        until_deflates(node, false).await;
    }
    let answer = call(&nodes[2], "DELETE", "DEFLATE", &Value::Null).await;
    assert_eq!((answer.status, &answer.json["source"]), (200, &json!("default")), "{}", answer.text);
    assert!(deflates(&nodes[2], "alice").await);
    for node in &nodes[..2] {
        until_deflates(node, true).await;
    }
    let again = call(&nodes[2], "DELETE", "DEFLATE", &Value::Null).await;
    assert_eq!((again.status, &again.json["version"]), (200, &json!(2)), "nothing to set back");
}

#[tokio::test]
async fn limits_of_all_kinds_change_while_a_node_runs() {
    let server = Server::start().await;
    let publish = async |bytes: usize| {
        let event = json!({ "event": "E", "data": "x".repeat(bytes) });
        server.call(&service(), "POST", "/v1/topics/t/events", &[], &event.to_string()).await.status
    };
    assert_eq!(publish(5000).await, 413);
    set(&server, "EVENT_BYTES_MAX", "16KiB").await;
    assert_eq!((publish(5000).await, publish(20_000).await), (201, 413));

    assert_eq!(server.refused(RawRequest::new(server.socket_url())).await.0, 4401);
    set(&server, "PUBLIC_TOPICS", "news,match:*").await;
    server.connect_as("", "").await;
    call(&server, "DELETE", "PUBLIC_TOPICS", &Value::Null).await;
    assert_eq!(server.refused(RawRequest::new(server.socket_url())).await.0, 4401);

    let (first, welcome) = server.connect("alice", "").await;
    set(&server, "CONNECTIONS_PER_USER", "1").await;
    let request = RawRequest::new(server.socket_url()).token(&token::good("alice"));
    assert_eq!(server.refused(request).await.0, 4429);
    drop(first);

    set(&server, "MAX_MESSAGE_BYTES", "2KiB").await;
    set(&server, "WS_PING_INTERVAL_MAX", "41s").await;
    let (_socket, changed) = server.connect("bob", "").await;
    set(&server, "ADAPTIVE_HEARTBEAT", "false").await;
    assert_eq!(server.connect("carol", "").await.1["heartbeatMs"], 25_000);
    assert_ne!(welcome["maxMessageBytes"], 2048);
    assert_eq!((&changed["maxMessageBytes"], &changed["heartbeatMs"]), (&json!(2048), &json!(41_000)));
    assert_eq!(publish(3000).await, 413);
    call(&server, "DELETE", "MAX_MESSAGE_BYTES", &Value::Null).await;
    assert_eq!(publish(3000).await, 201);

    set(&server, "SWEEP_INTERVAL_UNSURE", "50ms").await;
    set(&server, "SWEEP_INTERVAL", "60ms").await;
    assert!(server.node.hub.sweep_interval().as_millis() <= 60);
    set(&server, "WRITE_WINDOW", "7ms").await;
    set(&server, "RETENTION_TOPIC_EVENTS", "1").await;
    // The round that is waited for may be a minute away: a shorter interval does not wait for it.
    set(&server, "RETENTION_INTERVAL", "10ms").await;
    let head = server.publish("t", "E", json!(1)).await;
    server.is_cut_at("topic:t", head - 1).await;
    assert_eq!(server.node.live.node().writes.window.as_millis(), 7);
}

#[tokio::test]
async fn of_two_operators_one_is_told_that_the_other_was_faster() {
    let server = Server::start().await;
    let put = async |tag: &str, value: &str| {
        let body = json!({ "value": value }).to_string();
        server.call(&admin(), "PUT", "/v1/admin/settings/LINGER", &[("if-match", tag)], &body).await
    };
    let seen = call(&server, "GET", "LINGER", &Value::Null).await;
    assert_eq!(seen.header("etag"), Some("\"0\""));
    let first = put("\"0\"", "7s").await;
    assert_eq!((first.status, first.header("etag")), (200, Some("\"1\"")), "{}", first.text);
    let second = put("\"0\"", "8s").await;
    problem(&second, 412, "conflict");
    assert_eq!(second.json["payload"], json!({ "name": "LINGER", "version": 1 }));
    assert_eq!(get(&server, "LINGER").await["value"], "7s");
    // At the same moment: the store decides.
    let (one, other) = tokio::join!(put("\"1\"", "9s"), put("\"1\"", "10s"));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
}

#[tokio::test]
async fn a_roll_out_takes_a_part_and_moves_nobody_back() {
    let server = Server::start().await;
    let users: Vec<String> = (0..24).map(|n| format!("user-{n}")).collect();
    let chosen = async || {
        let mut chosen = Vec::new();
        for user in &users {
            if !deflates(&server, user).await {
                chosen.push(user.clone());
            }
        }
        chosen
    };
    let percent = |percent: u8| json!({ "value": "false", "percent": percent, "by": "user" });
    set_with(&server, "DEFLATE", percent(30)).await;
    let some = chosen().await;
    assert!(!some.is_empty() && some.len() < users.len(), "{some:?}");
    assert_eq!(chosen().await, some, "the same ones");
    set_with(&server, "DEFLATE", percent(70)).await;
    let more = chosen().await;
    assert!(more.len() > some.len() && some.iter().all(|user| more.contains(user)), "{some:?} {more:?}");
    set_with(&server, "DEFLATE", percent(100)).await;
    assert_eq!(chosen().await, users);
    set_with(&server, "DEFLATE", percent(30)).await;
    assert_eq!(chosen().await, some, "the others have what they had");
    set_with(&server, "DEFLATE", percent(100)).await;
    // What the others have stays what it was, not what the node was started with.
    let back = set_with(&server, "DEFLATE", json!({ "value": "true", "percent": 30 })).await;
    assert_eq!((&back["otherwise"], &back["by"]), (&json!("false"), &json!("user")));
    let left: Vec<_> = users.iter().filter(|user| !some.contains(user)).cloned().collect();
    assert_eq!(chosen().await, left);
    set_with(&server, "DEFLATE", percent(0)).await;
    assert!(chosen().await.len() == users.len(), "nobody has it anew, and the rest have what they had");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_the_words_of_the_start() {
    let server = Server::start().await;
    for (name, body, says) in [
        ("LINGER", json!({ "value": "9" }), "LINGER (--linger) is \"9\": give a duration such as 30s"),
        ("LINGER", json!({ "value": "9d" }), "give 0ms to 1h"),
        ("DEFLATE", json!({ "value": "yes" }), "give true or false"),
        ("LOG_LEVEL", json!({ "value": "loud" }), "give error, warn"),
        ("SWEEP_INTERVAL", json!({ "value": "100ms" }), "give at most SWEEP_INTERVAL, which is 100ms"),
        (
            "WS_PING_INTERVAL_MIN",
            json!({ "value": "50s" }),
            "give at least WS_PING_INTERVAL_MIN, which is 50s",
        ),
        ("LINGER", json!({ "value": "" }), "value must not be empty"),
        ("LINGER", json!({ "value": "\"9s\"" }), "is in quotes"),
        ("LINGER", json!({ "value": 9 }), "value must be a string"),
        ("LINGER", json!({}), "value is missing"),
        ("LINGER", json!({ "value": "9s", "percent": 101 }), "percent must be 0 to 100"),
        ("LINGER", json!({ "value": "9s", "percent": -1 }), "percent must be a whole number"),
        (
            "LINGER",
            json!({ "value": "9s", "by": "user" }),
            "by must be node: LINGER holds for a node as a whole",
        ),
        ("DEFLATE", json!({ "value": "false", "otherwise": "no", "percent": 5 }), "give true or false"),
        ("DEFLATE", json!({ "value": "false", "by": "region" }), "by must be user, connection or node"),
        ("DEFLATE", json!({ "value": "false", "guard": true }), "guard must be false"),
        ("DEFLATE", json!({ "value": "false", "reason": "a\nb" }), "reason must be 1 to 512 bytes"),
        ("DEFLATE", json!({ "value": "false", "until": "now" }), "has no field \"until\""),
        ("WRITE_SHARDS", json!({ "value": "2" }), "WRITE_SHARDS needs a restart"),
        ("JWT_SECRET", json!({ "value": "0123456789012345678901234567890123456789" }), "needs a restart"),
    ] {
        let answer = call(&server, "PUT", name, &body).await;
        problem(&answer, 400, "bad_request");
        let detail = answer.json["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{name} {body}: {detail}");
        assert!(!detail.contains("01234567890"), "a secret is not repeated");
    }
    for name in ["NO_SUCH", "deflate", "a%0Ab"] {
        for (method, body) in
            [("GET", Value::Null), ("PUT", json!({ "value": "1" })), ("DELETE", Value::Null)]
        {
            problem(&call(&server, method, name, &body).await, 404, "not_found");
        }
    }
    // Of the settings, none has changed.
    let list = server.call(&admin(), "GET", "/v1/admin/settings", &[], "").await;
    assert_eq!(list.json["version"], 0);
    assert!(!list.text.contains(token::SECRET));
    let names = ["JWT_SECRET", "NODE_NAME", "DATABASE_URL"];
    let found = names.map(|name| {
        list.json["settings"].as_array().unwrap().iter().find(|setting| setting["name"] == name).unwrap()
    });
    assert_eq!(found[0].get("value"), None);
    assert_eq!((&found[0]["source"], &found[0]["changes"]), (&json!("environment"), &json!("restart")));
    assert_eq!(found[1]["value"], "n1");
}

#[tokio::test]
async fn more_roll_outs_at_a_time_than_may_be_are_refused() {
    let server = Server::start().await;
    let values = [
        ("DEFLATE", "false"),
        ("DEFLATE_MIN_BYTES", "2KiB"),
        ("WS_PONG_TIMEOUT", "9s"),
        ("SSE_HEARTBEAT", "9s"),
        ("ANONYMOUS_IDLE", "9s"),
        ("TOPICS_PER_CONNECTION", "9"),
        ("COMMANDS_PER_SECOND", "9"),
        ("PENDING_COMMANDS_MAX", "9"),
    ];
    let half = |value: &str| json!({ "value": value, "percent": 50 });
    for (name, value) in values {
        set_with(&server, name, half(value)).await;
    }
    let answer = call(&server, "PUT", "TOKEN_WARNING", &half("9s")).await;
    problem(&answer, 400, "bad_request");
    set(&server, "DEFLATE", "false").await;
    set_with(&server, "TOKEN_WARNING", half("9s")).await;
}

#[tokio::test]
async fn changes_are_kept_with_who_and_why() {
    let server = Server::start().await;
    set_with(&server, "LINGER", json!({ "value": "7s", "reason": "one" })).await;
    set(&server, "DEFLATE", "false").await;
    let path = "/v1/admin/settings/LINGER?reason=over";
    assert_eq!(server.call(&admin(), "DELETE", path, &[], "").await.status, 200);
    let history = async |query: &str| {
        let path = format!("/v1/admin/settings/history{query}");
        let answer = server.call(&admin(), "GET", &path, &[], "").await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let changes = answer.json["changes"].as_array().unwrap().clone();
        changes
            .iter()
            .map(|change| json!([change["version"], change["value"], change["reason"]]))
            .collect::<Vec<_>>()
    };
    let (unset, deflate, linger) =
        (json!([3, null, "over"]), json!([2, "false", null]), json!([1, "7s", "one"]));
    assert_eq!(history("").await, [unset.clone(), deflate.clone(), linger.clone()]);
    assert_eq!(history("?name=LINGER").await, [unset.clone(), linger.clone()]);
    assert_eq!(history("?before=3&limit=1").await, [deflate]);
    for query in ["?limit=0", "?limit=1001", "?before=x"] {
        let path = format!("/v1/admin/settings/history{query}");
        problem(&server.call(&admin(), "GET", &path, &[], "").await, 400, "bad_request");
    }
}

#[tokio::test]
async fn a_node_that_starts_has_what_was_changed_before() {
    let disk = Disk::new().await;
    let first = Server::on(&disk, &[]).await;
    set(&first, "DEFLATE", "false").await;
    first.end().await;
    let second = Server::on(&disk, &[]).await;
    // Whoever is welcomed has the settings of now.
    second.connect("alice", "").await;
    assert!(!deflates(&second, "alice").await);
    let mut ignoring = settings("n1", &[]);
    ignoring.ignores_run_time = true;
    let third = Server::assemble_at(ANY_PORT, &disk, MemoryBus::new(), ignoring).await;
    third.connect("alice", "").await;
    assert!(deflates(&third, "alice").await);
    let shown = get(&third, "DEFLATE").await;
    assert_eq!((&shown["state"], &shown["source"]), (&json!("ignored"), &json!("default")), "{shown}");
}

#[tokio::test]
async fn what_a_node_cannot_apply_is_shown_and_keeps_nothing_else_back() {
    let nodes = nodes([&[], &[("WS_PING_INTERVAL_MIN", "20s")], &[]]).await;
    set(&nodes[0], "WS_PING_INTERVAL", "12s").await;
    nodes[0]
        .disk
        .sql("INSERT INTO settings_changes VALUES (2, 'FROM_THE_FUTURE', '1', NULL, 100, 'node', NULL, 'operator', 1)")
        .await;
    set(&nodes[0], "DEFLATE", "false").await;
    for node in &nodes {
        until_deflates(node, false).await;
    }
    let shown = get(&nodes[1], "WS_PING_INTERVAL").await;
    assert_eq!(shown["state"], "refused", "{shown}");
    assert!(shown["problem"].as_str().unwrap().contains("which is 20s"), "{shown}");
    assert_eq!(get(&nodes[0], "WS_PING_INTERVAL").await["state"], "applied");
    let list = nodes[2].call(&admin(), "GET", "/v1/admin/settings", &[], "").await;
    let last = list.json["settings"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["name"], &last["state"]), (&json!("FROM_THE_FUTURE"), &json!("unknown")));
    let unset = call(&nodes[2], "DELETE", "FROM_THE_FUTURE", &Value::Null).await;
    assert_eq!((unset.status, &unset.json["version"]), (200, &json!(4)), "{}", unset.text);
}

#[tokio::test]
async fn a_history_of_another_name_brings_its_own_settings() {
    let server = Server::with(&[("SWEEP_INTERVAL", "50ms"), ("SWEEP_INTERVAL_UNSURE", "50ms")]).await;
    set(&server, "LINGER", "7s").await;
    // As after a failover to a server that had not got it, on which something else was changed.
    server
        .disk
        .sql(
            "BEGIN;
            UPDATE meta SET value = 'other' WHERE key = 'epoch';
            UPDATE events SET payload = '{\"other\":1}' WHERE stream = 'control';
            UPDATE settings_changes SET name = 'DEFLATE', value = 'false', unit = 'user';
            COMMIT;",
        )
        .await;
    until_deflates(&server, false).await;
    assert_eq!(get(&server, "LINGER").await["source"], "default");
}
