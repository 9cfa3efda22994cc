//! The repository's own files, for the tests that read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folders of the crates, each after those that it uses.
pub(crate) const CRATES: &[&str] =
    &["common", "fanout", "gateway/websocket", "gateway", "testkit", "loadtest"];

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// The files below a folder whose names end in one of these, in order.
pub(crate) fn files(folder: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            if !(name.starts_with('.') || matches!(name, "target" | "node_modules")) {
                found.extend(files(&path, extensions));
            }
        } else if path.extension().and_then(|e| e.to_str()).is_some_and(|e| extensions.contains(&e)) {
            found.push(path);
        }
    }
    found
}
