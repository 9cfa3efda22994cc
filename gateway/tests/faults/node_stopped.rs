//! A node is stopped (SIGTERM): its devices are told to move, and no command fails.

use std::time::Duration;

use common::close::Close;
use testkit::{http, wait};

use crate::{
    DEADLINE,
    load::{Fleet, Load},
    patient_cluster, turn,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_are_moved_and_notice_nothing() {
    let _turn = turn().await;
    let mut cluster = patient_cluster().nodes(3).env("DRAIN_WINDOW", "4s").start().await.unwrap();
    let fleet = Fleet::connect(&cluster, 4, 3).await;
    let load = Load::start(&fleet, Duration::from_millis(50));
    load.progress(20).await;

    let moved = fleet.on_node("node1");
    assert!(!moved.is_empty());
    let readyz = cluster.nodes[0].http_url("/readyz");
    cluster.nodes[0].terminate();
    wait::until("a stopping node is not ready", DEADLINE, || async {
        match http::get(&readyz).await {
            Ok(answer) if answer.status == 200 => Err(answer.text),
            // Not ready, or not even there any more.
            _ => Ok(()),
        }
    })
    .await;
    let status = cluster.nodes[0].wait_exit(DEADLINE).await.unwrap();
    assert_eq!(status.code(), Some(0));
    load.progress(20).await;

    for device in &moved {
        let counters = device.counters();
        assert_eq!(counters.silent, 0, "{counters:?}");
        // Told to move, or, when it tried the stopping node again, that it restarts.
        let told = counters.moved > 0 || counters.closes.contains(&Close::Restart.code());
        assert!(told, "cut off without a word: {counters:?}");
    }
    load.finish(&fleet, &cluster).await;
}
