//! The limit of open files: a node takes what it may have, and says when that is too little.

use std::{fs, os::unix::fs::PermissionsExt};

use tempfile::TempDir;
use testkit::{Node, NodeOptions};

use crate::turn;

/// Starts an embedded node under limits that the shell sets (`ulimit`).
async fn node_under(limits: &str) -> (Node, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("draftwire");
    let text = format!("#!/bin/sh\n{limits}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_draftwire"));
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    (Node::start(NodeOptions::embedded(&script)).await.unwrap(), dir)
}

#[tokio::test]
async fn the_soft_limit_is_raised_and_a_hard_one_that_is_too_low_is_remarked_on() {
    let _turn = turn().await;
    let (node, _dir) = node_under("ulimit -Sn 300; ulimit -Hn 2000").await;
    assert_eq!(node.metric("process_max_fds", &[]).await.unwrap(), 2000.0);
    let log = node.log().unwrap();
    assert!(log.contains("2000 open files are allowed, and CONNECTIONS_MAX=50000 needs"), "{log}");

    let (node, _dir) = node_under("ulimit -Sn 2000; ulimit -Hn 2000; export CONNECTIONS_MAX=1000").await;
    let log = node.log().unwrap();
    assert!(!log.contains("open files"), "{log}");
}
