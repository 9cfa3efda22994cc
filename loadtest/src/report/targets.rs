//! The speed to reach: each target with what was measured. Pure.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::Value;

use super::{
    figure::{Figure, Show, all, number},
    page::Page,
    runs::Results,
};

static KNOWN: LazyLock<Known> =
    LazyLock::new(|| toml::from_str(include_str!("targets.toml")).expect("tests read the targets"));

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    #[serde(rename = "target")]
    targets: Vec<Target>,
    compared: Vec<Compared>,
}

/// A target: a figure, and what is done to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    name: String,
    at_most: Option<f64>,
    at_least: Option<f64>,
    found: Found,
    or_larger: Option<Found>,
    less: Option<Found>,
    divided_by: Option<Found>,
    show: Show,
    #[serde(default)]
    unit: String,
}

/// A figure of a run.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    run: String,
    /// Of the level of `connections` with the most clients; of those with as many, the last.
    #[serde(default)]
    largest: bool,
    at: String,
}

/// A figure that is compared with an older server's.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compared {
    run: String,
    figure: Figure,
    /// `more` or `less`.
    better: String,
}

impl Found {
    /// # Errors
    /// Why it is not known, in words.
    fn of(&self, results: &Results) -> Result<f64, String> {
        let json = results.found(&self.run)?;
        let largest = || all(json, "/levels").iter().max_by_key(|level| level["clients"].as_u64());
        let json = if self.largest { largest() } else { Some(json) };
        let found = json.and_then(|json| number(json, &self.at));
        found.ok_or_else(|| format!("the run {} gave no such figure", self.run))
    }
}

impl Target {
    /// # Errors
    /// Why it was not measured, in words.
    fn measured(&self, results: &Results) -> Result<f64, String> {
        let mut value = self.found.of(results)?;
        if let Some(other) = &self.or_larger {
            value = value.max(other.of(results)?);
        }
        if let Some(less) = &self.less {
            value -= less.of(results)?;
        }
        match self.divided_by.as_ref().map(|by| by.of(results)).transpose()? {
            None => Ok(value),
            Some(by) if by > 0.0 => Ok(value / by),
            Some(_) => Err("there is nothing to compare with".to_owned()),
        }
    }

    /// Whether it is reached; `None` when nothing was measured.
    fn reached(&self, results: &Results) -> Option<bool> {
        let value = self.measured(results).ok()?;
        Some(
            self.at_most.is_none_or(|most| value <= most) && self.at_least.is_none_or(|least| value >= least),
        )
    }

    fn row(&self, results: &Results) -> Vec<String> {
        let shown = |value| format!("{}{}", self.show.text(value), self.unit);
        let measured = self.measured(results).map_or_else(|why| format!("not measured: {why}"), shown);
        let most = self.at_most.map(|most| format!("at most {}", shown(most)));
        let least = self.at_least.map(|least| format!("at least {}", shown(least)));
        let verdict = match self.reached(results) {
            Some(true) => "reached",
            Some(false) => "**missed**",
            None => "unknown",
        };
        vec![self.name.clone(), measured, most.or(least).unwrap_or_default(), verdict.to_owned()]
    }
}

/// All targets.
pub(super) fn render(results: &Results, page: &mut Page) {
    let rows = KNOWN.targets.iter().map(|target| target.row(results));
    page.table(&["target", "measured", "limit", "verdict"], rows);
}

/// An older server and the current one in the same runs, and the ratio.
pub(super) fn compare(results: &Results, page: &mut Page) {
    if results.before.is_empty() {
        return page.missing(
            "no older server was given to compare with. `report --before FILE` runs the same scenarios \
             alternately with it and with the current one",
        );
    }
    page.say(
        "The same scenarios, run one after the other with the older server and with the current one, on the same \
         machine. A ratio below 1 is a gain where less is better, above 1 where more is.",
    );
    let row = |Compared { run, figure, better }: &Compared| {
        let before = results.before.get(run)?;
        let [was, is] = [before.found.as_ref().map_err(String::clone), results.found(run)];
        let number = |json: &Result<&Value, String>| json.as_ref().ok().and_then(|json| figure.number(json));
        let ratio = number(&is).zip(number(&was)).filter(|(_, was)| *was > 0.0).map(|(is, was)| is / was);
        let cell = |json: Result<&Value, String>| match json {
            Ok(json) => figure.cell(json),
            Err(why) => format!("not measured: {why}"),
        };
        let ratio = ratio.map_or_else(|| "unknown".to_owned(), |ratio| Show::Times.text(ratio));
        Some(vec![run.clone(), figure.name.clone(), cell(was), cell(is), ratio, better.clone()])
    };
    let rows: Vec<Vec<String>> = KNOWN.compared.iter().filter_map(row).collect();
    if rows.is_empty() {
        return page.missing("none of the runs that are compared was asked for");
    }
    page.table(&["run", "figure", "before", "now", "ratio", "better is"], rows);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{figure::UNKNOWN, runs::Ran},
        *,
    };

    fn ran(found: Result<Value, String>) -> Ran {
        Ran { line: "x".to_owned(), seconds: 1.0, found }
    }

    fn results(key: &str, json: Value) -> Results {
        let mut results = Results::default();
        results.now.insert(key.to_owned(), ran(Ok(json)));
        results
    }

    fn reached(results: &Results, name: &str) -> Option<bool> {
        let target = KNOWN.targets.iter().find(|target| target.name.contains(name));
        target.expect("it is a target").reached(results)
    }

    #[test]
    fn a_target_is_reached_up_to_its_limit_and_unknown_without_a_figure() {
        let feed = |times: f64| results("feed-10", json!({"floor_delivery_times_with_bus": times}));
        assert_eq!(reached(&feed(1.3), "10 events/s"), Some(true));
        assert_eq!(reached(&feed(1.31), "10 events/s"), Some(false));
        assert_eq!(reached(&feed(1.0), "50 events/s"), None, "another run");
        let unknown = KNOWN.targets[0].row(&Results::default());
        assert!(unknown[1].contains("not asked for"), "{unknown:?}");
        for target in &KNOWN.targets {
            assert!(target.at_most.is_some() != target.at_least.is_some(), "{}", target.name);
        }
    }

    #[test]
    fn the_largest_level_is_looked_at_and_of_equal_ones_the_last() {
        let level = |clients: u64, cpu: f64| json!({"clients": clients, "cpu_us_each": cpu});
        let json = json!({"levels": [level(10, 900.0), level(1000, 200.0), level(1000, 110.0)]});
        assert_eq!(reached(&results("connections-seen", json), "seen before"), Some(true));
    }

    #[test]
    fn both_servers_are_shown_with_their_ratio_and_failures_with_their_reason() {
        let feed = |us: f64| json!({"delivered": {"cpu_each": {"with_bus_us": us}}});
        let mut results = results("feed-50", feed(3.0));
        results.before.insert("feed-50".to_owned(), ran(Ok(feed(6.0))));
        results.before.insert("saturate".to_owned(), ran(Err("it fell over".to_owned())));
        let mut page = Page::default();
        compare(&results, &mut page);
        assert!(page.text.contains("| 6.00 µs | 3.00 µs | 0.50 | less |"), "{}", page.text);
        assert!(page.text.contains("it fell over") && page.text.contains(UNKNOWN), "{}", page.text);
        let mut page = Page::default();
        compare(&Results::default(), &mut page);
        assert!(page.text.contains("no older server"), "{}", page.text);
    }
}
