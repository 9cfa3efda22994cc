//! docs/troubleshooting.md against the source: every warning and error that a node logs has its entry.

use std::fs;

use crate::sources;

/// The source of a node.
const SOURCES: &[&str] = &["gateway/src", "gateway/websocket/src", "fanout/src", "common/src"];

/// What begins a message: the macros, and where sentences are made that others log.
const CALLS: &[&str] = &["warn!(", "error!(", "warnings.push(format!("];

/// A message, and where it is logged.
struct Message {
    place: String,
    text: String,
}

impl Message {
    /// What is looked for: the first part between placeholders that says something.
    fn key(&self) -> &str {
        let parts = || self.text.split(['{', '}']).step_by(2).map(str::trim);
        let says_something = |part: &&str| part.len() >= 20;
        parts().find(says_something).or_else(|| parts().max_by_key(|part| part.len())).unwrap_or_default()
    }

    /// How a row of the page writes it.
    fn shown(&self) -> String {
        let parts = self.text.split(['{', '}']).step_by(2);
        parts.collect::<Vec<_>>().join("…")
    }
}

/// The last literal among the arguments that begin here: fields come before the message.
fn literal(arguments: &str) -> Option<String> {
    let (mut depth, mut found) = (1, None);
    let mut chars = arguments.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '"' => {
                let mut text = String::new();
                while let Some(c) = chars.next().filter(|c| *c != '"') {
                    if c != '\\' {
                        text.push(c);
                    } else if chars.next_if_eq(&'\n').is_some() {
                        while chars.next_if(|c| c.is_whitespace()).is_some() {}
                    } else {
                        text.extend(chars.next());
                    }
                }
                if depth == 1 {
                    found = Some(text);
                }
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    found
}

/// The messages of a file of source, without those of its tests.
fn messages(path: &str, source: &str) -> Vec<Message> {
    let source = sources::before_tests(source).join("\n");
    let mut found = Vec::new();
    for call in CALLS {
        for (at, _) in source.match_indices(call) {
            let line = source[..at].lines().count();
            let place = format!("{path}:{line}");
            let is_comment =
                source[..at].lines().last().is_some_and(|line| line.trim_start().starts_with("//"));
            if let Some(text) = literal(&source[at + call.len()..]).filter(|_| !is_comment) {
                found.push(Message { place, text });
            }
        }
    }
    found
}

/// The messages of all nodes. One that is a sentence made elsewhere is left out: that is looked for there.
fn all() -> Vec<Message> {
    let root = sources::root();
    let mut found = Vec::new();
    for path in SOURCES.iter().flat_map(|folder| sources::files(&root.join(folder), &["rs"])) {
        let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let within = below.split_once("/src/").map_or("", |(_, within)| within);
        if !sources::is_test_file(within) {
            found.extend(messages(&below, &fs::read_to_string(&path).unwrap()));
        }
    }
    found.retain(|message| message.text != "{warning}");
    found
}

/// The first cells of the tables in which the page lists lines of the log, without backquotes.
fn entries(page: &str) -> Vec<String> {
    let (_, listed) = page.split_once("\n## What the log says\n").expect("the page has the section");
    let rows = listed.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    rows.map(|(line, _)| line.to_owned()).collect()
}

#[test]
fn every_warning_and_error_has_its_entry() {
    let page = fs::read_to_string(sources::root().join("docs/troubleshooting.md")).unwrap();
    let (entries, messages) = (entries(&page), all());
    assert!(messages.len() >= 40, "the search finds what there is");
    let missing: Vec<String> = messages
        .iter()
        .filter(|message| !entries.iter().any(|entry| entry.contains(message.key())))
        .map(|message| {
            format!("| `{}` | why it is logged | what mends it | (of {})", message.shown(), message.place)
        })
        .collect();
    assert!(
        missing.is_empty(),
        "add these rows to a table of `What the log says` in docs/troubleshooting.md:\n{}",
        missing.join("\n")
    );
    for entry in entries {
        let is_logged = messages.iter().any(|message| entry.contains(message.key()));
        assert!(is_logged, "nothing logs `{entry}` any more: take its row out of docs/troubleshooting.md");
    }
}

#[test]
fn a_planted_warning_is_found() {
    let source = "fn f() {\n    warn!(\n        users = list.join(\", \"),\n        \"the {thing} is \\\n         \
                  broken\"\n    );\n    // error!(\"not this\")\n}\n\nmod tests {\n    error!(\"nor this\");\n}\n";
    let found = messages("a.rs", source);
    let texts: Vec<_> = found.iter().map(|message| (message.text.as_str(), message.place.as_str())).collect();
    assert_eq!(texts, [("the {thing} is broken", "a.rs:2")]);
    assert_eq!((found[0].key(), found[0].shown().as_str()), ("is broken", "the … is broken"));
}
