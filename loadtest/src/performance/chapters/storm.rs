//! Everybody loses a node at once.

use super::{Chapter, found};
use crate::performance::{
    page::{Page, count, number, p99, seconds, time},
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter =
    Chapter { name: "storm", title: "A node is lost with all its devices", runs, render };

fn runs(quick: bool) -> Vec<Spec> {
    let how = if quick { "--devices 60 --gap 5" } else { "--devices 10000 --gap 100" };
    let start = "--start nodes=2";
    vec![
        Spec::new("storm", format!("storm {how} {start}")),
        Spec::new("storm-topic", format!("storm {how} --follow topic --per-stream 1000 {start}")),
    ]
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "All devices are on one node, which is killed. While they are away, events are written to each stream that \
         they follow. Then all come back to the other node at the same moment with their cursors, and each has to be \
         told everything that it missed. The pauses that well-behaved devices make are left out: it is the worst case.",
    );
    let mut rows = Vec::new();
    for (key, name) in [("storm", "their users' streams, ten devices each"), ("storm-topic", "topics")] {
        page.heading(3, &format!("They follow {name}"));
        let Some(json) = found(results, key, page) else { continue };
        rows.clear();
        let queries = number(json, "/storm/queries_each").filter(|each| *each > 0.0);
        let facts = [
            ("devices", count(number(json, "/settings/devices"))),
            ("events missed by each", count(number(json, "/settings/gap"))),
            ("devices that have all of it", count(number(json, "/storm/synced_devices"))),
            ("until the last has", seconds(number(json, "/storm/seconds"))),
            ("99 % of them after", time(p99(json, "/storm/synced"))),
            ("events replayed", count(number(json, "/storm/tally/received"))),
            ("events lost", count(number(json, "/storm/tally/lost"))),
            ("attempts to connect that were repeated", count(number(json, "/storm/retries"))),
            (
                "devices for each query of the log",
                queries.map_or_else(|| "no query was counted".to_owned(), |each| count(Some(1.0 / each))),
            ),
        ];
        rows.extend(facts.map(|(name, value)| vec![name.to_owned(), value]));
        page.table(&["what", "measured"], &rows);
    }
}
