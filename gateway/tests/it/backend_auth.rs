//! The application's backend is asked about rights: what it says holds, and what is no answer is never a yes.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::Bytes;
use futures_util::{future::join_all, stream};
use serde_json::{Value, json};
use testkit::{RawRequest, RawSocket, token, wait};
use tokio::{sync::watch, task::JoinHandle};

use crate::{
    DEADLINE,
    harness::{Server, ask, problem, refused, subscribe},
};

/// How the backend behaves.
#[derive(Clone)]
enum Mode {
    /// Answers with a status and a body.
    Answers(u16, String),
    /// Sends to another address, which would allow.
    Redirects,
    /// Says yes after megabytes.
    Floods,
    /// Says yes once the gate is open.
    Waits,
    /// Never answers.
    Hangs,
}

/// What was asked: the path, who asked, and the question.
type Asked = (String, Option<String>, Value);

/// An application's backend, on a port of its own.
struct Backend {
    addr: std::net::SocketAddr,
    mode: watch::Sender<Mode>,
    gate: watch::Sender<bool>,
    asked: Arc<Mutex<Vec<Asked>>>,
    serving: JoinHandle<()>,
}

impl Backend {
    async fn start() -> Self {
        let (mode, gate) = (watch::Sender::new(yes()), watch::Sender::new(false));
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (modes, gates, notes) = (mode.subscribe(), gate.subscribe(), asked.clone());
        let answer = move |path: &'static str| {
            let (modes, gates, notes) = (modes.clone(), gates.clone(), notes.clone());
            post(async move |headers: HeaderMap, body: Bytes| {
                let who = headers.get(header::AUTHORIZATION).map(|who| who.to_str().unwrap().to_owned());
                let question = serde_json::from_slice(&body).unwrap();
                notes.lock().unwrap().push((path.to_owned(), who, question));
                let mode = modes.borrow().clone();
                answer(mode, gates).await
            })
        };
        let router = Router::new()
            .route("/subscribe", answer("/subscribe"))
            .route("/connect", answer("/connect"))
            .route("/yes", post(async || r#"{"allow":true}"#).get(async || r#"{"allow":true}"#));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { addr, mode, gate, asked, serving }
    }

    /// A node that asks it about topics, with more settings.
    async fn node(&self, more: &[(&str, &str)]) -> Server {
        let url = format!("http://{}/subscribe", self.addr);
        Server::with(&[&[("SUBSCRIBE_AUTH_URL", url.as_str())], more].concat()).await
    }

    fn behaves(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Waits until it has been asked so often.
    async fn was_asked(&self, times: usize) {
        wait::until("the backend to be asked", DEADLINE, || async {
            let asked = self.asked().len();
            if asked >= times { Ok(()) } else { Err(format!("{asked} times")) }
        })
        .await;
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(mode: Mode, mut gate: watch::Receiver<bool>) -> Response {
    match mode {
        Mode::Answers(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Mode::Redirects => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/yes")]).into_response(),
        Mode::Floods => {
            let spaces = (0..64).map(|_| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 64 * 1024])));
            let yes = std::iter::once(Ok(Bytes::from_static(br#"{"allow":true}"#)));
            Body::from_stream(stream::iter(spaces.chain(yes))).into_response()
        }
        Mode::Waits => {
            gate.wait_for(|open| *open).await.unwrap();
            r#"{"allow":true}"#.into_response()
        }
        Mode::Hangs => std::future::pending().await,
    }
}

fn yes() -> Mode {
    Mode::Answers(200, r#"{"allow":true}"#.to_owned())
}

/// A yes for a second, which is the shortest.
fn short_yes() -> Mode {
    Mode::Answers(200, r#"{"allow":true,"ttlMs":1000}"#.to_owned())
}

fn no(reason: &str) -> Mode {
    Mode::Answers(200, json!({ "allow": false, "reason": reason }).to_string())
}

/// What is no answer, each with a name for whoever reads a failed test.
fn no_answers() -> Vec<(&'static str, Mode)> {
    let answers = |status, body: &str| Mode::Answers(status, body.to_owned());
    vec![
        ("500", answers(500, r#"{"allow":true}"#)),
        ("403", answers(403, r#"{"allow":false}"#)),
        ("201", answers(201, r#"{"allow":true}"#)),
        ("empty", answers(200, "")),
        ("garbage", answers(200, "<html>yes</html>")),
        ("no allow", answers(200, r#"{"ok":true}"#)),
        ("text", answers(200, r#"{"allow":"true"}"#)),
        ("ttl", answers(200, r#"{"allow":true,"ttlMs":-1}"#)),
        ("redirect", Mode::Redirects),
        ("megabytes", Mode::Floods),
        ("hangs", Mode::Hangs),
    ]
}

async fn try_subscribe(socket: &mut RawSocket, topic: &str) -> Value {
    ask(socket, "SUBSCRIBE", "s", json!({ "topic": topic })).await
}

#[tokio::test]
async fn the_backend_is_asked_about_what_nothing_else_allows() {
    let backend = Backend::start().await;
    let server = backend.node(&[("PUBLIC_TOPICS", "news"), ("BACKEND_AUTH_SECRET", "who-we-are")]).await;
    let token = token::scoped("alice", "subscribe:mine");
    let (mut socket, _) = server.connect_as(&token, "device=phone").await;
    for topic in ["news", "mine"] {
        subscribe(&mut socket, json!({ "topic": topic })).await;
    }
    assert_eq!(backend.asked(), []);
    subscribe(&mut socket, json!({ "topic": "room:7" })).await;
    let question =
        json!({ "type": "subscribe", "user": "alice", "topic": "room:7", "scope": "subscribe:mine" });
    assert_eq!(backend.asked(), [("/subscribe".to_owned(), Some("Bearer who-we-are".to_owned()), question)]);
    server.publish("room:7", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["stream"], "topic:room:7");
    // The answer is for all of the user's devices, and for reading.
    let (mut laptop, _) = server.connect_as(&token, "device=laptop").await;
    subscribe(&mut laptop, json!({ "topic": "room:7" })).await;
    let history = server.call(&token, "GET", "/v1/topics/room:7/events", &[], "").await;
    assert_eq!((history.status, &history.json["head"]), (200, &json!(1)));
    assert_eq!(backend.asked().len(), 1);
    // It is no right to publish.
    let publish = json!({ "topic": "room:7", "event": "E" });
    refused(&ask(&mut socket, "PUBLISH", "p", publish).await, "forbidden");

    backend.behaves(no("the room is full"));
    let denied = try_subscribe(&mut socket, "room:8").await;
    refused(&denied, "forbidden");
    assert_eq!(denied["message"], "the room is full");
    let list = json!({ "topics": [{ "topic": "room:8" }, { "topic": "mine" }] });
    let list = ask(&mut socket, "SUBSCRIBE", "l", list).await;
    assert_eq!(
        (&list["payload"]["topics"][0]["code"], &list["payload"]["topics"][1]["seq"]),
        (&json!("forbidden"), &json!(0))
    );
    for path in ["/v1/topics/room:8/events", "/v1/stream?topics=mine,room:8"] {
        problem(&server.call(&token, "GET", path, &[], "").await, 403, "forbidden");
    }
    assert_eq!(backend.asked().len(), 2, "a no is remembered, too");
}

#[tokio::test]
async fn nobody_is_asked_about_visitors() {
    let backend = Backend::start().await;
    let connect = format!("http://{}/connect", backend.addr);
    let server = backend.node(&[("PUBLIC_TOPICS", "news"), ("CONNECT_AUTH_URL", &connect)]).await;
    let (mut socket, _) = server.connect_as("", "").await;
    refused(&try_subscribe(&mut socket, "room").await, "unauthorized");
    problem(&server.call("", "GET", "/v1/topics/room/events", &[], "").await, 401, "unauthorized");
    assert_eq!(backend.asked(), []);
}

#[tokio::test]
async fn what_is_no_answer_is_unavailable_and_no_yes() {
    let backend = Backend::start().await;
    let server = backend.node(&[("BACKEND_AUTH_TIMEOUT", "500ms")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    let token = token::good("alice");
    for (name, mode) in no_answers() {
        backend.behaves(mode);
        let answer = try_subscribe(&mut socket, "room").await;
        assert_eq!(answer["code"], "unavailable", "{name}: {answer}");
    }
    backend.behaves(Mode::Hangs);
    for path in ["/v1/topics/room/events", "/v1/stream?topics=room"] {
        problem(&server.call(&token, "GET", path, &[], "").await, 503, "unavailable");
    }
    // It is asked anew as soon as somebody wants to know.
    backend.behaves(yes());
    subscribe(&mut socket, json!({ "topic": "room" })).await;
}

#[tokio::test]
async fn a_backend_that_is_not_there_lets_nobody_in() {
    // A port of this test's own, on which nobody listens.
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = unused.local_addr().unwrap().port();
    drop(unused);
    let server = Server::with(&[("SUBSCRIBE_AUTH_URL", &format!("http://127.0.0.1:{port}/subscribe"))]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    refused(&try_subscribe(&mut socket, "room").await, "unavailable");
}

#[tokio::test]
async fn equal_questions_are_asked_once() {
    let backend = Backend::start().await;
    backend.behaves(Mode::Waits);
    let server = backend.node(&[("BACKEND_AUTH_TIMEOUT", "20s")]).await;
    let mut sockets = Vec::new();
    for n in 0..10 {
        let (mut socket, _) = server.connect("alice", &format!("device=d{n}")).await;
        let subscribe = json!({ "type": "SUBSCRIBE", "id": "s", "payload": { "topic": "room" } });
        socket.send(&subscribe).await.unwrap();
        sockets.push(socket);
    }
    backend.was_asked(1).await;
    // One that goes takes the answer from nobody.
    sockets.remove(0).drop_connection();
    // All commands have been read once these are answered.
    let pings = sockets.iter_mut().map(|socket| ask(socket, "PING", "p", json!({})));
    assert!(join_all(pings).await.iter().all(|pong| pong["type"] == "PONG"));
    backend.gate.send_replace(true);
    for socket in &mut sockets {
        assert_eq!(socket.answer("s", DEADLINE).await.unwrap()["type"], "ACK");
    }
    assert_eq!(backend.asked().len(), 1);
}

#[tokio::test]
async fn a_topic_is_left_when_the_backend_changes_its_mind() {
    let backend = Backend::start().await;
    backend.behaves(short_yes());
    let server = backend.node(&[]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    subscribe(&mut socket, json!({ "topic": "room" })).await;
    // It is asked again while the topic is followed, and a yes changes nothing.
    backend.was_asked(2).await;
    server.publish("room", "E", json!(1)).await;
    assert_eq!(socket.next(DEADLINE).await.unwrap()["seq"], 1);
    backend.behaves(no("expelled"));
    let ended = socket.next_of("UNSUBSCRIBED", DEADLINE).await.unwrap();
    assert_eq!(ended["stream"], "topic:room");
    assert_eq!(ended["payload"], json!({ "code": "forbidden", "message": "expelled" }));
    server.publish("room", "E", json!(2)).await;
    assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
    refused(&try_subscribe(&mut socket, "room").await, "forbidden");
}

#[tokio::test]
async fn a_topic_is_followed_on_while_the_backend_is_down_up_to_a_bound() {
    let backend = Backend::start().await;
    backend.behaves(short_yes());
    let patient = backend.node(&[("BACKEND_AUTH_GRACE", "1h")]).await;
    let strict = backend.node(&[("BACKEND_AUTH_GRACE", "0s")]).await;
    let (mut kept, _) = patient.connect("alice", "").await;
    let (mut lost, _) = strict.connect("bob", "").await;
    subscribe(&mut kept, json!({ "topic": "room" })).await;
    subscribe(&mut lost, json!({ "topic": "room" })).await;
    backend.behaves(Mode::Answers(500, String::new()));
    let ended = lost.next_of("UNSUBSCRIBED", DEADLINE).await.unwrap();
    assert_eq!(ended["payload"]["code"], "unavailable");
    wait::until("alice's right to have been asked about in vain", DEADLINE, || async {
        let about = backend.asked().iter().filter(|(_, _, question)| question["user"] == "alice").count();
        if about >= 3 { Ok(()) } else { Err(format!("{about} times")) }
    })
    .await;
    patient.publish("room", "E", json!(1)).await;
    assert_eq!(kept.next(DEADLINE).await.unwrap()["seq"], 1);
    // What is new is not let in meanwhile.
    let (mut laptop, _) = patient.connect("alice", "device=laptop").await;
    refused(&try_subscribe(&mut laptop, "room").await, "unavailable");
    backend.behaves(no("gone"));
    assert_eq!(kept.next_of("UNSUBSCRIBED", DEADLINE).await.unwrap()["payload"]["code"], "forbidden");
}

#[tokio::test]
async fn a_new_token_has_the_backend_asked_again() {
    let backend = Backend::start().await;
    let server = backend.node(&[("BACKEND_AUTH_TTL", "1h")]).await;
    let (mut socket, _) = server.connect_as(&token::scoped("alice", "member"), "").await;
    subscribe(&mut socket, json!({ "topic": "room" })).await;
    backend.behaves(no("members alone"));
    ask(&mut socket, "AUTH", "a", json!({ "token": token::scoped("alice", "guest") })).await;
    let ended = socket.next_of("UNSUBSCRIBED", DEADLINE).await.unwrap();
    assert_eq!(ended["payload"]["message"], "members alone");
    assert_eq!(backend.asked()[1].2["scope"], "guest");
}

#[tokio::test]
async fn an_event_stream_ends_with_the_yes_of_the_backend() {
    let backend = Backend::start().await;
    backend.behaves(short_yes());
    let server = backend.node(&[]).await;
    let token = token::good("alice");
    // It ends by itself, or this would wait for ever.
    let first = server.call(&token, "GET", "/v1/stream?topics=room", &[], "").await;
    assert!(first.status == 200 && first.text.contains("event: WELCOME"), "{}", first.text);
    backend.behaves(no("expelled"));
    problem(&server.call(&token, "GET", "/v1/stream?topics=room", &[], "").await, 403, "forbidden");
}

#[tokio::test]
async fn the_backend_is_asked_who_may_connect() {
    let backend = Backend::start().await;
    let url = format!("http://{}/connect", backend.addr);
    let server = Server::with(&[("CONNECT_AUTH_URL", url.as_str()), ("BACKEND_AUTH_TIMEOUT", "500ms")]).await;
    let token = token::scoped("alice", "subscribe:room");
    let (mut socket, _) = server.connect_as(&token, "device=phone").await;
    let question =
        json!({ "type": "connect", "user": "alice", "device": "phone", "scope": "subscribe:room" });
    assert_eq!(backend.asked(), [("/connect".to_owned(), None, question)]);
    // Topics are another question, and requests are none.
    refused(&try_subscribe(&mut socket, "other").await, "forbidden");
    assert_eq!(server.call(&token, "GET", "/v1/drafts", &[], "").await.status, 200);
    assert_eq!(backend.asked().len(), 1);

    let request =
        |device: &str| RawRequest::new(format!("{}?device={device}", server.socket_url())).token(&token);
    for (name, mode) in no_answers() {
        backend.behaves(mode);
        let (code, reason) = server.refused(request("tv")).await;
        assert_eq!(code, 1013, "{name}: {reason}");
    }
    problem(&server.call(&token, "GET", "/v1/stream?device=tv", &[], "").await, 503, "unavailable");
    backend.behaves(no(&"suspended, ".repeat(100)));
    let (code, reason) = server.refused(request("tv")).await;
    assert!(code == 4403 && reason.starts_with("suspended"), "{code} {reason}");
    problem(&server.call(&token, "GET", "/v1/stream?device=tv", &[], "").await, 403, "forbidden");
    // Who was let in stays.
    assert_eq!(ask(&mut socket, "PING", "p", json!({})).await["type"], "PONG");
}

/// What the backend has said before holds no longer for whom an operator disconnects.
#[tokio::test]
async fn after_a_disconnection_the_backend_is_asked_anew() {
    let backend = Backend::start().await;
    let url = format!("http://{}/connect", backend.addr);
    let server = Server::with(&[("CONNECT_AUTH_URL", url.as_str()), ("BACKEND_AUTH_TTL", "1h")]).await;
    let (mut socket, _) = server.connect("alice", "device=phone").await;
    backend.behaves(no("blocked"));
    let (mut again, _) = server.connect("alice", "device=phone").await;
    assert_eq!(backend.asked().len(), 1, "the yes is remembered");
    let admin = token::scoped("operator", "admin");
    let answer = server.call(&admin, "POST", "/v1/admin/users/alice/disconnect", &[], "").await;
    assert_eq!(answer.status, 202, "{}", answer.text);
    for socket in [&mut socket, &mut again] {
        assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(4410));
    }
    let request =
        RawRequest::new(format!("{}?device=phone", server.socket_url())).token(&token::good("alice"));
    assert_eq!(server.refused(request).await, (4403, "blocked".to_owned()));
}
