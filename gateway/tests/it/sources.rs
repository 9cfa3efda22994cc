//! The repository's own files, for the tests that read them.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folders of the crates, each after those that it uses.
pub(crate) const CRATES: &[&str] =
    &["common", "fanout", "gateway/websocket", "clients/rust", "gateway", "testkit", "loadtest"];

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

/// Whether a file of source, given by its path below `src`, is there for unit tests alone.
pub(crate) fn is_test_file(path: &str) -> bool {
    let mut names = path.trim_end_matches(".rs").split('/');
    names.any(|name| name == "tests" || name == "testing" || name.ends_with("_tests"))
}

/// The number of the line with which a file's own unit tests begin, counted from zero: `mod tests {`, or the
/// first attribute above it.
pub(crate) fn own_tests(lines: &[&str]) -> Option<usize> {
    let module = lines.iter().position(|line| *line == "mod tests {")?;
    let attributes = lines[..module].iter().rev().take_while(|line| line.starts_with("#["));
    Some(module - attributes.count())
}

/// The lines of a file before its unit tests.
pub(crate) fn before_tests(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    let end = own_tests(&lines).unwrap_or(lines.len());
    lines.truncate(end);
    lines
}
