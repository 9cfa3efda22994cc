//! A node is frozen (SIGSTOP) in the middle of its work, its sockets and transactions open: the others
//! go on, and it catches up when it thaws.

use std::time::Duration;

use testkit::Service;

use crate::{
    DEADLINE, cluster,
    load::{Fleet, Load},
    turn,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_others_go_on_and_it_catches_up() {
    let _turn = turn().await;
    let cluster = cluster().nodes(3).env("COMMANDS_PER_SECOND", "100000").start().await.unwrap();
    let fleet = Fleet::connect(&cluster, 4, 3).await;
    // Without pauses, so that the frost finds transactions under way.
    let load = Load::start(&fleet, Duration::from_millis(1));

    for node in &cluster.nodes {
        load.progress(50).await;
        let stuck = fleet.on_node(node.name());
        node.pause();
        for device in &stuck {
            device.wait_connected(DEADLINE, |at| at != node.name()).await;
        }
        load.progress(20).await;
        node.resume();
    }
    load.progress(20).await;
    load.finish(&fleet, &cluster).await;
}
