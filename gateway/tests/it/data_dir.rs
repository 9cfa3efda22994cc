//! The folder of an embedded node, as processes use it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use testkit::{Node, NodeOptions, Service};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn options(dir: &Path) -> NodeOptions {
    NodeOptions::embedded(env!("CARGO_BIN_EXE_draftwire")).env("DATA_DIR", dir.to_str().unwrap())
}

/// What the folder holds, with its permissions.
fn files(dir: &Path) -> Vec<(String, u32)> {
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    files.map(|entry| (entry.file_name().into_string().unwrap(), mode(&entry.path()))).collect()
}

#[tokio::test]
async fn nobody_else_can_read_the_data_also_not_of_a_version_before() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data");
    for _ in 0..2 {
        // The secret is made only where none is given.
        let node = Node::start(options(&dir).env("JWT_SECRET", "")).await.unwrap();
        assert_eq!(mode(&dir), 0o700);
        let files = files(&dir);
        for name in ["draftwire.db", "draftwire.db-wal", "draftwire.db-shm", "jwt-secret"] {
            assert!(files.contains(&(name.to_owned(), 0o600)), "{name} in {files:?}");
        }
        assert!(files.iter().all(|(_, mode)| *mode == 0o600), "{files:?}");
        // Killed, so that the files beside the database stay.
        drop(node);
        fs::set_permissions(&dir, Permissions::from_mode(0o755)).unwrap();
        for (name, _) in files {
            let path = dir.join(name);
            if path.exists() {
                fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn the_second_process_on_a_folder_says_who_uses_it_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let first = Node::start(options(dir.path())).await.unwrap();
    let mut second = Node::spawn(options(dir.path())).unwrap();
    let ended = second.wait_exit(Duration::from_secs(60)).await.unwrap();
    let log = second.log().unwrap();
    assert!(!ended.success(), "{log}");
    assert!(
        log.contains("DATA_DIR") && log.contains(&format!("process {} of node", first.pid().unwrap())),
        "{log}"
    );
    // Killed: nobody has the folder any more.
    drop(first);
    let mut third = Node::start(options(dir.path())).await.unwrap();
    third.terminate();
    assert!(third.wait_exit(Duration::from_secs(60)).await.unwrap().success());
    Node::start(options(dir.path())).await.unwrap();
}
