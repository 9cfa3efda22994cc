//! Who is here: told at once, kept by changes, counted where there are many.

use std::sync::Arc;

use fanout::bus::{Bus, MemoryBus};
use serde_json::{Value, json};
use testkit::{Device, DeviceOptions, RawSocket, Topic, device::Member};

use crate::{
    DEADLINE,
    harness::{ANY_PORT, Disk, Server, ask, settings, subscribe},
};

const ROOM: &str = "room:7";

async fn next(socket: &mut RawSocket) -> Value {
    socket.next(DEADLINE).await.unwrap()
}

/// Enters the room: the connection, and who is there.
async fn enter(server: &Server, user: &str, device: &str) -> (RawSocket, Value) {
    let (mut socket, _) = server.connect_to_topics(user, &format!("device={device}")).await;
    subscribe(&mut socket, json!({ "topic": ROOM, "presence": true })).await;
    let presence = next(&mut socket).await;
    assert_eq!((&presence["type"], &presence["stream"]), (&json!("PRESENCE"), &json!("topic:room:7")));
    (socket, presence["payload"].clone())
}

/// Somebody who came or left, as it is told.
fn change(kind: &str, user: &str, device: &str, users: u64, devices: u64) -> Value {
    json!({ "type": kind, "stream": "topic:room:7",
            "payload": { "userId": user, "device": device, "users": users, "devices": devices } })
}

fn member(user: &str, device: &str) -> Member {
    (Some(user.to_owned()), device.to_owned())
}

#[tokio::test]
async fn who_is_here_is_told_at_once_and_then_by_changes() {
    let server = Server::start().await;
    let (mut phone, here) = enter(&server, "alice", "phone").await;
    let alone = json!({ "members": [{ "userId": "alice", "device": "phone" }], "users": 1, "devices": 1 });
    assert_eq!(here, alone, "oneself included");
    let (bob, mut here) = enter(&server, "bob", "tv").await;
    here["members"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    let members = json!([{ "device": "phone", "userId": "alice" }, { "device": "tv", "userId": "bob" }]);
    assert_eq!(here, json!({ "members": members, "users": 2, "devices": 2 }));
    assert_eq!(next(&mut phone).await, change("JOIN", "bob", "tv", 2, 2));
    let (mut laptop, _) = enter(&server, "alice", "laptop").await;
    assert_eq!(next(&mut phone).await, change("JOIN", "alice", "laptop", 2, 3));
    bob.drop_connection();
    assert_eq!(next(&mut phone).await, change("LEAVE", "bob", "tv", 1, 2));
    assert_eq!(next(&mut laptop).await, change("LEAVE", "bob", "tv", 1, 2));
    ask(&mut laptop, "UNSUBSCRIBE", "u", json!({ "topic": ROOM })).await;
    assert_eq!(next(&mut phone).await, change("LEAVE", "alice", "laptop", 1, 1));
    laptop.send_close(Some(1000)).await.unwrap();
    // Whoever follows without presence is not seen, and sees nobody.
    let (mut silent, _) = server.connect_to_topics("carol", "").await;
    subscribe(&mut silent, json!({ "topic": ROOM })).await;
    let (_dan, _) = enter(&server, "dan", "phone").await;
    assert_eq!(next(&mut phone).await, change("JOIN", "dan", "phone", 2, 2));
    server.publish(ROOM, "E", json!(1)).await;
    assert_eq!(next(&mut silent).await["type"], "E");
    assert_eq!(next(&mut phone).await["type"], "E");
}

#[tokio::test]
async fn a_device_is_counted_once_however_many_connections_it_has() {
    let server = Server::start().await;
    let (mut watcher, _) = enter(&server, "bob", "tv").await;
    let (first, _) = enter(&server, "alice", "phone").await;
    assert_eq!(next(&mut watcher).await, change("JOIN", "alice", "phone", 2, 2));
    let (second, here) = enter(&server, "alice", "phone").await;
    assert_eq!((&here["users"], &here["devices"]), (&json!(2), &json!(2)));
    first.drop_connection();
    // Were the second counted, or the device taken for gone, that would come before this.
    let (_third, _) = enter(&server, "carol", "phone").await;
    assert_eq!(next(&mut watcher).await, change("JOIN", "carol", "phone", 3, 3));
    second.drop_connection();
    assert_eq!(next(&mut watcher).await, change("LEAVE", "alice", "phone", 2, 2));
}

#[tokio::test]
async fn whoever_has_no_token_is_a_user_of_its_own() {
    let server = Server::with(&[("PUBLIC_TOPICS", "room:*")]).await;
    let (mut watcher, _) = enter(&server, "alice", "phone").await;
    let mut kiosks = Vec::new();
    for n in 1..=2 {
        let name = format!("kiosk{n}");
        let (mut kiosk, _) = server.connect_as("", &format!("device={name}")).await;
        subscribe(&mut kiosk, json!({ "topic": ROOM, "presence": true })).await;
        let join = next(&mut watcher).await;
        let expected = json!({ "device": name, "users": n + 1, "devices": n + 1 });
        assert_eq!((&join["type"], &join["payload"]), (&json!("JOIN"), &expected));
        kiosks.push(kiosk);
    }
    drop(kiosks.remove(0));
    let leave = next(&mut watcher).await;
    assert_eq!((&leave["type"], &leave["payload"]["device"]), (&json!("LEAVE"), &json!("kiosk1")));
}

#[tokio::test]
async fn above_the_limit_there_are_only_counts() {
    let server = Server::with(&[("PRESENCE_LIST_MAX", "3"), ("CONNECTIONS_PER_USER", "100")]).await;
    let options = server.follower("alice", "watcher").topic(Topic::named(ROOM).presence());
    let watcher = Device::connect(options).await;
    let mut others = Vec::new();
    for n in 0..6 {
        others.push(enter(&server, &format!("user{}", n % 3), &format!("d{n}")).await.0);
    }
    let counts = |wanted: (u64, u64), listed: bool| {
        let watcher = &watcher;
        async move {
            watcher
                .wait_until(&format!("count {wanted:?}"), DEADLINE, |replica| {
                    let presence = replica.topic(ROOM).unwrap().presence();
                    presence.counts() == wanted && presence.members().is_some() == listed
                })
                .await;
        }
    };
    counts((4, 7), false).await;
    let (mut late, here) = enter(&server, "late", "d").await;
    assert_eq!((here.get("members"), &here["devices"]), (None, &json!(8)));
    others.truncate(1);
    ask(&mut late, "UNSUBSCRIBE", "u", json!({ "topic": ROOM })).await;
    counts((2, 2), true).await;
    watcher.look(|replica| {
        let members = replica.topic(ROOM).unwrap().presence().members().cloned().unwrap();
        assert_eq!(
            members.into_iter().collect::<Vec<_>>(),
            [member("alice", "watcher"), member("user0", "d0")]
        );
    });
    assert_eq!(watcher.violations(), []);
}

#[tokio::test]
async fn presence_crosses_nodes() {
    let disk = Disk::new().await;
    let network = MemoryBus::network();
    let start = async |name| {
        let bus: Arc<dyn Bus> = network.join();
        Server::assemble_at(ANY_PORT, &disk, bus, settings(name, &[])).await
    };
    let nodes = [start("n1").await, start("n2").await];
    let present = |node: usize, user: &str, device: &str| {
        Device::connect(nodes[node].follower(user, device).topic(Topic::named(ROOM).presence()))
    };
    let here = async |device: &Device, members: &[Member]| {
        device
            .wait_until(&format!("see {members:?}"), DEADLINE, |replica| {
                let presence = replica.topic(ROOM).unwrap().presence();
                presence.members().is_some_and(|here| here.iter().eq(members))
            })
            .await;
    };
    let alice = present(0, "alice", "phone").await;
    let bob = present(1, "bob", "tv").await;
    let both = [member("alice", "phone"), member("bob", "tv")];
    here(&alice, &both).await;
    here(&bob, &both).await;
    // The same device on both nodes is one.
    let twin = present(1, "alice", "phone").await;
    here(&twin, &both).await;
    drop(twin);
    let laptop = present(1, "alice", "laptop").await;
    let all = [member("alice", "laptop"), member("alice", "phone"), member("bob", "tv")];
    here(&alice, &all).await;
    here(&bob, &all).await;
    drop(laptop);
    here(&alice, &both).await;
    here(&bob, &both).await;
    drop(bob);
    here(&alice, &both[..1]).await;
    assert_eq!(alice.violations(), []);
    let left = alice.look(|replica| replica.topic(ROOM).unwrap().presence().changes().to_vec());
    let phone_left =
        left.iter().any(|change| *change == testkit::device::Change::Left(member("alice", "phone")));
    assert!(!phone_left, "the twin's end was taken for the device's: {left:?}");
}

#[tokio::test]
async fn who_comes_back_is_told_anew() {
    let server = Server::start().await;
    let topic = || Topic::named(ROOM).presence();
    let options: DeviceOptions = server.follower("alice", "phone").topic(topic());
    let alice = Device::connect(options).await;
    alice.wait_until("be told", DEADLINE, |r| r.topic(ROOM).unwrap().presence().states() == 1).await;
    alice.go_offline();
    let (_bob, _) = enter(&server, "bob", "tv").await;
    alice.go_online();
    alice
        .wait_until("see bob", DEADLINE, |replica| {
            let presence = replica.topic(ROOM).unwrap().presence();
            presence.states() >= 2 && presence.counts() == (2, 2)
        })
        .await;
    assert_eq!(alice.violations(), []);
}
