//! Stopping a node: clients are asked to move, and nothing that was committed stays unanswered.

use common::close::Close;
use serde_json::json;
use testkit::{RawSocket, token};
use tokio::time::timeout;

use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{Disk, Server, ask},
};

#[tokio::test]
async fn a_stopping_node_asks_its_clients_to_move_and_then_closes() {
    let server = Server::with(&[("DRAIN_WINDOW", "300ms")]).await;
    let (mut obedient, _) = server.connect("alice", "device=a").await;
    let (mut stubborn, _) = server.connect("alice", "device=b").await;
    let mover = tokio::spawn(async move {
        let reconnect = obedient.next_of("RECONNECT", DEADLINE).await.unwrap();
        assert!(reconnect["payload"]["inMs"].as_u64().unwrap() <= 300);
        obedient.send_close(Some(1000)).await.unwrap();
    });
    let stayer = tokio::spawn(async move {
        stubborn.next_of("RECONNECT", DEADLINE).await.unwrap();
        stubborn.close_code(DEADLINE).await.unwrap()
    });
    timeout(DEADLINE, server.stop()).await.expect("stopped in time");
    mover.await.unwrap();
    assert_eq!(stayer.await.unwrap(), Some(Close::Restart.code()));
}

/// Sends changes and tokens, several at a time, until the connection ends. Returns how many changes
/// were acknowledged.
async fn keep_asking(mut socket: RawSocket, token: String) -> u64 {
    ask(&mut socket, "DRAFT_CREATE", "c", json!({ "draftId": "d", "content": {} })).await;
    let (mut version, mut acked) = (0_u64, 1);
    loop {
        for n in 0..4 {
            version += 1;
            let patch = json!({ "draftId": "d", "baseVersion": version, "patch": { "n": version } });
            for (kind, id, payload) in [
                ("DRAFT_UPDATE", format!("u{version}"), patch),
                ("AUTH", format!("a{version}-{n}"), json!({ "token": token })),
            ] {
                // What the server has said before it closed is still to be read.
                let _ = socket.send(&json!({ "type": kind, "id": id, "payload": payload })).await;
            }
        }
        while acked < version + 1 {
            match socket.next(DEADLINE).await {
                Ok(message) if message["type"] == "ACK" => {
                    acked += u64::from(message["payload"]["version"].is_u64());
                }
                Ok(_) => {}
                Err(_) => return acked,
            }
        }
    }
}

#[tokio::test]
async fn commands_under_way_are_answered_before_a_stopping_node_closes() {
    let server = Server::with(&[("DRAIN_WINDOW", "300ms"), ("COMMANDS_PER_SECOND", "100000")]).await;
    let users = ["u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"];
    let mut clients = Vec::new();
    for user in users {
        let (socket, _) = server.connect(user, "device=a").await;
        clients.push(tokio::spawn(keep_asking(socket, token::good(user))));
    }
    let committed = async |user: &str| server.disk.store.drafts(&user.parse().unwrap()).await.unwrap().seq.0;
    for user in users {
        testkit::wait::until("some changes", DEADLINE, || async {
            let changes = committed(user).await;
            if changes > 10 { Ok(()) } else { Err(format!("{changes} changes")) }
        })
        .await;
    }
    assert_eq!(server.node.drain().await, 0);
    for (user, client) in users.into_iter().zip(clients) {
        let acked = timeout(DEADLINE, client).await.unwrap().unwrap();
        assert_eq!(acked, committed(user).await, "what was committed for {user} was acknowledged");
    }
}

#[tokio::test]
async fn one_command_without_an_answer_does_not_keep_back_those_of_others() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    store.set_lists_hang(true);
    store.hold_commits();
    let server = Server::on(&Disk::over(store.clone()), &[("DRAIN_WINDOW", "10ms")]).await;
    let (mut socket, _) = server.connect("alice", "").await;
    socket.send(&json!({ "type": "DRAFT_LIST", "id": "never" })).await.unwrap();
    let create = json!({ "type": "DRAFT_CREATE", "id": "c", "payload": { "draftId": "d", "content": {} } });
    socket.send(&create).await.unwrap();
    // The answer to PING says that both have been read.
    ask(&mut socket, "PING", "p", json!({})).await;
    let window = server.node.settings.websocket.drain_window;
    let client = async {
        socket.next_of("RECONNECT", DEADLINE).await.unwrap();
        // Long past the window: the connection waits for its answers by now.
        assert!(socket.next(20 * window).await.is_err(), "nothing can be answered yet");
        store.let_commits_go();
        let answer = socket.answer("c", DEADLINE).await.unwrap();
        assert_eq!(answer["type"], "ACK", "{answer}");
        assert_eq!(socket.close_code(DEADLINE).await.unwrap(), Some(Close::Restart.code()));
    };
    let (left, ()) = tokio::join!(server.node.drain(), client);
    assert_eq!(left, 0);
}
