//! `GET /v1/topics/{topic}/presence`: who is here, asked of any node, without being here.

use std::sync::Arc;

use fanout::bus::{Bus, MemoryBus};
use serde_json::{Value, json};
use testkit::{Device, Topic, device::Change, token};

use crate::{
    DEADLINE,
    failing_store::FailingStore,
    harness::{ANY_PORT, Disk, Server, ask, problem, service, settings},
};

const ROOM: &str = "room:7";
const PATH: &str = "/v1/topics/room:7/presence";

async fn nodes(some: &[(&str, &str)]) -> [Server; 2] {
    let disk = Disk::new().await;
    let network = MemoryBus::network();
    let start = async |name| {
        let bus: Arc<dyn Bus> = network.join();
        let node = Server::assemble_at(ANY_PORT, &disk, bus, settings(name, some)).await;
        testkit::wait::until("the bus to be trusted", DEADLINE, || async {
            if node.node.hub.bus_is_trusted() { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await;
        node
    };
    [start("n1").await, start("n2").await]
}

async fn look(node: &Server) -> Value {
    let answer = node.call(&service(), "GET", PATH, &[], "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json
}

fn list(members: &[(&str, &str)], users: u64) -> Value {
    let member = |(user, device): &(&str, &str)| json!({ "userId": user, "device": device });
    let members: Vec<Value> = members.iter().map(member).collect();
    json!({ "members": members, "users": users, "devices": members.len(), "complete": true })
}

#[tokio::test]
async fn any_node_knows_who_is_here() {
    let nodes = nodes(&[]).await;
    let nobody = list(&[], 0);
    assert_eq!([look(&nodes[0]).await, look(&nodes[1]).await], [nobody.clone(), nobody]);
    let present = |node: usize, user: &str, device: &str| {
        Device::connect(nodes[node].follower(user, device).topic(Topic::named(ROOM).presence()))
    };
    let bob = present(0, "bob", "tv").await;
    let laptop = present(0, "alice", "laptop").await;
    let alice = present(0, "alice", "phone").await;
    // Nobody is here through the second one.
    let all = list(&[("alice", "laptop"), ("alice", "phone"), ("bob", "tv")], 2);
    for node in [1, 0, 1] {
        assert_eq!(look(&nodes[node]).await, all);
    }
    drop(laptop);
    bob.wait_until("see the laptop leave", DEADLINE, |r| r.topic(ROOM).unwrap().presence().counts().1 == 2)
        .await;
    assert_eq!(look(&nodes[1]).await, list(&[("alice", "phone"), ("bob", "tv")], 2));
    // Whoever looks is not seen.
    let changes = bob.look(|replica| replica.topic(ROOM).unwrap().presence().changes().to_vec());
    let known = |change: &Change| {
        let (Change::Came((user, _)) | Change::Left((user, _))) = change;
        matches!(user.as_deref(), Some("alice" | "bob"))
    };
    assert!(changes.iter().all(known), "{changes:?}");
    assert_eq!([alice.violations(), bob.violations()], [[], []]);
}

#[tokio::test]
async fn of_many_only_the_number_is_known() {
    let nodes = nodes(&[("PRESENCE_LIST_MAX", "2")]).await;
    let mut sockets = Vec::new();
    for (node, device) in [(0, "a"), (0, "b"), (1, "c")] {
        let (mut socket, _) = nodes[node].connect_to_topics("alice", &format!("device={device}")).await;
        let answer = ask(&mut socket, "SUBSCRIBE", "s", json!({ "topic": ROOM, "presence": true })).await;
        assert_eq!(answer["type"], "ACK", "{answer}");
        sockets.push(socket);
    }
    for node in &nodes {
        assert_eq!(look(node).await, json!({ "users": 1, "devices": 3, "complete": true }));
    }
}

#[tokio::test]
async fn whoever_may_follow_a_topic_may_look_who_is_here() {
    let server = Server::with(&[("PUBLIC_TOPICS", "lobby")]).await;
    for scope in ["subscribe:room:*", "service"] {
        assert_eq!(
            server.call(&token::scoped("bob", scope), "GET", PATH, &[], "").await.status,
            200,
            "{scope}"
        );
    }
    for scope in ["", "publish:room:*", "subscribe:room:8", "admin"] {
        problem(&server.call(&token::scoped("bob", scope), "GET", PATH, &[], "").await, 403, "forbidden");
    }
    problem(&server.call("", "GET", PATH, &[], "").await, 401, "unauthorized");
    let lobby = server.call("", "GET", "/v1/topics/lobby/presence", &[], "").await;
    assert_eq!((lobby.status, &lobby.json["devices"]), (200, &json!(0)));
    for path in ["/v1/topics/a%20b/presence", "/v1/topics/room:7/presence?wait=1"] {
        problem(&server.call(&service(), "GET", path, &[], "").await, 400, "bad_request");
    }
    problem(&server.call(&service(), "POST", PATH, &[], "").await, 405, "bad_request");
}

#[tokio::test]
async fn without_the_store_a_topic_that_is_followed_is_still_known() {
    let disk = Disk::new().await;
    let store = FailingStore::over(&disk);
    let server = Server::on(&Disk::over(store.clone()), &[]).await;
    let alice = Device::connect(server.follower("alice", "phone").topic(Topic::named(ROOM).presence())).await;
    alice.wait_until("be here", DEADLINE, |r| r.topic(ROOM).unwrap().presence().states() == 1).await;
    store.set_down(true);
    assert_eq!(look(&server).await["members"], json!([{ "userId": "alice", "device": "phone" }]));
    let other = server.call(&service(), "GET", "/v1/topics/room:8/presence", &[], "").await;
    problem(&other, 503, "unavailable");
}
