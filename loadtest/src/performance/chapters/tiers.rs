//! So many users as a tier has, and the steady loads.

use super::{Chapter, missing_row};
use crate::{
    performance::{
        page::{Page, count, number, time},
        plot::Bars,
        runs::{Results, Spec},
    },
    scenario::load::Tier,
};

pub(super) const CHAPTER: Chapter = Chapter { name: "tiers", title: "Baseline for each tier", runs, render };

const STEADY: [&str; 3] = ["baseline", "high", "burst"];

fn runs(quick: bool) -> Vec<Spec> {
    let times = if quick { "--ramp 1s --hold 1s --down 1s" } else { "--ramp 4s --hold 8s --down 2s" };
    let tiers = Tier::ALL.map(Tier::name).into_iter().map(|tier| {
        Spec::new(format!("tier-{tier}"), format!("load --tier {tier} {times} --start nodes=2,nginx"))
    });
    let steady = STEADY.iter().map(|name| {
        let more = match (*name, quick) {
            ("burst", true) => "--bursts 2 --every 1s --connections 20",
            ("burst", false) => "",
            (_, true) => "--duration 1s --connections 20",
            (_, false) => "--duration 10s",
        };
        Spec::new(*name, format!("{name} {more} --start nodes=2"))
    });
    tiers.chain(steady).collect()
}

fn render(results: &Results, page: &mut Page) {
    page.say(
        "Users come one after the other, each with three devices, edit drafts once a second, and leave. Two nodes \
         behind Nginx serve them. *Connecting* is the time until a device knows its drafts; *change to device* is the \
         time from when an edit was meant to be sent until another device of its user has it. 95 % of them took at \
         most as long as the table says.",
    );
    let headings =
        ["tier", "users", "connecting p95", "limit", "change to device p95", "limit", "arrived", "limit"];
    let mut rows = Vec::new();
    let mut bars = Vec::new();
    for (tier, limits) in Tier::ALL.map(|tier| (tier, tier.limits())) {
        let (tier, users) = (tier.name(), tier.users());
        let json = match results.found(&format!("tier-{tier}")) {
            Ok(json) => json,
            Err(why) => {
                rows.push(missing_row(tier, &why, headings.len()));
                continue;
            }
        };
        let p95 = number(json, "/measured/arrival_p95_us");
        bars.extend(p95.map(|us| (tier.to_owned(), us / 1e3)));
        rows.push(vec![
            tier.to_owned(),
            users.to_string(),
            time(number(json, "/measured/connect_p95_us")),
            time(Some(limits.connect_p95_us as f64)),
            time(p95),
            time(Some(limits.arrival_p95_us as f64)),
            format!(
                "{} of {}",
                count(number(json, "/measured/arrived")),
                count(number(json, "/measured/arrivals_due"))
            ),
            format!("{} %", limits.success_percent),
        ]);
    }
    page.table(&headings, &rows);
    if !bars.is_empty() {
        let title = "Change to device, p95".to_owned();
        page.drawing(
            "tiers",
            "How long changes take to other devices in each tier",
            Bars { title, up: "milliseconds".to_owned(), bars, limit: None }.svg(),
        );
    }
    page.heading(3, "Steady loads");
    page.say(
        "`baseline` is a load that every cluster has to bear (100 connections, 10 messages a second), `high` a busy \
         one (1,000 connections, 50 messages a second), `burst` one in which everybody makes a change at the same \
         moment after a silence.",
    );
    let headings = ["load", "connecting p95", "change to device p95", "arrived"];
    let mut rows = Vec::new();
    for name in STEADY {
        match results.found(name) {
            Ok(json) => rows.push(vec![
                name.to_owned(),
                time(number(json, "/measured/connect_p95_us")),
                time(number(json, "/measured/arrival_p95_us")),
                format!(
                    "{} of {}",
                    count(number(json, "/measured/arrived")),
                    count(number(json, "/measured/arrivals_due"))
                ),
            ]),
            Err(why) => rows.push(missing_row(name, &why, headings.len())),
        }
    }
    page.table(&headings, &rows);
}
