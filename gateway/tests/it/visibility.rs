//! What is `pub` in a library has a user outside of it; everything else is `pub(crate)` at most, so that the
//! compiler says when it is not used any more.
//!
//! The check goes by name, which is cheap and forgives too much rather than too little: any other thing of the
//! same name counts as a user. It looks at functions and constants. A type may have to be public without being
//! named anywhere, because a public function returns it.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fs,
};

use crate::sources;

/// The libraries.
const LIBRARIES: &[&str] = &["common", "fanout", "gateway/websocket", "gateway", "testkit"];

/// The words of a code, without its comments.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(|code| code.split(|c: char| !(c.is_alphanumeric() || c == '_')))
}

/// The public function or constant that a line declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.trim_start().strip_prefix("pub ")?.split_whitespace().peekable();
    while matches!(words.peek(), Some(&("async" | "unsafe"))) {
        words.next();
    }
    let name = match words.next()? {
        "const" if words.peek() == Some(&"fn") => words.nth(1)?,
        "const" | "static" | "fn" => words.next()?,
        _ => return None,
    };
    name.split(|c: char| !(c.is_alphanumeric() || c == '_')).next()
}

/// Whether a file belongs to a library: its `main.rs` is another crate.
fn is_part(path: &str, library: &str) -> bool {
    let below = path.strip_prefix(library).and_then(|rest| rest.strip_prefix("/src/"));
    below.is_some_and(|below| below != "main.rs")
}

/// The public functions and constants of a library that nobody outside of it names, with their files. What its
/// documentation links to has a user: the reader.
fn unused<'a>(files: &'a BTreeMap<String, String>, library: &str) -> BTreeSet<(&'a str, &'a str)> {
    let parts = || files.iter().filter(|(path, _)| is_part(path, library));
    let outside: HashSet<&str> =
        files.iter().filter(|(path, _)| !is_part(path, library)).flat_map(|(_, text)| words(text)).collect();
    let is_linked = |name: &str| parts().any(|(_, text)| text.contains(&format!("{name}`]")));
    let public = parts().flat_map(|(path, text)| {
        let lines = sources::before_tests(text).into_iter();
        lines.filter_map(declared).map(move |name| (path.as_str(), name))
    });
    public.filter(|(_, name)| !outside.contains(name) && !is_linked(name)).collect()
}

#[test]
fn what_is_public_has_a_user_outside_of_its_crate() {
    let root = sources::root();
    let files = sources::files(&root, &["rs"]).into_iter().map(|path| {
        let below = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        (below, fs::read_to_string(&path).unwrap())
    });
    let files: BTreeMap<String, String> = files.collect();
    let found: Vec<_> = LIBRARIES
        .iter()
        .flat_map(|library| unused(&files, library))
        .map(|(path, name)| format!("{path}: {name}"))
        .collect();
    assert!(
        found.is_empty(),
        "nobody outside of the crate uses these, make them pub(crate):\n{}",
        found.join("\n")
    );
}

#[test]
fn a_planted_function_without_a_user_is_found() {
    let files = [
        (
            "a/src/lib.rs",
            "pub fn used() {}\n/// See [`LINKED`].\npub const fn lonely() {}\npub const LINKED: u8 = 1;\n",
        ),
        ("a/src/main.rs", "fn main() { a::used() } // lonely\n"),
    ];
    let files = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
    assert_eq!(unused(&files, "a"), BTreeSet::from([("a/src/lib.rs", "lonely")]));
}
