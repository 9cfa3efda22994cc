//! No fault at all: users whose devices are on different nodes, edits all the time. Ten seconds of it;
//! DRAFTWIRE_TEST_SECONDS says otherwise, and the load generator does it for longer.

use std::time::Duration;

use testkit::DeviceOptions;
use tokio::time::sleep;

use crate::{
    load::{Fleet, Load},
    patient_cluster, turn,
};

const USERS: usize = 200;
const DEVICES: usize = 3;
const EDITS_PER_SECOND: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_on_different_nodes_see_the_same() {
    let _turn = turn().await;
    let seconds =
        std::env::var("DRAFTWIRE_TEST_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let cluster = patient_cluster().nodes(3).nginx().start().await.unwrap();
    let nginx = cluster.nginx.as_ref().unwrap().ws_url();
    // One through Nginx, wherever that leads; the others on nodes of their own.
    let fleet = Fleet::connect_with(USERS, DEVICES, |user, device, number| match device {
        "device0" => DeviceOptions::new(vec![nginx.clone()], user, device),
        _ => cluster.device_options(user, device, number),
    })
    .await;
    let pace = Duration::from_secs(1) * (USERS * DEVICES) as u32 / EDITS_PER_SECOND;
    let load = Load::start(&fleet, pace);
    sleep(Duration::from_secs(seconds)).await;
    load.finish(&fleet, &cluster).await;
    for device in fleet.devices() {
        let counters = device.counters();
        assert_eq!(counters.connections, 1, "{}: {counters:?}", device.name());
    }
}
