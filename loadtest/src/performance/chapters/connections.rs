//! What it takes to connect, and what a connection holds.

use serde_json::Value;

use super::{Chapter, found};
use crate::performance::{
    page::{Page, all, count, cpu, number, p99, seconds, size, time, times},
    plot::{Lines, Points},
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter = Chapter { name: "connections", title: "Connections", runs, render };

fn runs(quick: bool) -> Vec<Spec> {
    let start = "--start nodes=1";
    let (levels, burst, seen) = if quick {
        ("10,150 --hold 100ms", "100 --hold 100ms", "100,100 --hold 100ms")
    } else {
        ("10,50,100,500,1000,10000,15000", "1000", "1000,1000")
    };
    vec![
        Spec::new("connections", format!("connections --levels {levels} {start}")),
        Spec::new("connections-burst", format!("connections --levels {burst} --burst {start}")),
        // In the second level, each client comes with the token of the first.
        Spec::new("connections-seen", format!("connections --levels {seen} {start}")).compared(),
    ]
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "Clients connect to one node, 64 at a time, and then only wait. *Connecting* is the time until a client has \
         its `WELCOME`, its token verified on the way. *Memory of each* is what the node's resident memory has grown \
         by since before the first of them, divided by their number; of fewer than a hundred it says nothing. The \
         kernel's own memory for a socket comes on top, at each end, and is nobody's to save.",
    );
    if let Some(json) = found(results, "connections", page) {
        levels(json, page);
        page.say(format!(
            "At the largest level a bare accept loop holds {} for each connection and needs {} of a processor for it: \
             the node takes {} times the memory and {} times the processor.",
            size(number(json, "/floor_connection/bytes_each")),
            cpu(number(json, "/floor_connection/cpu_us_each")),
            times(number(json, "/floor_memory_times")),
            times(number(json, "/floor_cpu_times")),
        ));
        let line = |at: &str, scale: f64| -> Points {
            let all = all(json, "/levels").iter();
            all.filter_map(|level| {
                Some((number(level, "/clients")?, number(level, at).map(|value| value * scale)))
            })
            .collect()
        };
        let memory = Lines {
            title: "Memory of the node for each connection".to_owned(),
            across: "connections".to_owned(),
            up: "KiB".to_owned(),
            lines: vec![("memory".to_owned(), line("/bytes_each", 1.0 / 1024.0))],
            limit: Some(("6 KiB".to_owned(), 6.0)),
            ..Lines::default()
        };
        page.drawing("connection-memory", "Memory for each connection by their number", memory.svg());
    }
    page.heading(3, "All at once");
    page.say("The same, but all clients begin at the same moment, and their times count from it.");
    if let Some(json) = found(results, "connections-burst", page) {
        levels(json, page);
    }
    page.heading(3, "Tokens seen before");
    page.say(
        "The clients of the second level come with the tokens of the first: the node has verified them, and remembers \
         that for a few minutes at most.",
    );
    if let Some(json) = found(results, "connections-seen", page) {
        levels(json, page);
    }
}

fn levels(json: &Value, page: &mut Page) {
    let rows: Vec<Vec<String>> = all(json, "/levels")
        .iter()
        .map(|level| {
            let memory = number(level, "/bytes_each");
            vec![
                count(number(level, "/clients")),
                count(number(level, "/connected")),
                seconds(number(level, "/seconds")),
                time(p99(level, "/connect")),
                cpu(number(level, "/cpu_us_each")),
                memory.map_or_else(|| "too few to say".to_owned(), |bytes| size(Some(bytes))),
                size(number(level, "/resident_after")),
            ]
        })
        .collect();
    let headings = [
        "clients",
        "connected",
        "in all",
        "connecting p99",
        "processor each",
        "memory of each",
        "node's memory after them",
    ];
    page.table(&headings, &rows);
}
