//! One event to many followers, and what further nodes cost.

use super::{Chapter, missing_row};
use crate::performance::{
    page::{Page, UNKNOWN, cpu, number, p99, time, times},
    plot::Bars,
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter =
    Chapter { name: "feed", title: "Fan-out, and what further nodes cost", runs, render };

/// Runs, events a second, nodes.
const RUNS: [(&str, u32, u32); 4] =
    [("feed-10", 10, 1), ("feed-50", 50, 1), ("feed-50-nodes-2", 50, 2), ("feed-50-nodes-3", 50, 3)];

fn runs(quick: bool) -> Vec<Spec> {
    RUNS.iter()
        .map(|(key, rate, nodes)| {
            let how = if quick {
                "--followers 30 --duration 1s --warmup 200ms"
            } else {
                "--followers 1000 --duration 10s"
            };
            let spec = Spec::new(*key, format!("feed {how} --rate {rate} --start nodes={nodes}"));
            if *key == "feed-50" { spec.compared() } else { spec }
        })
        .collect()
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "Events of 200 bytes, published over HTTP and committed, to followers that are spread over all nodes, slowly \
         enough that each event has a write of its own. *CPU* is the processor time of all nodes, publishing and \
         committing included, and of Redis and Postgres, divided by the events that followers received. *Times the \
         floor* compares nodes and Redis with a bare loop that writes a prepared frame to as many sockets.",
    );
    let headings = [
        "events/s",
        "nodes",
        "delivered",
        "CPU nodes",
        "Redis",
        "Postgres",
        "times the floor",
        "p50 to client",
        "p99 to client",
        "floor's p99",
    ];
    let mut rows = Vec::new();
    let mut bars = Vec::new();
    for (key, rate, nodes) in RUNS {
        let json = match results.found(key) {
            Ok(json) => json,
            Err(why) => {
                rows.push(missing_row(&rate.to_string(), &why, headings.len()));
                continue;
            }
        };
        let each = |part: &str| number(json, &format!("/delivered/cpu_each/{part}"));
        if rate == 50 {
            bars.extend(each("with_bus_us").map(|us| (format!("{nodes} nodes"), us)));
        }
        rows.push(vec![
            rate.to_string(),
            nodes.to_string(),
            number(json, "/delivered/ratio")
                .map_or_else(|| UNKNOWN.to_owned(), |ratio| format!("{:.3} %", ratio * 100.0)),
            cpu(each("nodes_us")),
            cpu(each("redis_us")),
            cpu(each("postgres_us")),
            times(number(json, "/floor_delivery_times_with_bus")),
            time(number(json, "/delivered/from_send/p50_us")),
            time(p99(json, "/delivered/from_send")),
            time(p99(json, "/floor_delivery/from_send")),
        ]);
    }
    page.table(&headings, &rows);
    if !bars.is_empty() {
        let title = "CPU of nodes and Redis for a delivery, 50 events/s".to_owned();
        let drawn = Bars { title, up: "microseconds".to_owned(), bars, limit: None };
        page.drawing(
            "scalability",
            "Processor time for a delivery with one, two and three nodes",
            drawn.svg(),
        );
    }
    page.say(
        "Further nodes each receive a copy of an event once, whatever the number of their followers, so a delivery \
         costs the more the fewer followers share the copy.",
    );
}
