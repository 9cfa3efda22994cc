//! What the machine alone costs.

use super::{Chapter, found};
use crate::performance::{
    page::{Page, count, cpu, number, p99, size, time},
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter =
    Chapter { name: "floor", title: "The floor: what this machine alone costs", runs, render };

fn runs(quick: bool) -> Vec<Spec> {
    let line = if quick {
        "floor --sockets 50 --connections 100 --writers 10 --duration 1s"
    } else {
        "floor --sockets 1000 --rate 50 --connections 1000 --writers 100 --duration 5s"
    };
    vec![Spec::new("floor", line)]
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "A bare loop that writes a prepared frame to each socket, a bare loop that accepts connections, and as many \
         connections to Postgres that insert and commit one row after the other. Who does the same one by one cannot \
         be cheaper, so the ratio to these figures is what says how good a server is, on whatever machine; who shares \
         writes and commits can. The scenarios below measure their floor again, each in its own run.",
    );
    let Some(json) = found(results, "floor", page) else { return };
    let rows = [
        ("a delivery, one event in a write", cpu(number(json, "/delivery/cpu_us_per_delivery"))),
        ("a delivery, ten events in a write", cpu(number(json, "/delivery_batched/cpu_us_per_delivery"))),
        ("an idle connection, memory", size(number(json, "/connection/bytes_each"))),
        ("a connection, processor", cpu(number(json, "/connection/cpu_us_each"))),
        ("commits of one row each, a second", count(number(json, "/inserts/per_second"))),
        ("a commit of one row, p99", time(p99(json, "/inserts/commit"))),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    page.table(&["what", "costs"], &rows);
}
