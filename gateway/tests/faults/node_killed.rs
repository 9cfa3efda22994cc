//! A node is killed: its devices resume on the others, and nothing is lost or repeated.

use std::time::Duration;

use testkit::{DeviceOptions, Service};

use crate::{
    DEADLINE, cluster,
    load::{Fleet, Load},
    turn,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_resume_on_other_nodes() {
    let _turn = turn().await;
    let mut cluster = cluster().nodes(3).start().await.unwrap();
    let fleet = Fleet::connect(&cluster, 4, 3).await;
    let load = Load::start(&fleet, Duration::from_millis(50));
    load.progress(20).await;

    // Twice, so that the devices of the second have come from the first.
    for victim in 0..2 {
        let name = cluster.nodes[victim].name().to_owned();
        let moved = fleet.on_node(&name);
        assert!(!moved.is_empty(), "nobody is on {name}");
        cluster.nodes[victim].kill9();
        for device in &moved {
            device.wait_connected(DEADLINE, |node| node != name).await;
        }
        load.progress(20).await;
        cluster.nodes[victim].start_again().await.unwrap();
    }
    load.progress(10).await;
    load.finish(&fleet, &cluster).await;
}

/// What a node has committed and not yet told anybody when it dies is found all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_last_commits_reach_the_others() {
    let _turn = turn().await;
    let mut cluster = cluster().nodes(2).env("COMMANDS_PER_SECOND", "100000").start().await.unwrap();
    // The writers know no other node, so nothing that they do afterwards shows what is missing.
    let fleet = Fleet::connect_with(6, 2, |user, device, _| {
        let node = usize::from(device != "device0");
        DeviceOptions::new(vec![cluster.nodes[node].ws_url()], user, device)
    })
    .await;
    let load = Load::start_with_listeners(&fleet, Duration::from_millis(1));
    for _ in 0..3 {
        load.progress(30).await;
        cluster.nodes[0].kill9();
        for user in &fleet.users {
            cluster.assert_converged(&[&*user.devices[1]], DEADLINE).await;
        }
        cluster.nodes[0].start_again().await.unwrap();
    }
    load.progress(10).await;
    load.finish(&fleet, &cluster).await;
}
