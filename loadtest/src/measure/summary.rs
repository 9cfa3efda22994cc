//! What a scenario comes back with: a verdict, a text for people, and the same as JSON.

use std::{
    fmt::{self, Display},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::{Map, Value};

use super::latency::{self, Percentiles};

/// The end of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Whether every promise held, and every threshold.
    pub(crate) held: bool,
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Outcome {
    /// Shows it, and writes what was asked for.
    pub(crate) fn publish(&self, json: Option<&PathBuf>) -> Result<()> {
        println!("{}", self.text);
        if let Some(file) = json {
            let text = serde_json::to_string_pretty(&self.json)?;
            std::fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        }
        Ok(())
    }
}

/// A threshold and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    /// As said to people, units included.
    pub(crate) measured: String,
    pub(crate) limit: String,
    pub(crate) verdict: Verdict,
}

/// How a threshold stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    Held,
    Broken,
    /// It could not be measured: neither good nor bad.
    Unknown,
}

impl Check {
    fn new(name: &str, measured: String, limit: String, held: bool) -> Self {
        let verdict = if held { Verdict::Held } else { Verdict::Broken };
        Self { name: name.to_owned(), measured, limit, verdict }
    }

    /// What must not happen.
    pub(crate) fn none(name: &str, count: u64) -> Self {
        Self::new(name, count.to_string(), "0".to_owned(), count == 0)
    }

    /// What must happen in all cases.
    pub(crate) fn all(name: &str, count: u64, of: u64) -> Self {
        Self::new(name, count.to_string(), format!("all {of}"), count == of && of > 0)
    }

    /// What must happen at least `least` times.
    pub(crate) fn at_least(name: &str, count: u32, least: u32) -> Self {
        Self::new(name, count.to_string(), format!("at least {least}"), count >= least)
    }

    /// What must happen in this part of all cases.
    pub(crate) fn part(name: &str, count: u64, of: u64, percent: f64) -> Self {
        let part = if of == 0 { 0.0 } else { 100.0 * count as f64 / of as f64 };
        // Rounding does not make a hundred of what is less.
        let shown = format!("{:.2}%, {count} of {of}", (part * 100.0).floor() / 100.0);
        Self::new(name, shown, format!("at least {percent}%"), part >= percent)
    }

    /// A time that must not be longer, microseconds. Broken when nothing was measured.
    pub(crate) fn within(name: &str, measured: Option<u64>, limit_us: u64) -> Self {
        let held = measured.is_some_and(|us| us <= limit_us);
        let measured = measured.map_or_else(|| "nothing".to_owned(), latency::time);
        Self::new(name, measured, format!("at most {}", latency::time(limit_us)), held)
    }

    /// The 99th percentile of times that must not be longer.
    pub(crate) fn p99(name: &str, measured: &Percentiles, limit_us: u64) -> Self {
        Self::within(name, (measured.count > 0).then_some(measured.p99_us), limit_us)
    }

    /// A number that must not be larger; unknown when it could not be measured.
    pub(crate) fn at_most(
        name: &str,
        measured: Option<f64>,
        limit: f64,
        show: impl Fn(f64) -> String,
    ) -> Self {
        let Some(value) = measured else {
            let limit = format!("at most {}", show(limit));
            return Self {
                name: name.to_owned(),
                measured: "not measured".to_owned(),
                limit,
                verdict: Verdict::Unknown,
            };
        };
        // Not a number is broken.
        Self::new(name, show(value), format!("at most {}", show(limit)), value <= limit)
    }
}

/// A table of what was measured, and thresholds.
#[derive(Debug)]
pub(crate) struct Summary {
    scenario: &'static str,
    heading: String,
    rows: Vec<(String, String)>,
    notes: Vec<String>,
    checks: Vec<Check>,
    measured: Map<String, Value>,
}

impl Summary {
    pub(crate) fn new(scenario: &'static str, heading: impl Into<String>) -> Self {
        Self {
            scenario,
            heading: heading.into(),
            rows: Vec::new(),
            notes: Vec::new(),
            checks: Vec::new(),
            measured: Map::new(),
        }
    }

    /// A line of the table.
    pub(crate) fn row(&mut self, label: impl Into<String>, text: impl Into<String>) {
        self.rows.push((label.into(), text.into()));
    }

    /// A line below the table: what the reader has to know about the numbers.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// A threshold.
    pub(crate) fn check(&mut self, check: Check) {
        self.checks.push(check);
    }

    pub(crate) fn check_all(&mut self, checks: impl IntoIterator<Item = Check>) {
        self.checks.extend(checks);
    }

    /// What programs read.
    pub(crate) fn put(&mut self, key: &str, value: impl Serialize) {
        // What cannot be JSON (a map without string keys) is not among what is put.
        self.measured.insert(key.to_owned(), serde_json::to_value(value).unwrap_or(Value::Null));
    }

    /// Whether no threshold is broken, and there is one.
    pub(crate) fn held(&self) -> bool {
        !self.checks.is_empty() && self.checks.iter().all(|check| check.verdict != Verdict::Broken)
    }

    pub(crate) fn outcome(self) -> Outcome {
        let held = self.held();
        let text = self.to_string();
        let mut json = self.measured;
        json.insert("scenario".to_owned(), Value::from(self.scenario));
        json.insert("held".to_owned(), Value::from(held));
        json.insert("checks".to_owned(), serde_json::to_value(self.checks).unwrap_or(Value::Null));
        json.insert("notes".to_owned(), Value::from(self.notes));
        Outcome { held, text, json: Value::Object(json) }
    }
}

impl Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}: {}\n", self.scenario, self.heading)?;
        let width = self.rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
        for (label, text) in &self.rows {
            writeln!(f, "{label:width$}  {text}")?;
        }
        for note in &self.notes {
            writeln!(f, "note: {note}")?;
        }
        writeln!(f)?;
        let width = self.checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
        for Check { name, measured, limit, verdict } in &self.checks {
            let verdict = match verdict {
                Verdict::Held => "held   ",
                Verdict::Broken => "BROKEN ",
                Verdict::Unknown => "unknown",
            };
            writeln!(f, "  {verdict} {name:width$}  {measured} ({limit})")?;
        }
        Ok(())
    }
}

/// A number of bytes to three digits.
pub(crate) fn bytes(bytes: f64) -> String {
    match bytes.abs() {
        ..1024.0 => format!("{bytes:.0} B"),
        ..1_048_576.0 => format!("{:.1} KiB", bytes / 1024.0),
        _ => format!("{:.1} MiB", bytes / 1_048_576.0),
    }
}

/// A duration in microseconds, as thresholds are.
pub(crate) fn micros_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A number of microseconds to a tenth, or that it is not known.
pub(crate) fn micros(micros: Option<f64>) -> String {
    micros.map_or_else(|| "not measured".to_owned(), |micros| format!("{micros:.2} µs"))
}

/// How many times the floor something is.
pub(crate) fn times(value: Option<f64>, floor: Option<f64>) -> String {
    match (value, floor) {
        (Some(value), Some(floor)) if floor > 0.0 => format!("{:.2} times the floor", value / floor),
        _ => "no floor to compare with".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::latency::Latency;

    fn verdict(check: &Check) -> Verdict {
        check.verdict
    }

    #[test]
    fn thresholds_hold_up_to_their_limit() {
        let show = |value: f64| format!("{value}");
        assert_eq!(verdict(&Check::none("n", 0)), Verdict::Held);
        assert_eq!(verdict(&Check::none("n", 1)), Verdict::Broken);
        assert_eq!(verdict(&Check::all("a", 3, 3)), Verdict::Held);
        assert_eq!(verdict(&Check::all("a", 2, 3)), Verdict::Broken);
        assert_eq!(verdict(&Check::all("a", 0, 0)), Verdict::Broken, "nothing happened");
        assert_eq!(verdict(&Check::at_least("l", 3, 3)), Verdict::Held);
        assert_eq!(verdict(&Check::at_least("l", 2, 3)), Verdict::Broken);
        assert_eq!(verdict(&Check::part("p", 99, 100, 99.0)), Verdict::Held);
        assert_eq!(verdict(&Check::part("p", 98, 100, 99.0)), Verdict::Broken);
        assert_eq!(verdict(&Check::part("p", 0, 0, 0.1)), Verdict::Broken, "nothing happened");
        assert!(Check::part("p", 99_999, 100_000, 100.0).measured.starts_with("99.99%"));
        assert_eq!(verdict(&Check::within("w", Some(5), 5)), Verdict::Held);
        assert_eq!(verdict(&Check::within("w", Some(6), 5)), Verdict::Broken);
        assert_eq!(verdict(&Check::within("w", None, 5)), Verdict::Broken);
        assert_eq!(verdict(&Check::p99("p", &Latency::new().percentiles(), 5)), Verdict::Broken);
        assert_eq!(verdict(&Check::at_most("m", Some(1.0), 1.0, show)), Verdict::Held);
        assert_eq!(verdict(&Check::at_most("m", Some(1.1), 1.0, show)), Verdict::Broken);
        assert_eq!(verdict(&Check::at_most("m", Some(f64::NAN), 1.0, show)), Verdict::Broken);
        assert_eq!(verdict(&Check::at_most("m", None, 1.0, show)), Verdict::Unknown);
    }

    #[test]
    fn one_broken_threshold_decides_and_an_unknown_one_does_not() {
        let mut summary = Summary::new("s", "h");
        assert!(!summary.held(), "nothing was judged");
        summary.check(Check::none("good", 0));
        summary.check(Check::at_most("dark", None, 1.0, |value| value.to_string()));
        assert!(summary.held());
        summary.check(Check::none("bad", 2));
        let outcome = summary.outcome();
        assert!(!outcome.held);
        assert!(outcome.text.contains("BROKEN  bad   2 (0)"), "{}", outcome.text);
        assert_eq!(outcome.json["checks"][2]["verdict"], "broken");
        assert_eq!(outcome.json["held"], false);
    }

    #[test]
    fn numbers_are_said_as_people_do() {
        assert_eq!(bytes(512.0), "512 B");
        assert_eq!(bytes(-2048.0), "-2.0 KiB");
        assert_eq!(bytes(3.5 * 1_048_576.0), "3.5 MiB");
        assert_eq!(times(Some(3.0), Some(2.0)), "1.50 times the floor");
        assert_eq!(times(Some(3.0), Some(0.0)), "no floor to compare with");
    }
}
