//! Which module imports which: rooms (the modules and folders directly below `src`) and the files inside a room
//! import each other in one direction only, and in crates whose order ARCHITECTURE.md lists, in that direction.
//!
//! The check reads `use` declarations and written-out paths, and follows re-exports to the module that has the
//! item. `pub use` of a module's own child is a re-export and no import. Tests are left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::sources::{self, CRATES};

/// A module: the names on the way to it from the root of its crate, which is the empty path.
type Module = Vec<String>;

/// Which modules a module imports.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// The source of one crate, by module.
struct Crate {
    modules: BTreeMap<Module, String>,
    /// What a module re-exports: the name, and the path of the item.
    exports: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

/// A path that a module names, as seen from the root of the crate.
struct Import {
    path: Vec<String>,
    /// The declaration is `pub use`, or the same for a part of the crate.
    public: bool,
}

fn names(path: &str) -> Vec<String> {
    path.split("::").map(|name| name.trim().trim_start_matches("r#").to_owned()).collect()
}

/// The code before the unit tests of a file, without comments.
fn production(text: &str) -> String {
    let code = sources::before_tests(text).into_iter();
    code.map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// The paths of a `use` declaration, with its braces written out; for an alias, the item's own name.
fn expand(prefix: &str, tree: &str, paths: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let path = tree.split(" as ").next().unwrap_or(tree).trim();
        if !path.is_empty() {
            paths.push(format!("{prefix}{path}"));
        }
        return;
    };
    let prefix = format!("{prefix}{}", tree[..open].trim());
    let inner = tree[open + 1..].trim_end().trim_end_matches('}');
    let (mut depth, mut from) = (0, 0);
    for (at, c) in inner.char_indices().chain([(inner.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth <= 0 => {
                // A brace that was trimmed above is missing at the end; the part is complete without it.
                let part = &inner[from..at];
                let missing = part.matches('{').count().saturating_sub(part.matches('}').count());
                expand(&prefix, &format!("{part}{}", "}".repeat(missing)), paths);
                from = at + 1;
            }
            _ => {}
        }
    }
}

impl Crate {
    /// A crate of these files, each with its path below `src`.
    fn new(files: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut modules = BTreeMap::new();
        for (path, text) in files {
            let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
            let module = if matches!(module, "lib" | "main" | "mod") { "" } else { module };
            if sources::is_test_file(&path) {
                continue;
            }
            modules.insert(
                module.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect(),
                production(&text),
            );
        }
        let mut this = Self { modules, exports: BTreeMap::new() };
        for module in this.modules.keys() {
            let exports: BTreeMap<_, _> = this
                .imports(module)
                .into_iter()
                .filter(|import| import.public)
                .filter_map(|import| Some((import.path.last()?.clone(), import.path)))
                .collect();
            this.exports.insert(module.clone(), exports);
        }
        this
    }

    /// The crate of this name.
    fn read(name: &str) -> Self {
        let folder = sources::root().join(name).join("src");
        let mut files: Vec<(String, String)> = Vec::new();
        let library = folder.join("lib.rs").exists();
        for path in sources::files(&folder, &["rs"]) {
            let below = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            // The binary of a crate with a library is outside of it.
            if !(library && below == "main.rs") {
                files.push((below, fs::read_to_string(&path).unwrap()));
            }
        }
        Self::new(files)
    }

    /// Every path of this crate that the module names.
    fn imports(&self, module: &Module) -> Vec<Import> {
        let text = &self.modules[module];
        let mut imports = Vec::new();
        let mut rest = String::new();
        let mut statement: Option<String> = None;
        for line in text.lines() {
            let start = line.trim_start();
            let begins = start.starts_with("use ") || (start.starts_with("pub") && start.contains(" use "));
            if statement.is_none() && !begins {
                rest.push_str(line);
                rest.push('\n');
                continue;
            }
            let joined = statement.take().unwrap_or_default() + " " + start;
            let Some((declaration, _)) = joined.split_once(';') else {
                statement = Some(joined);
                continue;
            };
            let (visibility, tree) = declaration.split_once("use ").unwrap_or_default();
            let mut paths = Vec::new();
            expand("", tree, &mut paths);
            let public = visibility.trim_start().starts_with("pub");
            imports.extend(paths.iter().filter_map(|path| {
                Some(Import { path: self.absolute(module, &names(path), true)?, public })
            }));
        }
        // Written-out paths: `crate::room::item` and `super::item`.
        let separators = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
        for word in rest.split(separators).filter(|word| word.contains("::")) {
            if let Some(path) = self.absolute(module, &names(word), false) {
                imports.push(Import { path, public: false });
            }
        }
        imports
    }

    /// A path as seen from the root of the crate; `None` when it leads elsewhere.
    fn absolute(&self, module: &Module, path: &[String], declared: bool) -> Option<Vec<String>> {
        let mut base = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => module.clone(),
            "super" => module[..module.len().checked_sub(1)?].to_vec(),
            child => {
                let own: Module = module.iter().cloned().chain([child.to_owned()]).collect();
                if !self.modules.contains_key(&own) || (!declared && path.len() < 2) {
                    return None;
                }
                own
            }
        };
        for name in &path[1..] {
            match name.as_str() {
                "super" => drop(base.pop()),
                "self" | "*" | "" => {}
                _ => base.push(name.clone()),
            }
        }
        Some(base)
    }

    /// The module that has the item of a path.
    fn home(&self, path: &[String]) -> Module {
        let mut path = path.to_vec();
        // Each round follows one re-export; more of them in a row are a circle, which ends anywhere.
        for _ in 0..8 {
            let len = (0..=path.len()).rev().find(|&len| self.modules.contains_key(&path[..len]));
            let module = path[..len.unwrap_or(0)].to_vec();
            let item = path.get(module.len());
            match item.and_then(|item| self.exports.get(&module)?.get(item)) {
                Some(target) if *target != path => path = target.clone(),
                _ => return module,
            }
        }
        Vec::new()
    }

    fn graph(&self) -> Graph {
        let mut graph = Graph::new();
        for module in self.modules.keys() {
            let imported = self
                .imports(module)
                .into_iter()
                .filter(|import| !(import.public && import.path.starts_with(module)))
                .map(|import| self.home(&import.path))
                .filter(|home| home != module);
            graph.insert(module.clone(), imported.collect());
        }
        graph
    }
}

/// The room of a module.
fn room(module: &Module) -> String {
    module.first().cloned().unwrap_or_else(|| "lib".to_owned())
}

fn rooms(graph: &Graph) -> BTreeMap<String, BTreeSet<String>> {
    let mut rooms: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, imported) in graph {
        let own = room(module);
        let others = imported.iter().map(room).filter(|other| *other != own);
        rooms.entry(own.clone()).or_default().extend(others);
    }
    rooms
}

/// What reaches each other: every circle, with all that belong to it.
fn circles<T: Ord + Clone>(graph: &BTreeMap<T, BTreeSet<T>>) -> Vec<BTreeSet<T>> {
    let reach = |from: &T| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            next.extend(graph.get(at).into_iter().flatten().filter(|to| seen.insert((*to).clone())));
        }
        seen
    };
    let reached: BTreeMap<&T, BTreeSet<T>> = graph.keys().map(|from| (from, reach(from))).collect();
    let mut circles: Vec<BTreeSet<T>> = Vec::new();
    for (from, to) in &reached {
        if !to.contains(*from) || circles.iter().any(|circle| circle.contains(*from)) {
            continue;
        }
        circles.push(to.iter().filter(|other| reached[*other].contains(*from)).cloned().collect());
    }
    circles
}

/// The circles among the files of each room.
fn file_circles(graph: &Graph) -> BTreeMap<String, Vec<BTreeSet<String>>> {
    let mut found: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
    for own in graph.keys().map(room).collect::<BTreeSet<_>>() {
        let inside = |module: &&Module| room(module) == own;
        let files = graph.iter().filter(|(module, _)| inside(module)).map(|(module, imported)| {
            (module.join("::"), imported.iter().filter(inside).map(|module| module.join("::")).collect())
        });
        let circles = circles(&files.collect());
        if !circles.is_empty() {
            found.insert(own, circles);
        }
    }
    found
}

/// The order of a crate's rooms in ARCHITECTURE.md: each imports only those to its right.
fn order(page: &str, name: &str) -> Option<Vec<String>> {
    let line = page.lines().find(|line| line.starts_with(&format!("- `{name}`: ")) && line.contains('→'))?;
    let rooms = line.split_once(": ")?.1.split('→');
    Some(rooms.map(|room| room.trim().trim_matches(|c| c == '`' || c == '.').to_owned()).collect())
}

#[test]
fn rooms_import_each_other_in_one_direction() {
    for name in CRATES {
        let rooms = rooms(&Crate::read(name).graph());
        let found = circles(&rooms).into_iter().map(|circle| {
            let arrows = |from| rooms[from].intersection(&circle).cloned().collect::<Vec<_>>();
            circle.iter().map(|from| (from.clone(), arrows(from))).collect::<BTreeMap<_, _>>()
        });
        let found: Vec<_> = found.collect();
        assert!(found.is_empty(), "{name}: circles of rooms, each with what it imports of them: {found:#?}");
    }
}

#[test]
fn files_of_a_room_import_each_other_in_one_direction() {
    for name in CRATES {
        let found = file_circles(&Crate::read(name).graph());
        assert!(found.is_empty(), "{name}: circles of files, by room: {found:#?}");
    }
}

#[test]
fn rooms_follow_the_order_of_the_architecture() {
    let page = fs::read_to_string(sources::root().join("ARCHITECTURE.md")).unwrap();
    for name in CRATES {
        let order = order(&page, name);
        let order = order.unwrap_or_else(|| panic!("ARCHITECTURE.md lists no order for {name}"));
        let place = |room: &str| order.iter().position(|listed| listed == room);
        for (from, imported) in rooms(&Crate::read(name).graph()) {
            let Some(at) = place(&from) else {
                assert!(from == "lib", "{name}: ARCHITECTURE.md does not list {from} in the order of rooms");
                continue;
            };
            for to in imported {
                assert!(
                    place(&to).is_some_and(|to| to > at),
                    "{name}: {from} imports {to}, against the order"
                );
            }
        }
        for room in &order {
            let known = Path::new(&sources::root()).join(name).join("src").join(room);
            assert!(known.is_dir() || known.with_extension("rs").is_file(), "{name} has no room {room}");
        }
    }
}

/// The server talks to itself without the crate that is made for others: of its modules, only the commands on a
/// running server use it. And that crate uses none of the server's.
#[test]
fn the_client_is_used_by_commands_alone_and_stands_alone() {
    let using: BTreeSet<String> = Crate::read("gateway")
        .modules
        .into_iter()
        .filter(|(_, text)| text.contains("draftwire_client"))
        .map(|(module, _)| module.join("/"))
        .collect();
    let (commands, others): (BTreeSet<_>, BTreeSet<_>) =
        using.into_iter().partition(|module| module.starts_with("process/cli/client"));
    assert!(!commands.is_empty() && others.is_empty(), "{others:?} name draftwire_client");
    let manifest = fs::read_to_string(sources::root().join("clients/rust/Cargo.toml")).unwrap();
    for name in ["common", "fanout", "gateway", "websocket", "testkit"] {
        let has = |line: &str| line.starts_with(&format!("{name}.")) || line.starts_with(&format!("{name} "));
        assert!(!manifest.lines().any(has), "clients/rust uses {name}");
    }
}

#[test]
fn a_planted_circle_is_found() {
    let files = [
        ("lib.rs", "pub use a::One;\nmod a;\nmod b;\n"),
        ("a/mod.rs", "mod inner;\npub use inner::One;\nuse crate::b::{self, Two};\n"),
        ("a/inner.rs", "pub struct One;\nfn f() { super::outer() }\n"),
        ("b.rs", "use std::{fmt, sync::{Arc, Mutex}};\nfn g(one: crate::One) {}\n"),
    ];
    let graph = Crate::new(files.map(|(path, text)| (path.to_owned(), text.to_owned()))).graph();
    assert_eq!(circles(&rooms(&graph)), [BTreeSet::from(["a".to_owned(), "b".to_owned()])]);
    assert_eq!(file_circles(&graph), BTreeMap::new(), "a re-export of a child is no import");
    let files = [
        ("lib.rs", "mod a;\n"),
        ("a/mod.rs", "mod inner;\nuse self::inner::One;\npub fn outer() {}\n"),
        ("a/inner.rs", "use super::outer;\n#[cfg(test)]\nmod tests {\n use crate::b::Two;\n}\n"),
    ];
    let graph = Crate::new(files.map(|(path, text)| (path.to_owned(), text.to_owned()))).graph();
    let circle = BTreeSet::from(["a".to_owned(), "a::inner".to_owned()]);
    assert_eq!(file_circles(&graph), BTreeMap::from([("a".to_owned(), vec![circle])]));
}
