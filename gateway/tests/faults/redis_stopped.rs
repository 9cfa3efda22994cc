//! Redis is gone for a while: events reach other nodes by the sweep, and live again when it is back.

use std::time::Duration;

use testkit::{Cluster, Service, wait};

use crate::{
    DEADLINE, cluster,
    load::{Fleet, Load},
    turn,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_while_it_is_down() {
    let _turn = turn().await;
    let mut cluster = cluster().nodes(3).start().await.unwrap();
    let fleet = Fleet::connect(&cluster, 4, 3).await;
    let load = Load::start_with_listeners(&fleet, Duration::from_millis(50));
    copies_arrive(&cluster).await;

    cluster.redis.stop().await.unwrap();
    load.progress(100).await;
    fleet.everybody_catches_up().await;
    cluster.redis.start_again().await.unwrap();
    copies_arrive(&cluster).await;
    load.progress(20).await;
    load.finish(&fleet, &cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_while_it_is_frozen() {
    let _turn = turn().await;
    let cluster = cluster().nodes(2).start().await.unwrap();
    let fleet = Fleet::connect(&cluster, 3, 2).await;
    let load = Load::start_with_listeners(&fleet, Duration::from_millis(50));
    copies_arrive(&cluster).await;

    cluster.redis.pause();
    load.progress(100).await;
    fleet.everybody_catches_up().await;
    cluster.redis.resume();
    copies_arrive(&cluster).await;
    load.progress(20).await;
    load.finish(&fleet, &cluster).await;
}

/// Each node is handed live copies by Redis.
async fn copies_arrive(cluster: &Cluster) {
    for node in &cluster.nodes {
        let copies = || node.metric("draftwire_events_delivered_total", &[("source", "bus")]);
        let before = copies().await.unwrap();
        wait::until("live copies arrive", DEADLINE, || async {
            match copies().await {
                Ok(now) if now > before => Ok(()),
                other => Err(format!("{}: {other:?} since {before}", node.name())),
            }
        })
        .await;
    }
}
