//! The machine that a report is of.

use std::{fs, path::Path, process::Command};

use testkit::postgres;

/// What is known of it now, in the order in which it is told.
pub(super) fn facts(server: &Path) -> Vec<(&'static str, String)> {
    let shell = |script: &str| said(Command::new("sh").args(["-c", script]));
    let postgres = postgres::program("postgres").map_or_else(
        |error| unknown(&format!("{error:#}")),
        |program| said(Command::new(program).arg("--version")),
    );
    let cores = std::thread::available_parallelism();
    let cores = cores.map_or_else(|error| unknown(&error.to_string()), |cores| cores.to_string());
    vec![
        ("date", shell("date -u '+%Y-%m-%d %H:%M UTC'")),
        ("processor", value_of("/proc/cpuinfo", "model name")),
        ("processors", cores),
        ("memory", memory(&value_of("/proc/meminfo", "MemTotal"))),
        ("kernel", shell("uname -sr")),
        ("load average at the start", shell("cut -d' ' -f1-3 /proc/loadavg")),
        ("Postgres", postgres),
        ("Redis", shell("redis-server --version")),
        ("Nginx", shell("nginx -v")),
        ("Rust", shell("rustc --version")),
        ("git commit", shell("git describe --always --abbrev=12 --exclude '*' --dirty=', with changes'")),
        ("server", said(Command::new(server).arg("--version"))),
    ]
}

fn unknown(why: &str) -> String {
    format!("not known: {why}")
}

/// The first line of what a program says.
fn said(command: &mut Command) -> String {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => return unknown(&format!("{}: {error}", command.get_program().to_string_lossy())),
    };
    let all = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&all);
    match text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) if output.status.success() => line.trim().to_owned(),
        Some(line) => unknown(line.trim()),
        None => unknown("it says nothing"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_is_known_or_says_why_not() {
        let facts = facts(Path::new("/nowhere/draftwire"));
        assert!(facts.iter().all(|(_, fact)| !fact.trim().is_empty()), "{facts:?}");
        let (_, server) = facts.last().expect("there are facts");
        assert!(server.starts_with("not known: /nowhere/draftwire"), "{server}");
        assert_eq!(memory("16384000 kB"), "15.6 GiB");
    }
}
