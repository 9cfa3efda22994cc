//! A rolling restart of all nodes behind Nginx: no command fails, and no request.

use std::{collections::BTreeMap, time::Duration};

use testkit::{DeviceOptions, Service, http, token};
use tokio::{sync::watch, time::timeout};

use crate::{
    DEADLINE,
    load::{Fleet, Load},
    patient_cluster, turn,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_nothing() {
    let _turn = turn().await;
    let mut cluster = patient_cluster().nodes(3).nginx().start().await.unwrap();
    let nginx = cluster.nginx.as_ref().unwrap();
    let (ws_url, drafts_url) = (nginx.ws_url(), nginx.http_url("/v1/drafts"));
    let fleet =
        Fleet::connect_with(6, 3, |user, device, _| DeviceOptions::new(vec![ws_url.clone()], user, device))
            .await;
    let load = Load::start(&fleet, Duration::from_millis(50));
    let stop = watch::Sender::new(false);
    let requests = tokio::spawn(request(drafts_url, stop.subscribe()));
    for node in &mut cluster.nodes {
        load.progress(10).await;
        node.terminate();
        assert_eq!(node.wait_exit(DEADLINE).await.unwrap().code(), Some(0));
        node.start_again().await.unwrap();
    }
    load.progress(10).await;
    stop.send_replace(true);
    let answers = requests.await.unwrap();
    assert_eq!(answers.keys().collect::<Vec<_>>(), [&200], "{answers:?}");
    for device in fleet.devices() {
        let counters = device.counters();
        assert_eq!(counters.silent, 0, "{counters:?}");
    }
    load.finish(&fleet, &cluster).await;
}

/// Asks for the drafts of one user after another, until stopped; counts the answers by status.
async fn request(url: String, mut stop: watch::Receiver<bool>) -> BTreeMap<u16, u64> {
    let mut answers = BTreeMap::new();
    let mut user = 0;
    while timeout(Duration::from_millis(10), stop.wait_for(|stop| *stop)).await.is_err() {
        user = (user + 1) % 6;
        let status = http::get_as(&token::good(&format!("user{user}")), &url).await.unwrap().status;
        *answers.entry(status).or_default() += 1;
    }
    answers
}
