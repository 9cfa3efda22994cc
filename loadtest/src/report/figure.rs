//! A figure: where it stands in what a run found, and how it is shown. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::measure::{latency, summary};

/// Shown for a figure that a run did not give.
pub(super) const UNKNOWN: &str = "not measured: the run gave no such figure";

/// How many stretches a course is drawn with.
const COURSE_POINTS: usize = 48;

/// The heights of a course, from the least to the most.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A figure of a run, or of an entry of one of its lists.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Figure {
    pub(super) name: String,
    /// A JSON pointer.
    at: String,
    show: Show,
    /// Shown when the run gave no such figure; tells why it may not have.
    or: Option<String>,
}

/// How a figure is shown.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Show {
    /// Microseconds, as a time to three digits.
    Time,
    /// The 99th percentile of percentiles, if anything was measured.
    P99,
    /// Microseconds on a processor.
    Cpu,
    Size,
    /// Whole, in groups of three.
    Count,
    /// How many times something else, to two digits.
    Times,
    /// To four digits.
    Small,
    Seconds,
    /// A part of one, as percent.
    Percent,
    Text,
    /// A count, of the one at another pointer.
    Of(String),
    /// Divided by the number at another pointer.
    Ratio(String),
    /// Seconds since the moment at another pointer.
    Since(String),
    /// The sum of all numbers of an object.
    Sum,
    /// How many entries a list has.
    Length,
}

impl Figure {
    /// The number that it shows, where it is one.
    pub(super) fn number(&self, json: &Value) -> Option<f64> {
        number(json, &self.at)
    }

    /// As a cell of a table; never empty.
    pub(super) fn cell(&self, json: &Value) -> String {
        let Self { at, show, or, .. } = self;
        let value = number(json, at);
        let known =
            |text: Option<String>| text.unwrap_or_else(|| or.as_deref().unwrap_or(UNKNOWN).to_owned());
        match show {
            Show::P99 => known(p99(json, at).map(|us| Show::Time.text(us))),
            Show::Text => known(json.pointer(at).and_then(Value::as_str).map(str::to_owned)),
            Show::Of(all) => {
                let both = value.zip(number(json, all));
                known(both.map(|(value, all)| format!("{} of {}", grouped(value), grouped(all))))
            }
            Show::Ratio(by) => {
                let ratio = value.zip(number(json, by).filter(|by| *by > 0.0)).map(|(value, by)| value / by);
                known(ratio.map(|ratio| format!("{ratio:.1}")))
            }
            Show::Since(begin) => {
                let took = value.zip(number(json, begin)).map(|(end, begin)| end - begin);
                known(took.map(|took| Show::Seconds.text(took)))
            }
            Show::Sum => {
                let numbers = json.pointer(at).and_then(Value::as_object);
                let sum = |numbers: &serde_json::Map<String, Value>| {
                    numbers.values().filter_map(Value::as_u64).sum::<u64>().to_string()
                };
                known(numbers.map(sum))
            }
            Show::Length => {
                known(json.pointer(at).and_then(Value::as_array).map(|list| list.len().to_string()))
            }
            _ => known(value.map(|value| show.text(value))),
        }
    }

    /// How it goes over the entries of a list: the least, the most, and a course.
    pub(super) fn course(&self, list: &[Value]) -> [String; 3] {
        let values: Vec<Option<f64>> = list.iter().map(|entry| number(entry, &self.at)).collect();
        let known = || values.iter().copied().flatten();
        let shown =
            |value: Option<f64>| value.map_or_else(|| UNKNOWN.to_owned(), |value| self.show.text(value));
        [shown(known().reduce(f64::min)), shown(known().reduce(f64::max)), course(&values)]
    }
}

impl Show {
    /// A number, where a number is all that is needed.
    pub(super) fn text(&self, value: f64) -> String {
        match self {
            Self::Time | Self::P99 => latency::time(value.round().max(0.0) as u64),
            Self::Cpu if value < 10.0 => format!("{value:.2} µs"),
            Self::Cpu => format!("{value:.0} µs"),
            Self::Size => summary::bytes(value),
            Self::Times => format!("{value:.2}"),
            Self::Small => format!("{value:.4}"),
            Self::Seconds | Self::Since(_) => format!("{value:.1} s"),
            Self::Percent => format!("{:.3} %", value * 100.0),
            _ => grouped(value),
        }
    }
}

/// A number in what a run gave, by JSON pointer.
pub(super) fn number(json: &Value, at: &str) -> Option<f64> {
    json.pointer(at).and_then(Value::as_f64).filter(|number| number.is_finite())
}

/// A list in a run's JSON; empty when it is none.
pub(super) fn all<'a>(json: &'a Value, at: &str) -> &'a [Value] {
    json.pointer(at).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn p99(json: &Value, of: &str) -> Option<f64> {
    number(json, &format!("{of}/count")).filter(|count| *count > 0.0)?;
    number(json, &format!("{of}/p99_us"))
}

fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if number < 0.0 && digits != "0" { format!("-{text}") } else { text }
}

/// Numbers from left to right as heights over zero, the largest of each stretch; a dot where nothing was
/// measured.
fn course(values: &[Option<f64>]) -> String {
    let most = values.iter().copied().flatten().fold(f64::MIN_POSITIVE, f64::max);
    let height = |stretch: &[Option<f64>]| {
        let value = stretch.iter().copied().flatten().reduce(f64::max)?;
        let part = (value / most).clamp(0.0, 1.0) * (HEIGHTS.len() - 1) as f64;
        HEIGHTS.get(part.round() as usize).copied()
    };
    let each = values.len().div_ceil(COURSE_POINTS).max(1);
    let text: String = values.chunks(each).map(|stretch| height(stretch).unwrap_or('·')).collect();
    if text.is_empty() { "·".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn figure(at: &str, show: Show) -> Figure {
        Figure { name: "x".to_owned(), at: at.to_owned(), show, or: None }
    }

    #[test]
    fn figures_are_shown_as_people_say_them_and_what_is_missing_is_said() {
        let json = json!({"a": {"count": 3, "p99_us": 1500}, "b": {"count": 0, "p99_us": 0}, "n": null,
            "many": 1_234_567.2, "less": -1000.0, "few": 12, "cpu": 3.456, "word": "w", "half": 0.5,
            "sum": {"x": 1, "y": 2, "told": []}, "list": [1, 2]});
        for (at, show, text) in [
            ("/a", Show::P99, "1.50 ms"),
            ("/b", Show::P99, UNKNOWN),
            ("/n", Show::Count, UNKNOWN),
            ("/many", Show::Count, "1,234,567"),
            ("/less", Show::Count, "-1,000"),
            ("/few", Show::Count, "12"),
            ("/few", Show::Of("/many".to_owned()), "12 of 1,234,567"),
            ("/few", Show::Ratio("/half".to_owned()), "24.0"),
            ("/few", Show::Ratio("/n".to_owned()), UNKNOWN),
            ("/few", Show::Since("/half".to_owned()), "11.5 s"),
            ("/half", Show::Percent, "50.000 %"),
            ("/cpu", Show::Cpu, "3.46 µs"),
            ("/n", Show::Cpu, UNKNOWN),
            ("/word", Show::Text, "w"),
            ("/sum", Show::Sum, "3"),
            ("/list", Show::Length, "2"),
        ] {
            assert_eq!(figure(at, show).cell(&json), text, "{at}");
        }
        assert_eq!(
            Figure { or: Some("too few".to_owned()), ..figure("/n", Show::Time) }.cell(&json),
            "too few"
        );
    }

    #[test]
    fn a_course_rises_and_falls_and_is_never_empty() {
        assert_eq!(course(&[Some(0.0), Some(3.5), None, Some(7.0)]), "▁▅·█");
        assert_eq!(course(&[]), "·");
        let long: Vec<Option<f64>> = (0..1000).map(|n| Some(f64::from(n))).collect();
        let drawn = course(&long);
        assert!(drawn.chars().count() <= COURSE_POINTS && drawn.starts_with('▁') && drawn.ends_with('█'));
        let list = [json!({"us": 1000}), json!({"us": null}), json!({"us": 4000})];
        assert_eq!(figure("/us", Show::Time).course(&list), ["1.00 ms", "4.00 ms", "▃·█"]);
        assert_eq!(figure("/us", Show::Time).course(&[]), [UNKNOWN, UNKNOWN, "·"]);
    }
}
