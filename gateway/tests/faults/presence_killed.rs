//! Who is here when nodes and the bus fail: the dead leave, and nobody else does.

use std::{collections::BTreeSet, time::Duration};

use futures_util::future::join_all;
use testkit::{
    Cluster, Device, DeviceOptions, Service, Topic,
    device::{Change, Member, Replica},
    http, token,
};
use tokio::time::{Instant, sleep};

use crate::{DEADLINE, bus_is_trusted, patient_cluster, turn};

const ROOM: &str = "room:7";

/// Nobody is here through the second node.
const OTHER_ROOM: &str = "room:8";

const LEASE: Duration = Duration::from_secs(7);

fn member(device: &Device) -> Member {
    (Some(device.name().to_owned()), device.name().to_owned())
}

/// A device in the room, of a user of its name, that begins at a node, and stays there if told so.
async fn present(cluster: &Cluster, name: &str, node: usize, stays: bool) -> Device {
    let mut urls = cluster.ws_urls(node);
    if stays {
        urls.truncate(1);
    }
    Device::connect(DeviceOptions::follower(urls, name, name).topic(Topic::named(ROOM).presence())).await
}

fn members(replica: &Replica) -> BTreeSet<Member> {
    replica.topic(ROOM).and_then(|track| track.presence().members().cloned()).unwrap_or_default()
}

async fn all_see<'a>(devices: impl IntoIterator<Item = &'a Device>, wanted: &BTreeSet<Member>) {
    for device in devices {
        let what = format!("see {} members", wanted.len());
        device.wait_until(&what, DEADLINE, |replica| members(replica) == *wanted).await;
    }
}

fn left(device: &Device) -> Vec<Member> {
    let changes = device.look(|replica| replica.topic(ROOM).unwrap().presence().changes().to_vec());
    let left = changes.into_iter().filter_map(|change| match change {
        Change::Left(member) => Some(member),
        Change::Came(_) => None,
    });
    left.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_of_a_dead_node_leave_and_nobody_else() {
    let _turn = turn().await;
    let mut cluster = patient_cluster().nodes(3).env("PRESENCE_LEASE", "3s").start().await.unwrap();
    let names: Vec<String> = (0..12).map(|n| format!("user{n}")).collect();
    let entering = names.iter().enumerate().map(|(n, name)| present(&cluster, name, n % 2, false));
    let here = join_all(entering).await;
    // These have nowhere to go; those have.
    let lost = [present(&cluster, "lost0", 2, true).await, present(&cluster, "lost1", 2, true).await];
    let moving = [present(&cluster, "moving0", 2, false).await, present(&cluster, "moving1", 2, false).await];
    let everybody: BTreeSet<Member> = here.iter().chain(&lost).chain(&moving).map(member).collect();
    all_see(here.iter().chain(&lost).chain(&moving), &everybody).await;

    bus_is_trusted(&cluster).await;
    let killed = Instant::now();
    cluster.nodes[2].kill9();
    for device in &moving {
        device.wait_connected(DEADLINE, |node| node != "node3").await;
    }
    let gone: BTreeSet<Member> = lost.iter().map(member).collect();
    let remaining: BTreeSet<Member> = everybody.difference(&gone).cloned().collect();
    all_see(here.iter().chain(&moving), &remaining).await;
    println!("the last of a dead node was gone {:.1?} after its end, with a lease of 3 s", killed.elapsed());
    for device in &here {
        let left = left(device);
        assert_eq!(left.iter().cloned().collect::<BTreeSet<_>>(), gone, "{} saw others leave", device.name());
        assert_eq!(left.len(), gone.len(), "{} saw somebody leave twice: {left:?}", device.name());
        assert_eq!(device.violations(), [], "{}", device.name());
        assert_eq!(device.counters().connections, 1);
    }
    for device in &moving {
        assert_eq!(device.violations(), [], "{}", device.name());
    }
    // And they come back with it.
    cluster.nodes[2].start_again().await.unwrap();
    all_see(here.iter().chain(&moving).chain(&lost), &everybody).await;
}

/// Who is in a room, asked of a node over HTTP; and whether the node says that this is all.
async fn look(cluster: &Cluster, node: usize, room: &str) -> (BTreeSet<Member>, bool) {
    let url = cluster.nodes[node].http_url(&format!("/v1/topics/{room}/presence"));
    let answer = http::get_as(&token::scoped("backend", "service"), &url).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let members = answer.json["members"].as_array().unwrap().iter().map(|member| {
        let text = |name: &str| member[name].as_str().unwrap().to_owned();
        (Some(text("userId")), text("device"))
    });
    (members.collect(), answer.json["complete"] == true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_leaves_because_redis_is_gone() {
    let _turn = turn().await;
    let lease = format!("{}s", LEASE.as_secs());
    let mut cluster = patient_cluster().nodes(2).env("PRESENCE_LEASE", &lease).start().await.unwrap();
    let mut here = Vec::new();
    for n in 0..6 {
        here.push(present(&cluster, &format!("user{n}"), n % 2, true).await);
    }
    let everybody: BTreeSet<Member> = here.iter().map(member).collect();
    all_see(&here, &everybody).await;
    bus_is_trusted(&cluster).await;
    let in_other = Topic::named(OTHER_ROOM).presence();
    let other =
        Device::connect(DeviceOptions::follower(vec![cluster.nodes[0].ws_url()], "x", "x").topic(in_other))
            .await;
    let seen = |replica: &Replica| replica.topic(OTHER_ROOM).is_some_and(|room| room.presence().states() > 0);
    other.wait_until("be here", DEADLINE, seen).await;
    // Also through a node through which nobody is in the room.
    for node in 0..2 {
        assert_eq!(look(&cluster, node, ROOM).await, (everybody.clone(), true));
        assert_eq!(look(&cluster, node, OTHER_ROOM).await, (BTreeSet::from([member(&other)]), true));
    }

    cluster.redis.stop().await.unwrap();
    sleep(LEASE + LEASE / 2).await;
    // What a node says then is what it has heard, and it says so.
    assert_eq!(look(&cluster, 1, ROOM).await, (everybody.clone(), false));
    assert_eq!(look(&cluster, 1, OTHER_ROOM).await, (BTreeSet::new(), false));
    for device in &here {
        assert_eq!(left(device), [], "{}", device.name());
    }
    // One leaves its node in the meantime, which the other can know only later.
    let leaver = here.remove(0);
    let gone = member(&leaver);
    drop(leaver);
    let remaining: BTreeSet<Member> = here.iter().map(member).collect();
    all_see(here.iter().filter(|device| device.node().as_deref() == Some("node1")), &remaining).await;
    cluster.redis.start_again().await.unwrap();
    all_see(&here, &remaining).await;
    let new = present(&cluster, "new", 0, true).await;
    let with_new: BTreeSet<Member> = remaining.into_iter().chain([member(&new)]).collect();
    all_see(here.iter().chain([&new]), &with_new).await;
    for device in &here {
        assert_eq!(left(device), std::slice::from_ref(&gone), "{} saw others leave", device.name());
        assert_eq!(device.violations(), [], "{}", device.name());
    }
}
