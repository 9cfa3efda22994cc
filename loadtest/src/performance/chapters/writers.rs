//! Writers that wait for their commits.

use super::{Chapter, missing_row};
use crate::performance::{
    page::{Page, UNKNOWN, count, cpu, number, p99, time, times},
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter = Chapter { name: "writers", title: "Durable writes", runs, render };

fn runs(quick: bool) -> Vec<Spec> {
    let (topic, together, drafts) = if quick {
        (
            "--durable-writers 10 --duration 1s --warmup 200ms",
            "--together 5",
            "--users 20 --writers 10 --duration 1s --warmup 200ms",
        )
    } else {
        (
            "--durable-writers 100 --duration 10s",
            "--together 200",
            "--users 1000 --writers 100 --duration 10s",
        )
    };
    vec![
        Spec::new("writers-topic", format!("feed --followers 0 {topic} --start nodes=1")).compared(),
        Spec::new("writers-arrays", format!("feed --followers 0 {topic} {together} --start nodes=1"))
            .compared(),
        Spec::new("writers-drafts", format!("writers {drafts} --start nodes=1")).compared(),
    ]
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "Each writer sends its next event once the last one was acknowledged, and an acknowledgement means that it is \
         committed to Postgres. Writers that wait at the same time share a commit. The floor is as many connections \
         to the same Postgres that insert a row and commit, each on its own.",
    );
    let headings = [
        "what",
        "committed/s",
        "p99 to the answer",
        "events in a commit",
        "CPU each",
        "floor/s",
        "times the floor",
    ];
    let mut rows = Vec::new();
    for (key, name, part, cpu_at) in [
        ("writers-topic", "events to one topic, one a request", "/published", ""),
        ("writers-arrays", "events to one topic, many a request", "/published", ""),
        ("writers-drafts", "changes of many users' drafts", "/written", "/written/cpu_each/all_us"),
    ] {
        let json = match results.found(key) {
            Ok(json) => json,
            Err(why) => {
                rows.push(missing_row(name, &why, headings.len()));
                continue;
            }
        };
        let of = |at: &str| number(json, &format!("{part}/{at}"));
        let each = of("commits")
            .filter(|commits| *commits > 0.0)
            .zip(of("acked"))
            .map(|(commits, acked)| acked / commits);
        let cpu_at = if cpu_at.is_empty() { "/delivered/cpu_each/all_us" } else { cpu_at };
        rows.push(vec![
            name.to_owned(),
            count(of("per_second")),
            time(p99(json, &format!("{part}/answered"))),
            each.map_or_else(|| UNKNOWN.to_owned(), |each| format!("{each:.1}")),
            cpu(number(json, cpu_at)),
            count(number(json, "/floor_inserts/per_second")),
            times(number(json, "/floor_inserts_times")),
        ]);
    }
    page.table(&headings, &rows);
}
