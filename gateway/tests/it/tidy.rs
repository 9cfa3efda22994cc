//! What a reader trips over must not come back: words that were replaced, files that grew, modules and tests in
//! unexpected places, and paths in ARCHITECTURE.md that no longer exist.

use std::{fs, path::Path};

use crate::sources::{self, CRATES};

/// Words that were replaced, and what to write instead. Each is compared with whole words, in code, comments
/// and documentation; two words are compared as they stand in one line.
const WORDS: &[(&str, &str)] = &[
    // The fan-out.
    ("Herald", "AnnounceTimer"),
    ("Census", "Membership"),
    ("Attended", "Room"),
    ("SharedLog", "LogBatcher"),
    ("BadEnvelope", "EnvelopeError"),
    ("rouse", "wake_followers"),
    ("askers", "waiters"),
    ("bus_copies", "bus_messages"),
    ("bus_deaf", "bus_canary_timeouts"),
    // Documentation.
    ("Answers whether", "Returns whether"),
    ("Answers how", "Returns how"),
    ("Answers the", "Returns the"),
    ("Answers when", "Returns when"),
    ("held against", "compared with"),
    ("of so many bytes", "of `n` bytes"),
    // The gateway.
    ("Underway", "in_flight"),
    ("made_up", "random_id"),
    ("Crowded", "LimitReached"),
    ("have_a_go", "run_if_elected"),
    ("GivenUp", "RoundError"),
    ("tokens_remembered", "token_cache_hits"),
    ("missed_total", "gaps_reported_total"),
    ("other sorrows", "the reason, with a subject and a verb"),
    // `run_upkeep` is a call of the metrics library.
    ("Upkeep", "RetentionStore"),
    ("claim_upkeep", "claim_retention"),
    ("the upkeep", "retention"),
];

/// The longest file of source or tests.
const LINES_MAX: usize = 450;

/// Where words are not looked for: what is generated, what was said at the time, and the list above.
const NOT_READ: &[&str] = &["CHANGELOG.md", "loadtest/report", "gateway/tests/it/tidy.rs"];

/// The files with source, tests or documentation, by their paths below the root.
fn read_all(extensions: &[&str]) -> Vec<(String, String)> {
    let root = sources::root();
    let files = sources::files(&root, extensions).into_iter().map(|path| {
        let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (below, fs::read_to_string(&path).unwrap())
    });
    files.filter(|(path, _)| !NOT_READ.iter().any(|left_out| path.starts_with(left_out))).collect()
}

/// Whether the line has the word, not as a part of a longer one. Names of metrics are made of words.
fn has(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_ascii_alphanumeric();
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(joins) && !after.is_some_and(joins)
    })
}

/// The replaced words in a text: line, word, and what to write.
fn replaced(text: &str) -> Vec<(usize, &'static str, &'static str)> {
    let lines = text.lines().enumerate();
    lines
        .flat_map(|(number, line)| {
            let found = WORDS.iter().filter(move |(word, _)| has(line, word));
            found.map(move |(word, better)| (number + 1, *word, *better))
        })
        .collect()
}

#[test]
fn words_that_were_replaced_do_not_come_back() {
    let mut found = Vec::new();
    for (path, text) in read_all(&["rs", "md", "js", "yaml", "toml", "sql"]) {
        let words = replaced(&text).into_iter();
        found.extend(words.map(|(line, word, better)| format!("{path}:{line}: {word}; write {better}")));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn a_planted_word_is_found() {
    let planted = "/// Answers whether it is.\nlet askers = 1; // maskers\n\"draftwire_bus_copies_lost\"";
    let words: Vec<_> = replaced(planted).into_iter().map(|(line, word, _)| (line, word)).collect();
    assert_eq!(words, [(1, "Answers whether"), (2, "askers"), (3, "bus_copies")]);
}

#[test]
fn no_file_is_too_long() {
    for (path, text) in read_all(&["rs"]) {
        let lines = text.lines().count();
        assert!(
            lines <= LINES_MAX,
            "{path} has {lines} lines, more than {LINES_MAX}: which of its parts is another story?"
        );
    }
}

#[test]
fn modules_with_a_folder_stand_in_it() {
    for (path, _) in read_all(&["rs"]) {
        let beside = sources::root().join(path.trim_end_matches(".rs")).is_dir();
        assert!(!beside, "{path} has a folder: move it there as mod.rs");
    }
}

/// Why the unit tests of a file stand in the wrong place, if they do.
fn misplaced_tests(text: &str) -> Option<String> {
    let lines: Vec<&str> = text.lines().collect();
    let begin = sources::own_tests(&lines);
    let before = &lines[..begin.unwrap_or(lines.len())];
    let is_test = |line: &&str| matches!(line.trim(), "#[test]" | "#[tokio::test]");
    if let Some(line) = before.iter().position(is_test) {
        return Some(format!("line {} has a test outside of `mod tests`", line + 1));
    }
    let end = begin.and_then(|begin| Some(begin + lines[begin..].iter().position(|line| *line == "}")?))?;
    (end + 1 < lines.len()).then(|| format!("line {} stands behind the tests", end + 2))
}

/// In `mod tests` at the end of a file, or in a file of their own: `tests.rs`, `name_tests.rs` or a folder
/// `tests`.
#[test]
fn unit_tests_stand_at_the_end_or_in_a_file_of_their_own() {
    for (path, text) in read_all(&["rs"]) {
        let below = path.split_once("/src/").map(|(_, below)| below);
        if below.is_some_and(|below| !sources::is_test_file(below)) {
            assert_eq!(misplaced_tests(&text), None, "{path}");
        }
    }
    let planted = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn one() {}\n}\n";
    assert_eq!(misplaced_tests(planted), None);
    assert!(misplaced_tests(&format!("{planted}\nfn more() {{}}\n")).is_some());
    assert!(misplaced_tests(&format!("#[test]\nfn early() {{}}\n{planted}")).is_some());
}

/// Whether a module or folder of this name exists there.
fn exists(folder: &Path, name: &str) -> bool {
    let path = folder.join(name.trim_end_matches('/'));
    path.exists() || folder.join(format!("{}.rs", name.trim_end_matches('/'))).exists()
}

#[test]
fn every_path_of_the_architecture_exists() {
    let root = sources::root();
    let page = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    // The map: a line for each folder of source, then its modules, those of a folder further in.
    let map = page.split("## Map").nth(1).and_then(|rest| rest.split("```").nth(1)).expect("there is a map");
    let (mut source, mut folder, mut checked) = (root.clone(), root.clone(), 0);
    for line in map.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start().len();
        let names = line.trim_start().split("  ").next().unwrap_or_default();
        if indent == 0 {
            source = root.join(names);
            assert!(source.is_dir(), "ARCHITECTURE.md names {names}");
            // A crate without rooms is described in one line.
            continue;
        }
        if indent > 4 {
            // The rest of the description above.
            continue;
        }
        let base = if indent == 2 { &source } else { &folder };
        for name in names.split(',').map(str::trim) {
            assert!(exists(base, name), "ARCHITECTURE.md names {name}, which is not in {}", base.display());
            checked += 1;
        }
        if indent == 2 {
            folder = source.join(names.trim_end_matches('/'));
        }
    }
    assert!(checked >= 30, "the map has its rooms");
    // Paths in the text.
    let quoted = page.split('`').skip(1).step_by(2).filter(|text| text.contains('/'));
    let named = |text: &&str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c));
    for path in quoted.filter(named).filter(|path| !path.starts_with('/')) {
        let places = CRATES.iter().map(|name| root.join(name).join("src")).chain([root.clone()]);
        assert!(places.into_iter().any(|place| exists(&place, path)), "ARCHITECTURE.md names {path}");
    }
}
