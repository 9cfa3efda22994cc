//! The highest rate that a feed holds.

use serde_json::Value;

use super::{Chapter, found};
use crate::performance::{
    page::{Page, all, count, cpu, number, p99, time, times},
    plot::{Lines, Points},
    runs::{Results, Spec},
};

pub(super) const CHAPTER: Chapter = Chapter { name: "saturation", title: "Saturated fan-out", runs, render };

fn runs(quick: bool) -> Vec<Spec> {
    let how = if quick {
        "--followers 20 --publishers 2 --rate 40 --rate-max 80 --step 500ms --duration 1s --warmup 100ms --together 2"
    } else {
        "--followers 1000 --publishers 10 --rate 500 --rate-max 16000 --step 3s --duration 5s --together 30 --wire msgpack"
    };
    vec![Spec::new("saturate", format!("feed --saturate {how} --start nodes=1")).compared()]
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "Rates are tried until the highest one is known within a tenth that holds: everything acknowledged, nothing \
         lost, and 99 % of the deliveries within 100 ms of the moment at which their event was to be sent. What waits \
         for a follower shares a write, so a delivery gets cheaper the more of them there are. Server, database and \
         load generator share the machine's processors.",
    );
    let Some(json) = found(results, "saturate", page) else { return };
    let rows: Vec<Vec<String>> = all(json, "/saturated/steps")
        .iter()
        .map(|step| {
            vec![
                count(number(step, "/rate")),
                count(number(step, "/deliveries_per_second")),
                time(p99(step, "/from_send")),
                cpu(number(step, "/costs/all_us")),
                step["broken"]
                    .as_str()
                    .map_or_else(|| "holds".to_owned(), |why| format!("does not hold: {why}")),
            ]
        })
        .collect();
    page.table(&["events/s", "deliveries/s", "p99 to client", "CPU for a delivery", "verdict"], &rows);
    let at = |part: &str| format!("/saturated/{part}");
    if json["saturated"]["highest"].is_null() {
        page.missing("no rate that was tried holds");
    } else {
        page.say(format!(
            "The highest rate is {} events and {} deliveries a second, with a p99 of {} and {} of a processor for a \
             delivery (nodes, Redis and Postgres).",
            count(number(json, &at("highest/rate"))),
            count(number(json, &at("highest/deliveries_per_second"))),
            time(p99(json, &at("highest/from_send"))),
            cpu(number(json, &at("highest/costs/all_us"))),
        ));
        page.say(format!(
            "A bare loop with ten events in each write needs {} for a delivery; the nodes need {}.",
            cpu(number(json, "/floor_delivery_batched/cpu_us_per_delivery")),
            cpu(number(json, &at("highest/costs/nodes_us"))),
        ));
        page.say(format!(
            "At half of it, the p99 from intended sending to the client is {}, and from the event's commit to the \
             client {}. A bare insert and commit in the same Postgres, with as many writers as there are publishers, \
             has a p99 of {}: commit to client takes {} times as long.",
            time(p99(json, &at("half/from_send"))),
            time(p99(json, &at("half/from_commit"))),
            time(p99(json, "/floor_commit/commit")),
            times(number(json, "/commit_to_client_times")),
        ));
    }
    let mut points: Points = all(json, "/saturated/steps").iter().filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let drawn = Lines {
        title: "Deliveries a second, and their p99".to_owned(),
        across: "events a second".to_owned(),
        up: "milliseconds, at most 400".to_owned(),
        lines: vec![("p99".to_owned(), points)],
        limit: Some(("limit".to_owned(), 100.0)),
        ..Lines::default()
    };
    page.drawing("saturation", "The p99 of deliveries by the rate of events", drawn.svg());
}

/// What is far beyond the limit would flatten everything below it.
fn point(step: &Value) -> Option<(f64, Option<f64>)> {
    Some((number(step, "/rate")?, p99(step, "/from_send").map(|us| (us / 1e3).min(400.0))))
}
