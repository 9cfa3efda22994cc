//! Parts of the cluster fail while devices work.

use serde_json::Value;

use super::{Chapter, found};
use crate::performance::{
    page::{Page, all, count, number, seconds, text},
    plot::Lines,
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter =
    Chapter { name: "chaos", title: "Failures while devices work", runs, render };

fn runs(quick: bool) -> Vec<Spec> {
    let how =
        if quick { "--users 3 --devices 2 --rate 10 --duration 6s --pause 1s" } else { "--duration 45s" };
    vec![Spec::new("chaos", format!("chaos {how} --start nodes=3,nginx"))]
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "Devices edit drafts and publish while nodes, Redis, Postgres and Nginx are killed, stopped and started again. \
         What was acknowledged and what each follower saw is recorded. In the end the record proves or refutes: no \
         acknowledged change is lost, nothing is seen twice or out of order, and all devices have what the database \
         has.",
    );
    let Some(json) = found(results, "chaos", page) else { return };
    let violations = all(json, "/violations");
    page.say(format!(
        "{} changes were asked for, {} acknowledged and {} never answered; {} events were delivered, and {} \
         connections resumed from their cursors. Violations found: {}.",
        count(number(json, "/invocations")),
        count(number(json, "/acked")),
        count(number(json, "/unknown")),
        count(number(json, "/deliveries")),
        count(number(json, "/resumes")),
        violations.len(),
    ));
    page.list(
        violations
            .iter()
            .map(|violation| format!("{}: {}", text(violation, "/stream"), text(violation, "/what"))),
    );
    let faults = all(json, "/faults");
    let rows: Vec<Vec<String>> = faults
        .iter()
        .map(|fault| {
            let (began, mended) = (number(fault, "/began"), number(fault, "/mended"));
            vec![
                seconds(began),
                text(fault, "/part").to_owned(),
                text(fault, "/how").to_owned(),
                seconds(mended.zip(began).map(|(mended, began)| mended - began)),
                number(fault, "/recovery_seconds").map_or_else(
                    || "not before the next fault, or the end".to_owned(),
                    |after| seconds(Some(after)),
                ),
            ]
        })
        .collect();
    if rows.is_empty() {
        page.missing("no fault fell into the time of the run");
    } else {
        page.table(
            &["at", "part", "what happened to it", "for", "all live again after it was mended"],
            &rows,
        );
    }
    let line = |name: &str| {
        let counts = all(json, &format!("/series/{name}")).iter().map(Value::as_f64);
        (name.to_owned(), (0..).map(f64::from).zip(counts).collect())
    };
    let drawn = Lines {
        title: "What happened in each second; faults are shaded".to_owned(),
        across: "seconds".to_owned(),
        up: "changes, events".to_owned(),
        lines: vec![line("acked"), line("delivered")],
        marks: faults
            .iter()
            .filter_map(|fault| Some((number(fault, "/began")?, number(fault, "/mended")?)))
            .collect(),
        ..Lines::default()
    };
    page.drawing("chaos", "Changes acknowledged and events delivered while parts fail", drawn.svg());
}
