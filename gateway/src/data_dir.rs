//! The folder of an embedded node: its database and its token secret, which concern nobody else on the machine.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process,
};

use common::ids::NodeId;
use tracing::warn;

/// The database. SQLite gives the files beside it the permissions that it has.
const DATABASE: &str = "draftwire.db";

/// What may be in the folder that is ours.
const FILES: [&str; 5] = [DATABASE, "draftwire.db-wal", "draftwire.db-shm", SECRET, LOCK];

/// The token secret.
pub(crate) const SECRET: &str = "jwt-secret";

/// Locked by the process that uses the folder, and names it.
const LOCK: &str = "draftwire.lock";

/// The most that is read of who holds the lock.
const HOLDER_CHARS_MAX: usize = 200;

const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;

/// Bits that let others in.
const OTHERS: u32 = 0o077;

/// Makes the folder if it is missing, and keeps others out of it and of the files in it that are ours, also
/// those of a version that did not.
///
/// # Errors
/// When it cannot be made, or is no folder.
pub(crate) fn prepare(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(dir)?;
    for name in FILES {
        restrict(&dir.join(name), PRIVATE_FILE);
    }
    // One that holds other files as well may be meant for others too, and be the root of the system.
    if fs::read_dir(dir)?.all(|entry| entry.is_ok_and(|entry| is_ours(&entry.file_name().to_string_lossy())))
    {
        restrict(dir, PRIVATE_FOLDER);
    } else if is_open(dir) {
        warn!(
            folder = %dir.display(),
            "DATA_DIR holds other files, so its permissions are left as they are; give the node a folder of its own"
        );
    }
    Ok(())
}

/// Makes the database's file if it is missing, so that nobody else can open it from the beginning on. Returns
/// where it is.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn database(dir: &Path) -> io::Result<PathBuf> {
    let path = dir.join(DATABASE);
    OpenOptions::new().write(true).create(true).truncate(false).mode(PRIVATE_FILE).open(&path)?;
    Ok(path)
}

/// Who uses the folder, until it is dropped or the process ends, however that happens: then the system unlocks
/// the file. It stays, because removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(crate) struct InUse {
    _file: File,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another process uses it.
    #[error("it is used by {0}")]
    Held(String),
    /// It cannot be locked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Takes the folder for this process alone. Two that share a database would hear of each other's changes only
/// by the sweep.
///
/// # Errors
/// [`LockError::Held`] names the process that has it.
pub(crate) fn lock(dir: &Path, node: &NodeId) -> Result<InUse, LockError> {
    let path = dir.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(&path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(LockError::Held(holder(&path))),
        Err(TryLockError::Error(error)) => return Err(error.into()),
    }
    file.set_len(0)?;
    write!(file, "process {} of node {node}", process::id())?;
    Ok(InUse { _file: file })
}

/// Returns whether a node has used the folder before.
pub(crate) fn was_used(dir: &Path) -> bool {
    dir.join(LOCK).exists()
}

fn holder(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let holder: String = text.chars().filter(|c| !c.is_control()).take(HOLDER_CHARS_MAX).collect();
    // It was locked a moment ago.
    if holder.is_empty() { "another process".to_owned() } else { holder }
}

fn is_ours(name: &str) -> bool {
    FILES
        .iter()
        .any(|own| name.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

fn is_open(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & OTHERS != 0)
}

/// Takes the rights of others away. Where that is not allowed, the node works all the same.
fn restrict(path: &Path, mode: u32) {
    if is_open(path)
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode))
    {
        warn!(path = %path.display(), %error, "others can read this, and that cannot be changed");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn what_is_made_is_private() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("a/b");
        prepare(&dir).unwrap();
        let path = database(&dir).unwrap();
        assert_eq!((mode(&dir), mode(&path)), (PRIVATE_FOLDER, PRIVATE_FILE));
        fs::write(&path, "content").unwrap();
        assert_eq!(fs::read(database(&dir).unwrap()).unwrap(), b"content");
    }

    #[test]
    fn what_is_open_to_others_becomes_private() {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        for name in FILES {
            fs::write(dir.path().join(name), "").unwrap();
            set_mode(&dir.path().join(name), 0o644);
        }
        prepare(dir.path()).unwrap();
        assert_eq!(mode(dir.path()), PRIVATE_FOLDER);
        for name in FILES {
            assert_eq!(mode(&dir.path().join(name)), PRIVATE_FILE, "{name}");
        }
    }

    #[test]
    fn a_folder_is_used_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let node = "n1".parse().unwrap();
        // As a process that was killed leaves it.
        fs::write(dir.path().join(LOCK), "process 1 of node with-a-long-name").unwrap();
        let first = lock(dir.path(), &node).unwrap();
        let refused = lock(dir.path(), &node).unwrap_err().to_string();
        let own = format!("it is used by process {} of node n1", process::id());
        assert_eq!(refused, own);
        drop(first);
        assert!(lock(dir.path(), &node).is_ok());
    }

    #[test]
    fn a_folder_that_others_use_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        set_mode(dir.path(), 0o755);
        let (own, other) = (dir.path().join(DATABASE), dir.path().join("other"));
        for file in [&own, &other] {
            fs::write(file, "").unwrap();
            set_mode(file, 0o644);
        }
        prepare(dir.path()).unwrap();
        assert_eq!((mode(dir.path()), mode(&own), mode(&other)), (0o755, PRIVATE_FILE, 0o644));
    }
}
