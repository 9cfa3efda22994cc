//! Redis loses messages, as pub/sub may: the next one, or the sweep, shows what is missing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use testkit::Proxy;

use crate::{
    cluster,
    load::{Fleet, Load},
    resp::Lossy,
    turn,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_messages_leave_no_gaps() {
    let _turn = turn().await;
    let mut cluster = cluster().nodes(1).start().await.unwrap();
    let dropped = Arc::new(AtomicU64::new(0));
    let count = dropped.clone();
    let proxy = Proxy::start_with(cluster.redis.port(), move || {
        let (mut lossy, count) = (Lossy::new(3), count.clone());
        Box::new(move |bytes| {
            let (passed, dropped) = lossy.pass(bytes);
            count.fetch_add(dropped, Ordering::Relaxed);
            passed
        })
    })
    .await
    .unwrap();
    cluster.add_node(&[("REDIS_URL", &format!("redis://127.0.0.1:{}", proxy.port()))]).await.unwrap();

    let fleet = Fleet::connect(&cluster, 4, 2).await;
    let load = Load::start_with_listeners(&fleet, Duration::from_millis(50));
    load.progress(60).await;
    let filled = cluster.nodes[1].metric("draftwire_gap_fills_total", &[]).await.unwrap();
    assert!(filled > 0.0, "nothing was missing");
    load.finish(&fleet, &cluster).await;
    assert!(dropped.load(Ordering::Relaxed) > 10, "hardly anything was lost: {dropped:?}");
}
