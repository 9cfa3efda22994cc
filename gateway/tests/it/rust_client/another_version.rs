//! Servers that say what this client does not know, or are none. They are written here, because there is no other
//! version to run.

use std::{net::Ipv4Addr, time::Duration};

use draftwire_client::{
    Client, Closed, Code, CommandError, ConnectError, ConnectionState, NewEvent, TopicItem,
};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
        protocol::CloseFrame,
    },
};

use super::in_time;

type Socket = WebSocketStream<TcpStream>;

/// A port of its own.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// Takes the next connection, with the subprotocol that the client offers.
async fn accept(listener: &TcpListener) -> Socket {
    let (stream, _) = listener.accept().await.unwrap();
    #[expect(clippy::result_large_err, reason = "the library's type")]
    let agree = |request: &Request, mut response: Response| {
        let offered = request.headers()["sec-websocket-protocol"].clone();
        response.headers_mut().insert("sec-websocket-protocol", offered);
        Ok(response)
    };
    accept_hdr_async(stream, agree).await.unwrap()
}

async fn say(socket: &mut Socket, message: &Value) {
    socket.send(Message::text(message.to_string())).await.unwrap();
}

/// Greets with fields that this version does not have.
async fn welcome(socket: &mut Socket) {
    let payload = json!({ "connectionId": "c", "userId": "alice", "device": "d", "node": "next", "epoch": "e",
        "seq": 0, "allSeq": 0, "heartbeatMs": 55000, "maxMessageBytes": 65536, "serverTime": 0,
        "regions": ["north"] });
    say(socket, &json!({ "type": "WELCOME", "payload": payload, "trace": 1 })).await;
}

/// The next command of a type.
async fn command(socket: &mut Socket, kind: &str) -> Value {
    loop {
        let message = socket.next().await.unwrap().unwrap();
        let Ok(text) = message.to_text() else { continue };
        let Ok(command) = serde_json::from_str::<Value>(text) else { continue };
        if command["type"] == kind {
            return command;
        }
    }
}

fn builder(url: &str) -> draftwire_client::Builder {
    Client::builder(url).backoff(Duration::from_millis(1), Duration::from_millis(20))
}

#[tokio::test]
async fn a_newer_server_is_understood_as_far_as_it_can_be() {
    let (listener, url) = listen().await;
    let serving = tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        welcome(&mut socket).await;
        say(&mut socket, &json!({ "type": "WEATHER", "payload": { "rain": true } })).await;
        say(&mut socket, &json!({ "type": "MOVED", "stream": "room", "seq": 7 })).await;
        let subscribe = command(&mut socket, "SUBSCRIBE").await;
        let at = json!({ "topic": "t", "epoch": "e", "seq": 0, "shard": 3 });
        let ack = json!({ "type": "ACK", "id": subscribe["id"], "payload": { "topics": [at] } });
        say(&mut socket, &ack).await;
        say(&mut socket, &json!({ "type": "POLL", "stream": "topic:t", "payload": {} })).await;
        say(&mut socket, &json!({ "type": "E", "stream": "topic:t", "seq": 1, "priority": "lowest" })).await;
        let publish = command(&mut socket, "PUBLISH").await;
        let refusal =
            json!({ "type": "ERROR", "id": publish["id"], "code": "quota_reached", "message": "no" });
        say(&mut socket, &refusal).await;
        socket
    });
    let client = in_time("a connection", builder(&url).connect()).await.unwrap();
    let mut topic = in_time("the answer", client.topic("t").subscribe()).await.unwrap();
    let item = in_time("the event", topic.next()).await.unwrap();
    assert!(matches!(&item, TopicItem::Event(event) if event.seq == 1), "{item:?}");
    let refused = in_time("the refusal", client.publish("t", NewEvent::new("E"))).await.unwrap_err();
    let code = Code::Other("quota_reached".to_owned());
    assert!(matches!(&refused, CommandError::Refused(refusal) if refusal.code == code), "{refused}");
    serving.await.unwrap();
}

#[tokio::test]
async fn a_server_that_knows_no_such_protocol_ends_the_client() {
    let (listener, url) = listen().await;
    let serving = tokio::spawn(async move {
        let mut socket = accept(&listener).await;
        let reason = "no supported subprotocol was offered".into();
        socket.close(Some(CloseFrame { code: 4400.into(), reason })).await.unwrap();
        while socket.next().await.is_some() {}
    });
    let client = builder(&url).start().unwrap();
    let is_closed = |state: &ConnectionState| matches!(state, ConnectionState::Closed(_));
    let state = in_time("the end", client.state().wait_for(is_closed)).await.unwrap().clone();
    let ConnectionState::Closed(Closed::Failed(error)) = state else { panic!("{state:?}") };
    assert!(matches!(*error, ConnectError::Closed { code: Some(4400), .. }), "{error}");
    serving.await.unwrap();
}

/// What is no Draftwire server is said by type, and asked again with pauses that grow.
#[tokio::test]
async fn a_server_that_breaks_the_protocol_is_left_and_not_pestered() {
    let (listener, url) = listen().await;
    let serving = tokio::spawn(async move {
        let nonsense = ["<html>", r#"{"type":"E","stream":"all","seq":5}"#, "[1]", r#"{"type":7}"#];
        for nonsense in nonsense.into_iter().cycle().take(12) {
            let mut socket = accept(&listener).await;
            welcome(&mut socket).await;
            socket.send(Message::text(nonsense)).await.unwrap();
            while let Some(Ok(_)) = socket.next().await {}
        }
    });
    let client = builder(&url).start().unwrap();
    let mut longest = Duration::ZERO;
    let mut state = client.state();
    while !serving.is_finished() {
        in_time("another state", state.changed()).await.unwrap();
        if let ConnectionState::Waiting { error, pause } = &*state.borrow_and_update() {
            assert!(
                matches!(**error, ConnectError::Violation(_) | ConnectError::Network(_)),
                "{error}: what was sent is said"
            );
            longest = longest.max(*pause);
        }
    }
    assert!(longest > Duration::from_millis(1), "the pauses grow although each connection was greeted");
    let nothing = builder("http://127.0.0.1:9").connect();
    let error = in_time("the refusal", nothing).await.unwrap_err();
    assert!(matches!(*error, ConnectError::Network(_)), "{error}");
    let server = crate::harness::Server::start().await;
    let elsewhere = builder(&format!("http://{}/v1/drafts", server.addr)).connect();
    let error = in_time("the refusal", elsewhere).await.unwrap_err();
    assert!(matches!(*error, ConnectError::Status(401)), "{error}");
    server.stop().await;
}
