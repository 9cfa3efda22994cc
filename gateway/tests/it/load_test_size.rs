//! The load test stays smaller than what it loads, and says nothing about what it once measured.

use std::{fs, path::Path, process::Command};

use crate::sources;

/// The crates that are the product.
const PRODUCT: &[&str] = &["common", "fanout", "gateway/websocket", "gateway"];

/// The lines of a crate's source: all of its files below `src`, comments, blank lines and the chapters of the
/// report included, because all of them have to be read; its unit tests are left out.
fn lines(name: &str) -> usize {
    let folder = sources::root().join(name).join("src");
    let files = sources::files(&folder, &["rs", "toml", "sql"]).into_iter();
    let below = |path: &Path| path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
    files
        .filter(|path| !sources::is_test_file(&below(path)))
        .map(|path| sources::before_tests(&fs::read_to_string(path).unwrap()).len())
        .sum()
}

#[test]
fn it_has_less_than_two_thirds_of_the_product_s_lines() {
    let product: usize = PRODUCT.iter().map(|name| lines(name)).sum();
    let load_test = lines("loadtest");
    assert!(
        3 * load_test < 2 * product,
        "loadtest/src has {load_test} lines, the product {product}: which scenarios or checks are one thing?"
    );
}

/// What a run has shown stands in `loadtest/FINDINGS.md` with the run's date, machine and commit. In the source
/// nothing is dated, and the targets are names and figures: a text among them that ends like a sentence would be
/// printed whatever a run has shown.
#[test]
fn its_source_states_no_result() {
    let folder = sources::root().join("loadtest/src");
    let is_date = |text: &[u8]| {
        let shape = text.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte });
        shape.eq(*b"0000-00-00") && text.starts_with(b"20")
    };
    for path in sources::files(&folder, &["rs", "toml"]) {
        let text = fs::read_to_string(&path).unwrap();
        let dated = text.as_bytes().windows(10).any(is_date);
        assert!(!dated, "{} has a date: results belong to loadtest/FINDINGS.md", path.display());
    }
    let targets = fs::read_to_string(folder.join("report/targets.toml")).unwrap();
    for line in targets.lines().filter(|line| !line.starts_with('#')) {
        let sentence = line.ends_with(".\"") || line.contains(". ") || line.contains("\"\"\"");
        assert!(!sentence, "a target is a name and a figure, not a sentence: {line}");
    }
}

/// Reports are made anew by every run: of their folders, nothing is in git.
#[test]
fn artefacts_of_its_reports_stay_out_of_git() {
    let root = sources::root();
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap();
    assert!(ignored.lines().any(|line| line == "/loadtest/report"), ".gitignore lists /loadtest/report");
    // In an archive of the source there is no index to look at.
    let listed = Command::new("git").arg("-C").arg(&root).args(["ls-files", "loadtest"]).output();
    let Some(listed) = listed.ok().filter(|listed| listed.status.success()) else { return };
    for path in String::from_utf8(listed.stdout).unwrap().lines() {
        let extension = Path::new(path).extension().and_then(|e| e.to_str()).unwrap_or_default();
        assert!(
            !path.starts_with("loadtest/report/") && matches!(extension, "rs" | "toml" | "md" | "js"),
            "{path} is an artefact of a report, or a new kind of source"
        );
    }
}
