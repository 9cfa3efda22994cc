//! Whether memory comes back.

use super::{Chapter, found};
use crate::performance::{
    page::{Page, all, count, number, size},
    plot::Lines,
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter = Chapter { name: "memory", title: "Memory that comes back", runs, render };

fn runs(quick: bool) -> Vec<Spec> {
    let how = if quick { "--cycles 3 --connections 20 --hold 50ms" } else { "--cycles 10 --connections 100" };
    vec![Spec::new("churn", format!("churn {how} --start nodes=1"))]
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "The same clients follow a topic, leave and come back, again and again, after three rounds that do not count. \
         An allocator keeps what it once had; what must not be is growth with every round.",
    );
    let Some(json) = found(results, "churn", page) else { return };
    let resident: Vec<f64> =
        all(json, "/cycles").iter().filter_map(|cycle| number(cycle, "/resident_bytes")).collect();
    page.say(format!(
        "{} clients, {} rounds: {} of memory after the first, {} after the last. By the median of the slopes between \
         all pairs of rounds it grows by {} for each connection made, {} in all.",
        count(number(json, "/settings/connections")),
        count(number(json, "/settings/cycles")),
        size(resident.first().copied()),
        size(resident.last().copied()),
        size(number(json, "/growth/each_connection")),
        size(number(json, "/growth/in_all")),
    ));
    let points = (1..).map(f64::from).zip(resident.iter().map(|bytes| Some(bytes / 1_048_576.0))).collect();
    let drawn = Lines {
        title: "Memory of the node after each round".to_owned(),
        across: "rounds".to_owned(),
        up: "MiB".to_owned(),
        lines: vec![("memory".to_owned(), points)],
        ..Lines::default()
    };
    page.drawing("churn", "Memory of the node after each round", drawn.svg());
}
