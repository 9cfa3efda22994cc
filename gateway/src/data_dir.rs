//! The folder of an embedded node: its database and its token secret, which concern nobody else on the machine.

use std::{
    fs::{self, DirBuilder, OpenOptions, Permissions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use tracing::warn;

/// The database. SQLite gives the files beside it the permissions that it has.
const DATABASE: &str = "draftwire.db";

/// What may be in the folder that is ours.
const FILES: [&str; 4] = [DATABASE, "draftwire.db-wal", "draftwire.db-shm", SECRET];

/// The token secret.
pub(crate) const SECRET: &str = "jwt-secret";

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
