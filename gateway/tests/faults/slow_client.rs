//! A client stops reading while much happens: the node holds nothing for it, and it misses nothing.

use std::sync::Arc;

use common::close::Close;
use futures_util::future::join_all;
use serde_json::json;
use testkit::{Cluster, Device, DeviceOptions, wait};

use crate::{DEADLINE, cluster, turn};

/// Drafts that are edited side by side.
const DRAFTS: usize = 50;

/// What one event carries, bytes.
const EVENT_BYTES: usize = 4_000;

/// What the kernel may hold for a client that does not read, bytes; little, so that the node notices.
const RECEIVE_BUFFER_BYTES: u32 = 16 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_stays_bounded_and_nothing_is_missed() {
    let _turn = turn().await;
    let cluster = cluster()
        .nodes(2)
        .env("COMMANDS_PER_SECOND", "100000")
        .env("RECENT_BYTES_MAX", "1MiB")
        .env("WS_PONG_TIMEOUT", "10m")
        .start()
        .await
        .unwrap();
    let (writer, slow) = writer_and_slow(&cluster).await;
    // Memory that comes with any work at all is not what is measured.
    edit_all(&writer, 10).await;
    let seq = writer.seq();
    slow.wait_until("get the first events", DEADLINE, |replica| replica.seq() >= seq).await;

    slow.stop_reading();
    let before = cluster.nodes[1].rss_bytes().unwrap();
    edit_all(&writer, 200).await;
    let grown = cluster.nodes[1].rss_bytes().unwrap().saturating_sub(before);
    assert_eq!(slow.seq(), seq, "it has not stopped reading");
    let events_bytes = (DRAFTS * 200 * EVENT_BYTES) as u64;
    assert!(grown < events_bytes / 2, "{grown} bytes more for {events_bytes} bytes of events");

    slow.read_on();
    cluster.assert_converged(&[&writer, &slow], DEADLINE).await;
    assert_eq!(slow.seq(), (DRAFTS * 211) as u64);
    assert_eq!(slow.counters().connections, 1, "{:?}", slow.counters());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_makes_no_progress_is_closed_and_resumes() {
    let _turn = turn().await;
    let cluster = cluster()
        .nodes(2)
        .env("COMMANDS_PER_SECOND", "100000")
        .env("WS_PING_INTERVAL", "500ms")
        .env("WS_PING_INTERVAL_MAX", "500ms")
        .env("WS_PONG_TIMEOUT", "2s")
        .start()
        .await
        .unwrap();
    let (writer, slow) = writer_and_slow(&cluster).await;
    slow.stop_reading();
    edit_all(&writer, 40).await;
    wait::until("the node gives the client up", DEADLINE, || async {
        let closed =
            cluster.nodes[1].metric("draftwire_closes_total", &[("code", Close::Dead.label())]).await;
        match closed {
            Ok(closed) if closed >= 1.0 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    slow.read_on();
    cluster.assert_converged(&[&writer, &slow], DEADLINE).await;
    assert!(slow.counters().connections >= 2, "{:?}", slow.counters());
}

/// Two devices of one user on a node each; the second takes little that it does not read.
async fn writer_and_slow(cluster: &Cluster) -> (Arc<Device>, Device) {
    let writer = DeviceOptions { keep_messages: false, ..cluster.device_options("u", "writer", 0) };
    let writer = Arc::new(Device::connect(writer).await);
    let slow = DeviceOptions {
        urls: vec![cluster.nodes[1].ws_url()],
        keep_messages: false,
        receive_buffer_bytes: Some(RECEIVE_BUFFER_BYTES),
        ..cluster.device_options("u", "slow", 1)
    };
    let slow = Device::connect(slow).await;
    let created = (0..DRAFTS).map(|n| {
        let writer = writer.clone();
        async move { writer.create(&format!("draft{n}"), json!({})).await.unwrap() }
    });
    join_all(created).await;
    (writer, slow)
}

/// `times` edits of every draft.
async fn edit_all(writer: &Arc<Device>, times: usize) {
    let filling = "x".repeat(EVENT_BYTES);
    let edited = (0..DRAFTS).map(|draft| {
        let filling = &filling;
        async move {
            for n in 0..times {
                let patch = json!({ "n": n, "changed": writer.seq(), "filling": filling });
                writer.edit(&format!("draft{draft}"), patch).await.unwrap();
            }
        }
    });
    tokio::time::timeout(2 * DEADLINE, join_all(edited)).await.expect("the edits are done in time");
}
