//! Too many users, all of a sudden, for long, or ever more of them.

use serde_json::Value;

use super::{Chapter, course, found};
use crate::performance::{
    page::{Page, all, count, number, seconds, size, text, time},
    plot::Lines,
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter =
    Chapter { name: "stress", title: "Spike, soak and breakpoint", runs, render };

const MIB: f64 = 1.0 / 1_048_576.0;

fn runs(quick: bool) -> Vec<Spec> {
    let (spike, soak, breakpoint) = if quick {
        (
            "--users 6 --ramp 1s --duration 1s --after 5s",
            "--users 3 --duration 4s",
            "--users 6 --users-min 3 --ramp 1s --duration 1s",
        )
    } else {
        ("", "--duration 1m", "")
    };
    vec![
        Spec::new("spike", format!("stress --scenario spike {spike} --start nodes=2")),
        Spec::new("soak", format!("stress --scenario soak {soak} --start nodes=2")),
        Spec::new("breakpoint", format!("stress --scenario breakpoint {breakpoint} --start nodes=2")),
    ]
}

fn render(results: &Results, page: &mut Page) {
    page.heading(3, "Spike");
    page.say(
        "Users come within half a minute, stay for a moment, and nearly all leave at once. Those who stay show how \
         long it takes until changes are as quick as before.",
    );
    if let Some(json) = found(results, "spike", page) {
        let recovered = number(json, "/recovery_seconds").map_or_else(
            || "That all was as before, after the others had left, was not seen".to_owned(),
            |after| {
                format!("After the others had left, it took {} until all was as before", seconds(Some(after)))
            },
        );
        page.say(format!(
            "{} users came. 95 % of the devices were connected within {}, 95 % of the changes were on other devices \
             within {}. {recovered}.",
            count(number(json, "/settings/users")),
            time(number(json, "/measured/connect_p95_us")),
            time(number(json, "/measured/arrival_p95_us")),
        ));
        page.drawing(
            "spike",
            "Users, and the p95 of their changes, second by second",
            over_time(json, "Spike"),
        );
    }
    page.heading(3, "Soak");
    page.say(
        "The same users for long. Memory that is not given back, or latency that creeps up, would show here. The \
         scenario's own length is half an hour; a report looks for shorter, and `stability` for a day.",
    );
    if let Some(json) = found(results, "soak", page) {
        let memory: Vec<f64> =
            course(json, "nodes_resident_bytes", 1.0).into_iter().filter_map(|(_, bytes)| bytes).collect();
        page.say(format!(
            "{} users for {}. The nodes had {} of memory in the beginning, {} at the end; 95 % of the changes were \
             on other devices within {}.",
            count(number(json, "/settings/users")),
            seconds(number(json, "/settings/duration_seconds")),
            size(memory.first().copied()),
            size(memory.last().copied()),
            time(number(json, "/measured/arrival_p95_us")),
        ));
        let lines = vec![("nodes' memory".to_owned(), course(json, "nodes_resident_bytes", MIB))];
        let memory = Lines {
            title: "Soak: memory of the nodes".to_owned(),
            across: "seconds".to_owned(),
            up: "MiB".to_owned(),
            lines,
            ..Lines::default()
        };
        page.drawing("soak-memory", "Memory of the nodes over time", memory.svg());
        page.drawing("soak", "Users, and the p95 of their changes, over time", over_time(json, "Soak"));
    }
    page.heading(3, "Breakpoint");
    page.say(
        "Level by level more users, who make five changes a second each, until the p95 of their changes on other \
         devices is over 150 ms or something fails. What the levels before it had used up says why.",
    );
    if let Some(json) = found(results, "breakpoint", page) {
        let rows: Vec<Vec<String>> = all(json, "/levels")
            .iter()
            .map(|level| {
                vec![
                    count(number(level, "/users")),
                    count(number(level, "/changes_per_second")),
                    number(level, "/arrival_p95_us")
                        .map_or_else(|| "too few arrived".to_owned(), |us| time(Some(us))),
                    format!(
                        "{} of {}",
                        count(number(level, "/arrived")),
                        count(number(level, "/arrivals_due"))
                    ),
                ]
            })
            .collect();
        page.table(&["users", "changes a second", "change to device p95", "arrived in time"], &rows);
        page.say(format!(
            "It breaks at: {}. What was used up first: {}.",
            text(json, "/breakpoint/told"),
            text(json, "/breakpoint/used_up_told")
        ));
        let level = |level: &Value| {
            Some((number(level, "/users")?, number(level, "/arrival_p95_us").map(|us| us / 1e3)))
        };
        let lines = vec![("p95".to_owned(), all(json, "/levels").iter().filter_map(level).collect())];
        let drawn = Lines {
            title: "Breakpoint: changes on other devices, p95".to_owned(),
            across: "users".to_owned(),
            up: "milliseconds".to_owned(),
            lines,
            limit: Some(("limit".to_owned(), 150.0)),
            ..Lines::default()
        };
        page.drawing("breakpoint", "The p95 of changes by the number of users", drawn.svg());
    }
}

fn over_time(json: &Value, title: &str) -> String {
    Lines {
        title: format!("{title}: users, and changes on other devices"),
        across: "seconds".to_owned(),
        up: "users; milliseconds".to_owned(),
        lines: vec![
            ("users".to_owned(), course(json, "users", 1.0)),
            ("p95, ms".to_owned(), course(json, "arrival_p95_us", 1e-3)),
        ],
        ..Lines::default()
    }
    .svg()
}
