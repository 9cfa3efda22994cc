//! Every command and every message in docs/asyncapi.yaml is met.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};
use testkit::{RawRequest, RawSocket, contract::documents, token};

use crate::{
    DEADLINE,
    harness::{ALL_TOPICS, Server},
};

/// The commands that were carried out, and the messages that came, by the names of their schemas.
#[derive(Default)]
struct Met {
    commands: BTreeSet<String>,
    messages: BTreeSet<String>,
}

impl Met {
    /// Opens a socket, and reads `WELCOME`.
    async fn connect(&mut self, server: &Server, token: &str, query: &str) -> RawSocket {
        let url = format!("{}?{query}", server.socket_url());
        let mut socket = RawSocket::connect(&RawRequest::new(url).token(token)).await.unwrap();
        self.until(&mut socket, "WelcomeMessage").await;
        socket
    }

    /// Reads on until a message of this schema comes.
    async fn until(&mut self, socket: &mut RawSocket, name: &str) -> Value {
        loop {
            let message = socket.next(DEADLINE).await.unwrap();
            let found = documents().name_of_message(&message).unwrap();
            self.messages.insert(found.clone());
            if found == name {
                return message;
            }
        }
    }

    /// Sends a command, and reads on until its answer comes.
    async fn ask(&mut self, socket: &mut RawSocket, kind: &str, payload: Value, answer: &str) -> Value {
        let command = json!({ "type": kind, "id": format!("{kind}-{answer}"), "payload": payload });
        socket.send(&command).await.unwrap();
        let message = self.until(socket, answer).await;
        assert_eq!(message["id"], command["id"], "{message}");
        if message["type"] != "ERROR" {
            self.commands.insert(documents().name_of_command(&command).unwrap());
        }
        message
    }

    async fn drafts(&mut self, server: &Server) {
        let alice = token::good("alice");
        let mut phone = self.connect(server, &alice, "device=phone").await;
        let created = json!({ "draftId": "d", "kind": null, "content": { "a": 1 } });
        self.ask(&mut phone, "DRAFT_CREATE", created, "DraftAck").await;
        let update = |value: u64| json!({ "draftId": "d", "baseVersion": 1, "patch": { "a": value } });
        self.ask(&mut phone, "DRAFT_UPDATE", update(2), "DraftAck").await;
        let refused = self.ask(&mut phone, "DRAFT_UPDATE", update(3), "ErrorMessage").await;
        assert_eq!(refused["payload"]["fields"], json!(["/a"]));
        self.ask(&mut phone, "DRAFT_LIST", json!(null), "DraftListAck").await;
        self.ask(&mut phone, "PING", json!({}), "PongMessage").await;
        let mut laptop = self.connect(server, &alice, "device=laptop&cursor=other:1").await;
        self.until(&mut laptop, "SnapshotMessage").await;
        self.until(&mut laptop, "SyncedMessage").await;
        self.ask(&mut phone, "DRAFT_DELETE", json!({ "draftId": "d", "baseVersion": 2 }), "DraftAck").await;
        for name in ["DraftCreatedEvent", "DraftUpdatedEvent", "DraftDeletedEvent"] {
            // They may have come before the answers.
            if !self.messages.contains(name) {
                self.until(&mut phone, name).await;
            }
        }
    }

    async fn topics(&mut self, server: &Server) {
        let mut bob = self.connect(server, &token::scoped("bob", ALL_TOPICS), "device=tv").await;
        let subscription = json!({ "topic": "room", "cursor": null, "presence": true });
        self.ask(&mut bob, "SUBSCRIBE", subscription, "SubscribeAck").await;
        self.until(&mut bob, "PresenceMessage").await;
        let some = token::scoped("carol", "subscribe:room publish:room");
        let mut carol = self.connect(server, &some, "device=phone").await;
        let list = json!({ "topics": [{ "topic": "room", "cursor": "other:4", "presence": true }, { "topic": "secret" }] });
        self.ask(&mut carol, "SUBSCRIBE", list, "SubscribeListAck").await;
        self.until(&mut carol, "MissedMessage").await;
        self.until(&mut bob, "JoinMessage").await;
        let event =
            json!({ "topic": "room", "event": "GOAL", "data": { "minute": 61 }, "priority": "critical" });
        self.ask(&mut carol, "PUBLISH", event, "PlainAck").await;
        self.until(&mut bob, "PublishedEvent").await;
        let signal = json!({ "topic": "room", "event": "TYPING", "signal": true });
        let said = self.ask(&mut carol, "PUBLISH", signal, "PlainAck").await;
        assert_eq!(said.get("seq"), None);
        self.until(&mut bob, "SignalMessage").await;
        self.ask(&mut carol, "UNSUBSCRIBE", json!({ "topics": ["room"] }), "PlainAck").await;
        self.until(&mut bob, "LeaveMessage").await;
        // Bob's new token does not allow the room.
        self.ask(&mut bob, "AUTH", json!({ "token": token::good("bob") }), "AuthAck").await;
        self.until(&mut bob, "UnsubscribedMessage").await;
    }

    async fn ends(&mut self, server: Server) {
        let short = token::short("dave", Duration::from_secs(3));
        let mut dave = self.connect(&server, &short, "device=phone").await;
        self.until(&mut dave, "TokenExpiringMessage").await;
        let leave = async {
            self.until(&mut dave, "ReconnectMessage").await;
            dave.drop_connection();
        };
        tokio::join!(server.node.drain(), leave);
    }
}

#[tokio::test]
async fn every_message_that_is_described_is_met() {
    let mut met = Met::default();
    let server = Server::with(&[("DRAIN_WINDOW", "100ms"), ("TOKEN_WARNING", "1h")]).await;
    met.drafts(&server).await;
    met.topics(&server).await;
    met.ends(server).await;
    assert_eq!(met.commands, documents().commands().into_iter().collect());
    assert_eq!(met.messages, documents().messages().into_iter().collect());
}
