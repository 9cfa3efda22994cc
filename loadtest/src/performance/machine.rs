//! The machine that a report is of.

use std::{fs, path::Path, process::Command};

use testkit::postgres;

/// What is known of it, in the order in which it is told.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    pub(super) facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// This one, now.
    pub(super) fn here(server: &Path) -> Self {
        let said = |program: &str, arguments: &[&str]| said(Command::new(program).args(arguments));
        let postgres = postgres::program("postgres").map_or_else(
            |error| unknown(&format!("{error:#}")),
            |program| self::said(Command::new(program).arg("--version")),
        );
        let cores = std::thread::available_parallelism()
            .map_or_else(|error| unknown(&error.to_string()), |cores| cores.to_string());
        let facts = vec![
            ("date", said("date", &["-u", "+%Y-%m-%d %H:%M UTC"])),
            ("processor", value_of("/proc/cpuinfo", "model name")),
            ("processors", cores),
            ("memory", memory(&value_of("/proc/meminfo", "MemTotal"))),
            ("kernel", said("uname", &["-sr"])),
            ("load average at the start", load()),
            ("Postgres", postgres),
            ("Redis", said("redis-server", &["--version"])),
            ("Nginx", said("nginx", &["-v"])),
            ("Rust", said("rustc", &["--version"])),
            ("git commit", commit()),
            ("server", self::said(Command::new(server).arg("--version"))),
        ];
        Self { facts }
    }
}

fn unknown(why: &str) -> String {
    format!("not known: {why}")
}

/// The first line of what a program says.
fn said(command: &mut Command) -> String {
    match command.output() {
        Ok(output) => {
            let all = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&all);
            match text.lines().find(|line| !line.trim().is_empty()) {
                Some(line) if output.status.success() => line.trim().to_owned(),
                Some(line) => unknown(line.trim()),
                None => unknown("it says nothing"),
            }
        }
        Err(error) => unknown(&format!("{}: {error}", command.get_program().to_string_lossy())),
    }
}

/// What a file of `name : value` lines says.
fn value_of(file: &str, name: &str) -> String {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return unknown(&format!("{file}: {error}")),
    };
    let value = text.lines().find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name));
    value.map_or_else(|| unknown(&format!("{file} names no {name}")), |(_, value)| value.trim().to_owned())
}

fn memory(text: &str) -> String {
    let kib = text.trim_end_matches(" kB").parse::<f64>();
    kib.map_or_else(|_| text.to_owned(), |kib| format!("{:.1} GiB", kib / 1_048_576.0))
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_else(|error| unknown(&error.to_string()));
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn commit() -> String {
    let commit = said(Command::new("git").args(["rev-parse", "--short=12", "HEAD"]));
    let changed = Command::new("git").args(["status", "--porcelain", "--untracked-files=no"]).output();
    let changed = changed.is_ok_and(|output| output.status.success() && !output.stdout.is_empty());
    if changed { format!("{commit}, with changes that are not committed") } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_known_or_says_why_not() {
        let machine = Machine::here(Path::new("/nowhere/draftwire"));
        assert!(machine.facts.iter().all(|(_, fact)| !fact.trim().is_empty()), "{machine:?}");
        let (_, server) = machine.facts.last().expect("there are facts");
        assert!(server.starts_with("not known: /nowhere/draftwire"), "{server}");
        assert_eq!(memory("16384000 kB"), "15.6 GiB");
    }
}
