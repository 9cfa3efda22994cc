//! The scripts for k6, run by k6 itself against a real node.

#![allow(clippy::unwrap_used)]

mod liar;
mod server;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use liar::Lie;
use testkit::{Node, NodeOptions, token};

use crate::server::Ran;

/// The one that the path has, or that `testkit/install` has put among what is built.
fn k6() -> OsString {
    let built = Path::new(server::LOADTEST).ancestors().nth(2).unwrap().join("k6/bin/k6");
    if built.exists() { built.into() } else { "k6".into() }
}

async fn k6_run(port: u16, script: &str, secret: &str, settings: &[&str]) -> Ran {
    let script: PathBuf = [env!("CARGO_MANIFEST_DIR"), "k6", script].iter().collect();
    let mut arguments: Vec<OsString> = vec!["run".into(), "--quiet".into(), "--no-usage-report".into()];
    let url = format!("URL=ws://127.0.0.1:{port}");
    let secret = format!("JWT_SECRET={secret}");
    for setting in [&[url.as_str(), &secret, "STAY=2s", "SETTLE=1s"], settings].concat() {
        arguments.extend(["-e".into(), setting.into()]);
    }
    arguments.push(script.into());
    let program = k6();
    Ran::of(program.to_str().unwrap(), arguments).await
}

async fn node() -> Node {
    Node::start(NodeOptions::embedded(server::built())).await.unwrap()
}

/// What a busy machine does to latencies is not tested.
const PATIENT: [&str; 2] = ["CONNECT_P95=60000", "ARRIVE_P95=60000"];

const SHORT: [&str; 3] = ["RAMP=1s", "HOLD=2s", "DOWN=0s"];

#[tokio::test]
async fn users_of_k6_are_served_and_every_threshold_holds() {
    let node = node().await;
    let load = [&SHORT[..], &PATIENT].concat();
    let spike = ["SCENARIO=spike", "USERS=8", "RAMP=1s", "DURATION=1s", "AFTER=1s"];
    let spike = [&spike[..], &PATIENT].concat();
    let soak = ["SCENARIO=soak", "USERS=3", "RAMP=1s", "DURATION=1s"];
    let soak = [&soak[..], &PATIENT].concat();
    let (load, spike, soak) = tokio::join!(
        k6_run(node.port(), "websocket-load.js", token::SECRET, &load),
        k6_run(node.port(), "stress-test.js", token::SECRET, &spike),
        k6_run(node.port(), "stress-test.js", token::SECRET, &soak),
    );
    for ran in [load, spike, soak] {
        assert_eq!(ran.code, 0, "{}{}", ran.text, ran.errors);
        assert!(ran.text.contains("draftwire_change_to_device"), "{ran:?}");
    }
    let acked = node.metric("draftwire_commands_total", &[("type", "DRAFT_UPDATE")]).await.unwrap();
    assert!(acked >= 10.0, "{acked} changes");
}

#[tokio::test]
async fn each_threshold_of_k6_can_break() {
    let node = node().await;
    let slow = [&SHORT[..], &["CONNECT_P95=60000", "ARRIVE_P95=0"]].concat();
    let refused = [&SHORT[..], &PATIENT].concat();
    let more = ["SCENARIO=breakpoint", "USERS=4", "DURATION=2s", "CONNECT_P95=60000", "ARRIVE_P95=0"];
    let (slow, refused, more) = tokio::join!(
        k6_run(node.port(), "websocket-load.js", token::SECRET, &slow),
        k6_run(node.port(), "websocket-load.js", "another secret of at least thirty-two bytes", &refused),
        k6_run(node.port(), "stress-test.js", token::SECRET, &more),
    );
    for (ran, threshold) in [
        (slow, "draftwire_change_to_device"),
        (refused, "draftwire_success"),
        (more, "draftwire_change_to_device"),
    ] {
        // What k6 exits with when thresholds have broken.
        assert_eq!(ran.code, 99, "{}{}", ran.text, ran.errors);
        assert!(ran.errors.contains(threshold), "{}{}", ran.text, ran.errors);
    }
}

#[tokio::test]
async fn k6_notices_one_event_that_is_dropped_repeated_or_swapped() {
    let node = node().await;
    let settings = [&SHORT[..], &PATIENT, &["USER_RATE=20"]].concat();
    let through = async |lie, threshold: &str| {
        let liar = liar::lie(node.port(), lie, "DRAFT_UPDATED").await;
        let ran = k6_run(liar.port, "websocket-load.js", token::SECRET, &settings).await;
        assert!(liar.has_lied(), "there were too few events to lie about: {}", ran.text);
        assert_eq!(ran.code, 99, "{lie:?}: {}{}", ran.text, ran.errors);
        assert!(ran.errors.contains(threshold), "{lie:?}: {}{}", ran.text, ran.errors);
    };
    tokio::join!(
        through(Lie::Drop, "draftwire_events_lost"),
        through(Lie::Repeat, "draftwire_events_repeated"),
        through(Lie::Swap, "draftwire_events_out_of_order"),
    );
}
