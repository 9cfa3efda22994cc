//! One topic over three nodes behind Nginx: whatever fails, every follower sees every acknowledged
//! event exactly once and in order.
//!
//! Two hundred followers and a few seconds; `DRAFTWIRE_TEST_FOLLOWERS=1000 DRAFTWIRE_TEST_SECONDS=60`
//! is what a release must pass.

use std::{str::FromStr, time::Duration};

use testkit::Service;
use tokio::time::sleep;

use crate::{
    DEADLINE, bus_is_trusted,
    following::{Audience, Work},
    patient_cluster, turn,
};

const FOLLOWERS: usize = 200;
const SECONDS: f64 = 8.0;
const PUBLISHERS: usize = 10;

/// Events that all followers together are sent in a second: what a small machine can do beside running
/// the cluster.
const DELIVERIES_PER_SECOND: f64 = 15_000.0;

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

struct Feed {
    cluster: testkit::Cluster,
    audience: Audience,
    work: Work,
    seconds: f64,
}

impl Feed {
    async fn start() -> Self {
        let cluster = patient_cluster().nodes(3).nginx().start().await.unwrap();
        let followers = setting("DRAFTWIRE_TEST_FOLLOWERS", FOLLOWERS);
        let audience = Audience::gather(&cluster, followers).await;
        let by_node = audience.by_node();
        assert_eq!(by_node.len(), 3, "followers are on all nodes: {by_node:?}");
        let work = Work::start(&cluster, PUBLISHERS, DELIVERIES_PER_SECOND / followers as f64);
        Self { cluster, audience, work, seconds: setting("DRAFTWIRE_TEST_SECONDS", SECONDS) }
    }

    /// A part of the time that the test is given.
    async fn share(&self, part: f64) {
        sleep(Duration::from_secs_f64(self.seconds * part)).await;
    }

    async fn finish(self) {
        let published = self.work.finish().await;
        let followers = self.audience.devices.len();
        println!("{followers} followers, {} events in about {} s", published.len(), self.seconds);
        self.audience.check(&published).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_sees_every_event_once() {
    let _turn = turn().await;
    let feed = Feed::start().await;
    feed.share(1.0).await;
    for device in &feed.audience.devices {
        assert_eq!(device.counters().connections, 1, "{:?}", device.counters());
    }
    feed.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_when_a_node_is_killed_and_comes_back() {
    let _turn = turn().await;
    let mut feed = Feed::start().await;
    feed.share(0.4).await;
    let name = feed.cluster.nodes[1].name().to_owned();
    feed.cluster.nodes[1].kill9();
    feed.work.progress(PUBLISHERS as u64).await;
    for device in &feed.audience.devices {
        device.wait_connected(DEADLINE, |node| node != name).await;
    }
    feed.share(0.2).await;
    feed.cluster.nodes[1].start_again().await.unwrap();
    feed.share(0.4).await;
    feed.work.progress(PUBLISHERS as u64).await;
    feed.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_when_redis_is_gone_for_a_while() {
    let _turn = turn().await;
    let mut feed = Feed::start().await;
    feed.share(0.4).await;
    feed.cluster.redis.stop().await.unwrap();
    feed.work.progress(PUBLISHERS as u64).await;
    // Ten seconds of a minute.
    feed.share(1.0 / 6.0).await;
    feed.cluster.redis.start_again().await.unwrap();
    bus_is_trusted(&feed.cluster).await;
    feed.share(0.4).await;
    feed.work.progress(PUBLISHERS as u64).await;
    feed.finish().await;
}
