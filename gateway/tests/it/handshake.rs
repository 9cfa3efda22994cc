//! From the request to `WELCOME`, or to the reason why not.

use serde_json::json;
use testkit::{RawRequest, RawSocket, handshake, token, wait};

use crate::{
    DEADLINE,
    harness::{Server, ask, service, subscribe},
};

#[tokio::test]
async fn welcome_comes_first_and_says_where_one_is() {
    let server = Server::with(&[("WS_PING_INTERVAL_MAX", "40s"), ("MAX_MESSAGE_BYTES", "64KiB")]).await;
    let (mut socket, welcome) = server.connect("alice", "device=phone").await;
    assert_eq!(welcome["userId"], "alice");
    assert_eq!(welcome["device"], "phone");
    assert_eq!(welcome["node"], "n1");
    assert_eq!(welcome["seq"], 0);
    assert_eq!(welcome["heartbeatMs"], 40_000);
    assert_eq!(welcome["maxMessageBytes"], 65_536);
    assert!(!welcome["epoch"].as_str().unwrap().is_empty());
    // A command sent before WELCOME was read is answered after it; `connect` has checked the order.
    let pong = ask(&mut socket, "PING", "p", json!({})).await;
    assert_eq!(pong["type"], "PONG");
}

#[tokio::test]
async fn a_device_without_a_name_is_given_one() {
    let server = Server::start().await;
    let (_first, one) = server.connect("alice", "").await;
    let (_second, other) = server.connect("alice", "").await;
    assert_ne!(one["device"], other["device"]);
    assert_ne!(one["connectionId"], other["connectionId"]);
}

#[tokio::test]
async fn the_token_is_taken_from_the_first_place_that_has_one() {
    let server = Server::start().await;
    let header = |user: &str| format!("Bearer {}", token::good(user));
    let in_header = || RawRequest::new(server.socket_url()).header("authorization", &header("alice"));
    let places = [
        ("the header", in_header(), "alice"),
        ("a subprotocol", RawRequest::new(server.socket_url()).token(&token::good("bob")), "bob"),
        (
            "the query",
            RawRequest::new(format!("{}?token={}", server.socket_url(), token::good("carol"))),
            "carol",
        ),
        ("the header before a subprotocol", in_header().token(&token::good("bob")), "alice"),
        (
            "a subprotocol before the query",
            RawRequest::new(format!("{}?token={}", server.socket_url(), token::good("carol")))
                .token(&token::good("bob")),
            "bob",
        ),
    ];
    for (place, request, user) in places {
        let mut socket = RawSocket::connect(&request).await.unwrap();
        let welcome = socket.next(DEADLINE).await.unwrap();
        assert_eq!(welcome["payload"]["userId"], user, "{place}");
    }
    // A bad token in the first place is not made up for by a good one in the second.
    let request =
        RawRequest::new(server.socket_url()).header("authorization", "Bearer x").token(&token::good("bob"));
    assert_eq!(server.refused(request).await.0, 4401);
    let request = RawRequest::new(server.socket_url()).header("authorization", "Basic YTpi");
    assert_eq!(server.refused(request).await.0, 4401);
}

#[tokio::test]
async fn the_subprotocol_is_chosen_and_the_token_is_not_echoed() {
    let server = Server::start().await;
    let bearer = format!("bearer.{}", token::good("alice"));
    let both = format!("{bearer}, draftwire.v1.json");
    let cases = [
        (both.as_str(), Some("draftwire.v1.json")),
        ("draftwire.v1.json", Some("draftwire.v1.json")),
        ("other.v9, draftwire.v1.json", Some("draftwire.v1.json")),
        (bearer.as_str(), None),
        ("other.v9", None),
    ];
    for (offered, chosen) in cases {
        let answered = server.handshake("", &[("sec-websocket-protocol", offered)]).await;
        assert_eq!(answered.status, 101, "{offered}");
        assert_eq!(answered.header("sec-websocket-accept"), Some(handshake::ACCEPT));
        assert_eq!(answered.header("sec-websocket-protocol"), chosen, "{offered}");
    }
    let answered = server.handshake(&format!("token={}", token::good("alice")), &[]).await;
    assert_eq!((answered.status, answered.header("sec-websocket-protocol")), (101, None));
    let mut socket = RawSocket::over(answered.stream).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["type"], "WELCOME");
}

/// Tokens as issuers make them, on machines whose clocks differ from ours.
#[tokio::test]
async fn tokens_of_real_issuers_are_taken() {
    let now = common::time::unix_ms() / 1000;
    let tokens = [
        json!({ "sub": 4711, "exp": now + 60 }),
        json!({ "sub": "alice", "exp": now + 60, "nbf": now + 30, "iat": now + 30 }),
        json!({ "sub": "alice", "exp": now - 30 }),
        json!({ "sub": "alice", "exp": now + 60, "scope": ["subscribe:*", "openid"] }),
    ];
    let server = Server::with(&[("JWT_LEEWAY", "60s")]).await;
    for claims in tokens {
        let answer = server.call(&token::sign(&claims, token::SECRET), "GET", "/v1/drafts", &[], "").await;
        assert_eq!(answer.status, 200, "{claims}: {}", answer.text);
    }
    let named = [("JWT_USER_CLAIM", "user.id"), ("JWT_SCOPE_CLAIM", "realm_access.roles")];
    let server = Server::with(&named).await;
    let claims =
        json!({ "exp": now + 60, "user": { "id": 7 }, "realm_access": { "roles": ["subscribe:match:*"] } });
    let (mut socket, welcome) = server.connect_as(&token::sign(&claims, token::SECRET), "").await;
    assert_eq!(welcome["userId"], "7");
    subscribe(&mut socket, json!({ "topic": "match:1" })).await;
}

/// Tokens that are refused, and a word of the reason.
fn bad_tokens() -> Vec<(&'static str, String, &'static str)> {
    vec![
        ("expired", token::expired("alice"), "expired"),
        ("signed by another", token::forged("alice"), "signature"),
        ("not signed", token::unsigned("alice"), "signed"),
        ("without exp", token::endless("alice"), "exp"),
        ("of another audience", token::audience("alice", "elsewhere"), "aud"),
        ("not a token", "x.y.z".to_owned(), "JWT"),
        (
            "whose sub is a list",
            token::sign(&json!({ "sub": [], "exp": 4_000_000_000_u64 }), token::SECRET),
            "sub",
        ),
        ("without sub", token::sign(&json!({ "exp": 4_000_000_000_u64 }), token::SECRET), "sub"),
    ]
}

#[tokio::test]
async fn a_bad_token_closes_the_socket_after_the_upgrade() {
    let server = Server::start().await;
    for (what, token, reason) in bad_tokens() {
        let request = RawRequest::new(server.socket_url()).token(&token);
        let (code, said) = server.refused(request).await;
        assert_eq!(code, 4401, "{what}");
        assert!(said.contains(reason), "{what}: {said}");
        assert!(said.len() <= 123, "{what}");
    }
    let (code, said) = server.refused(RawRequest::new(server.socket_url())).await;
    assert_eq!(code, 4401);
    assert!(said.contains("required"), "{said}");
}

#[tokio::test]
async fn a_bad_token_over_http_is_a_401() {
    let server = Server::start().await;
    let url = format!("http://{}/v1/drafts", server.addr);
    let mut answers = vec![testkit::http::get(&url).await.unwrap()];
    for (_, token, _) in bad_tokens() {
        answers.push(testkit::http::get_as(&token, &url).await.unwrap());
    }
    for answer in answers {
        assert_eq!(answer.status, 401, "{}", answer.text);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json["code"], "unauthorized");
        assert_eq!(answer.json["status"], 401);
    }
}

#[tokio::test]
async fn an_audience_that_is_set_must_be_named() {
    let server = Server::with(&[("JWT_AUDIENCE", "draftwire")]).await;
    let request = RawRequest::new(server.socket_url()).token(&token::audience("alice", "draftwire"));
    let mut socket = RawSocket::connect(&request).await.unwrap();
    assert_eq!(socket.next(DEADLINE).await.unwrap()["type"], "WELCOME");
    for token in [token::good("alice"), token::audience("alice", "elsewhere")] {
        let request = RawRequest::new(server.socket_url()).token(&token);
        assert_eq!(server.refused(request).await.0, 4401);
    }
}

#[tokio::test]
async fn only_pages_of_allowed_origins_connect() {
    let query = format!("token={}", token::good("alice"));
    let server = Server::with(&[("ALLOWED_ORIGINS", "https://app.example, http://localhost:3000")]).await;
    for (origin, status) in [
        ("https://app.example", 101),
        ("HTTPS://App.Example", 101),
        ("http://localhost:3000", 101),
        ("https://evil.example", 403),
        ("http://app.example", 403),
        ("https://app.example.evil.example", 403),
        ("null", 403),
        ("", 403),
    ] {
        assert_eq!(server.handshake(&query, &[("origin", origin)]).await.status, status, "{origin:?}");
    }
    // What is no browser sends none.
    assert_eq!(server.handshake(&query, &[]).await.status, 101);

    let same = Server::start().await;
    let own = format!("http://{}", same.addr);
    assert_eq!(same.handshake(&query, &[("origin", &own)]).await.status, 101);
    assert_eq!(same.handshake(&query, &[("origin", "http://127.0.0.1:1")]).await.status, 403);
}

#[tokio::test]
async fn parameters_that_make_no_sense_close_with_4400() {
    let server = Server::start().await;
    let long = format!("device={}", "d".repeat(65));
    for (query, reason) in [
        (long.as_str(), "device must be"),
        ("device=", "device must be"),
        ("device=a%00b", "device must be"),
        ("device=a%0Ab", "device must be"),
        ("cursor=42", "cursor must be"),
        ("cursor=", "cursor must be"),
        ("cursor=e:-1", "cursor must be"),
        ("cursor=e:99999999999999999999", "cursor must be"),
    ] {
        let request =
            RawRequest::new(format!("{}?{query}", server.socket_url())).token(&token::good("alice"));
        let (code, said) = server.refused(request).await;
        assert_eq!(code, 4400, "{query}");
        assert!(said.contains(reason), "{query}: {said}");
    }
    let auth = format!("Bearer {}", token::good("alice"));
    let headers = [("authorization", auth.as_str()), ("sec-websocket-protocol", "graphql-ws, mqtt")];
    let answered = server.handshake("", &headers).await;
    let mut socket = RawSocket::over(answered.stream).await;
    let (code, reason) = socket.closed(DEADLINE).await.unwrap().unwrap();
    assert_eq!(code, 4400);
    assert!(reason.contains("draftwire.v1.json"), "{reason}");
}

#[tokio::test]
async fn connections_are_counted_per_user_and_in_all() {
    let server = Server::with(&[("CONNECTIONS_PER_USER", "2"), ("CONNECTIONS_MAX", "3")]).await;
    let (first, _) = server.connect("alice", "").await;
    let (_second, _) = server.connect("alice", "").await;
    let of = |user: &str| RawRequest::new(server.socket_url()).token(&token::good(user));
    assert_eq!(server.refused(of("alice")).await.0, 4429);
    let (_third, _) = server.connect("bob", "").await;
    assert_eq!(server.refused(of("carol")).await.0, 1013);
    first.drop_connection();
    wait::until("room for one more", DEADLINE, || async {
        let total = server.node.connections.total();
        if total < 3 { Ok(()) } else { Err(format!("{total} connections")) }
    })
    .await;
    let (_fourth, _) = server.connect("alice", "").await;
}

/// Of a connection that broke without a word the server does not know; its device comes back all the same.
#[tokio::test]
async fn a_device_that_comes_back_takes_its_old_place_where_there_is_no_other() {
    let server = Server::roomy(&[("CONNECTIONS_PER_USER", "2"), ("CONNECTIONS_MAX", "3")]).await;
    let as_device = |device: &str| {
        RawRequest::new(format!("{}?device={device}", server.socket_url())).token(&token::good("alice"))
    };
    // This one does not read: a write to it waits, as one to a client that is out of reach.
    let deaf = RawSocket::connect(&as_device("phone").receive_buffer_bytes(4096)).await.unwrap();
    let (mut laptop, _) = server.connect("alice", "device=laptop").await;
    let event = json!({ "event": "E", "data": "x".repeat(900_000) }).to_string();
    for n in 1..=8 {
        let answer = server.call(&service(), "POST", "/v1/users/alice/events", &[], &event).await;
        assert_eq!(answer.status, 201);
        assert_eq!(laptop.next(DEADLINE).await.unwrap()["seq"], n);
    }
    assert_eq!(server.refused(as_device("tablet")).await.0, 4429);
    let (mut phone, _) = server.connect("alice", "device=phone").await;
    assert_eq!(server.node.connections.total(), 2);
    // Again, and the one before is there to be told.
    let (_stays, _) = server.connect("alice", "device=phone").await;
    assert_eq!(phone.close_code(DEADLINE).await.unwrap(), Some(4409));
    assert_eq!(ask(&mut laptop, "PING", "p", json!({})).await["type"], "PONG", "the laptop stays");
    // The node's bound, too.
    let (_third, _) = server.connect("bob", "device=phone").await;
    assert_eq!(
        server.refused(RawRequest::new(server.socket_url()).token(&token::good("carol"))).await.0,
        1013
    );
    let (_back, _) = server.connect("bob", "device=phone").await;
    assert_eq!(server.node.connections.total(), 3);
    drop(deaf);
}

#[tokio::test]
async fn what_is_no_handshake_is_told_so() {
    let server = Server::start().await;
    let url = format!("http://{}/ws/realtime", server.addr);
    let answer = testkit::http::get_as(&token::good("alice"), &url).await.unwrap();
    assert_eq!(answer.status, 426);
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert_eq!(answer.header("content-type"), Some("application/problem+json"));
    for missing in 0..handshake::HEADERS.len() {
        let headers: Vec<_> = (0..4).filter(|i| *i != missing).map(|i| handshake::HEADERS[i]).collect();
        let answered = handshake::get(&server.addr.to_string(), "/ws/realtime", &headers).await.unwrap();
        assert_eq!(answered.status, 426, "without {}", handshake::HEADERS[missing].0);
    }
    let post = testkit::http::request("POST", &url, &[], None).await.unwrap();
    assert_eq!(post.status, 405);
}

#[tokio::test]
async fn a_stopping_node_sends_new_connections_elsewhere() {
    let server = Server::with(&[("DRAIN_WINDOW", "10ms")]).await;
    assert_eq!(server.node.drain().await, 0);
    let answered = server.handshake(&format!("token={}", token::good("alice")), &[]).await;
    assert_eq!(answered.status, 503);
    let ready = testkit::http::get(&format!("http://{}/readyz", server.addr)).await.unwrap();
    assert_eq!(ready.status, 503);
    let alive = testkit::http::get(&format!("http://{}/livez", server.addr)).await.unwrap();
    assert_eq!(alive.status, 200);
}
