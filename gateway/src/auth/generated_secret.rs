//! The token secret of an embedded node, kept beside its database.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::secret::{SECRET_BYTES_MIN, Secret};
use crate::data_dir::{self, SECRET};

/// Returns the secret in this folder. It is made on first use, readable by its owner only. Processes that start
/// at the same time get the same one.
///
/// # Errors
/// When the file can be neither read nor made, or holds too little.
pub(super) fn load_or_create(dir: &Path) -> io::Result<Secret> {
    let path = dir.join(SECRET);
    match load(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(dir, &path)?,
        loaded => return loaded,
    }
    // Read back also by the process that made it: another one may have been first.
    load(&path)
}

fn load(path: &Path) -> io::Result<Secret> {
    let about = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(about)?;
    let secret = text.trim_end();
    if secret.len() < SECRET_BYTES_MIN {
        return Err(about(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("holds less than {SECRET_BYTES_MIN} bytes; delete it to have one made"),
        )));
    }
    Ok(Secret::new(secret))
}

/// Writes the file aside and links it into place, so that it is never seen half-written and never
/// replaced.
fn create(dir: &Path, path: &Path) -> io::Result<()> {
    data_dir::prepare(dir)?;
    let mut text = String::with_capacity(65);
    for byte in rand::random::<[u8; 32]>() {
        let _ = write!(text, "{byte:02x}");
    }
    text.push('\n');
    let aside = dir.join(format!("{SECRET}.{:016x}", rand::random::<u64>()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&aside, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    fs::remove_file(&aside)?;
    linked
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_secret_is_made_once_and_private() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("data");
        let first = load_or_create(&dir).unwrap();
        assert_eq!(first.reveal().len(), 64);
        assert_eq!(load_or_create(&dir).unwrap(), first);
        let mode = fs::metadata(dir.join(SECRET)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "something was left behind");
    }

    #[test]
    fn starts_at_the_same_time_agree() {
        let dir = tempfile::tempdir().unwrap();
        let secrets: Vec<String> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| load_or_create(dir.path()).unwrap().reveal().to_owned()))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[test]
    fn a_short_secret_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(SECRET), "short\n").unwrap();
        let error = load_or_create(dir.path()).unwrap_err().to_string();
        assert!(error.contains("jwt-secret") && !error.contains("short\n"), "{error}");
    }
}
