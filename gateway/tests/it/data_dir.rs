//! The folder of an embedded node, as processes use it.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use testkit::{Node, NodeOptions};

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
