//! Drafts of many users on several devices.

use super::{Chapter, missing_row};
use crate::performance::{
    page::{Page, count, cpu, number, p99, time},
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter =
    Chapter { name: "drafts", title: "Drafts on several devices", runs, render };

fn runs(quick: bool) -> Vec<Spec> {
    let how =
        if quick { "--users 5 --rate 20 --duration 1s" } else { "--users 500 --rate 1000 --duration 10s" };
    [2, 3]
        .map(|devices| {
            let line = format!("drafts {how} --devices {devices} --start nodes=3");
            let spec = Spec::new(format!("drafts-{devices}"), line);
            if devices == 3 { spec.compared() } else { spec }
        })
        .into()
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "Users edit drafts; each device is on another node than the user's other devices. Every edit is a transaction \
         that is committed before it is acknowledged. At the end each device must have what the database has, each \
         event once and in order. *CPU for a delivery* divides what nodes, Redis and Postgres used by the events that \
         devices received, their authors' included; *to other devices* leaves those out.",
    );
    let headings = [
        "devices each",
        "acknowledged",
        "p99 to the answer",
        "p99 to other devices",
        "nodes",
        "Redis",
        "Postgres",
        "CPU for a delivery",
        "to other devices",
        "faults",
    ];
    let mut rows = Vec::new();
    for devices in [2, 3] {
        let json = match results.found(&format!("drafts-{devices}")) {
            Ok(json) => json,
            Err(why) => {
                rows.push(missing_row(&devices.to_string(), &why, headings.len()));
                continue;
            }
        };
        let each = |part: &str| cpu(number(json, &format!("/spent/each_delivery/{part}")));
        let faults: u64 = json["broken"]
            .as_object()
            .map_or(0, |broken| broken.values().filter_map(serde_json::Value::as_u64).sum());
        rows.push(vec![
            devices.to_string(),
            count(number(json, "/commands/acked")),
            time(p99(json, "/answered")),
            time(p99(json, "/deliveries/from_intended")),
            each("nodes_us"),
            each("redis_us"),
            each("postgres_us"),
            each("all_us"),
            cpu(number(json, "/spent/each_other/all_us")),
            faults.to_string(),
        ]);
    }
    page.table(&headings, &rows);
}
