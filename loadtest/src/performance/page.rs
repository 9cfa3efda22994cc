//! What is written: Markdown, a sentence and a table at a time. Pure.

use serde_json::Value;

use crate::{latency, outcome};

/// What is said of a figure that a run did not give.
pub(super) const UNKNOWN: &str = "not measured: the run gave no such figure";

/// A page that grows, and the drawings that belong to it.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) text: String,
    /// Names without folder, and what is in them.
    pub(super) drawings: Vec<(String, String)>,
    /// The folder that drawings are in, as it is seen from the page.
    folder: String,
}

impl Page {
    pub(super) fn new(folder: &str) -> Self {
        Self { folder: folder.to_owned(), ..Self::default() }
    }

    pub(super) fn heading(&mut self, level: usize, text: &str) {
        self.text += &format!("{} {text}\n\n", "#".repeat(level));
    }

    /// A paragraph.
    pub(super) fn say(&mut self, text: impl AsRef<str>) {
        self.text += text.as_ref().trim();
        self.text += "\n\n";
    }

    /// A list.
    pub(super) fn list(&mut self, items: impl IntoIterator<Item = String>) {
        for item in items {
            self.text += &format!("- {item}\n");
        }
        self.text.push('\n');
    }

    /// Rows have a cell for each heading.
    pub(super) fn table(&mut self, headings: &[&str], rows: &[Vec<String>]) {
        self.text += &format!("| {} |\n|{}\n", headings.join(" | "), "---|".repeat(headings.len()));
        for row in rows {
            let cells: Vec<String> =
                row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
            self.text += &format!("| {} |\n", cells.join(" | "));
        }
        self.text.push('\n');
    }

    /// A drawing with what it shows, for those who cannot see it.
    pub(super) fn drawing(&mut self, name: &str, shows: &str, svg: String) {
        self.text += &format!("![{shows}]({}/{name}.svg)\n\n", self.folder);
        self.drawings.push((format!("{name}.svg"), svg));
    }

    /// Why something is not there.
    pub(super) fn missing(&mut self, why: &str) {
        self.say(format!("*Not measured: {}.*", why.trim().trim_end_matches('.')));
    }
}

/// A number in what a run gave, by JSON pointer.
pub(super) fn number(json: &Value, at: &str) -> Option<f64> {
    json.pointer(at).and_then(Value::as_f64).filter(|number| number.is_finite())
}

/// Microseconds, as a time to three digits.
pub(super) fn time(micros: Option<f64>) -> String {
    micros.map_or_else(|| UNKNOWN.to_owned(), |us| latency::time(us.round().max(0.0) as u64))
}

/// A 99th percentile, and whether there was anything to take it of.
pub(super) fn p99(json: &Value, of: &str) -> Option<f64> {
    number(json, &format!("{of}/count")).filter(|count| *count > 0.0)?;
    number(json, &format!("{of}/p99_us"))
}

/// Microseconds on a processor.
pub(super) fn cpu(micros: Option<f64>) -> String {
    micros.map_or_else(
        || UNKNOWN.to_owned(),
        |us| if us < 10.0 { format!("{us:.2} µs") } else { format!("{us:.0} µs") },
    )
}

pub(super) fn size(bytes: Option<f64>) -> String {
    bytes.map_or_else(|| UNKNOWN.to_owned(), outcome::bytes)
}

/// Whole, in groups of three.
pub(super) fn count(number: Option<f64>) -> String {
    let Some(number) = number else { return UNKNOWN.to_owned() };
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

/// How many times something else.
pub(super) fn times(number: Option<f64>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), |times| format!("{times:.2}"))
}

pub(super) fn seconds(number: Option<f64>) -> String {
    number.map_or_else(|| UNKNOWN.to_owned(), |seconds| format!("{seconds:.1} s"))
}

/// A list in a run's JSON; empty when it is none.
pub(super) fn all<'a>(json: &'a Value, at: &str) -> &'a [Value] {
    json.pointer(at).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Text in a run's JSON.
pub(super) fn text<'a>(json: &'a Value, at: &str) -> &'a str {
    json.pointer(at).and_then(Value::as_str).unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_are_said_as_people_do_and_what_is_missing_is_said() {
        let json = json!({"a": {"count": 3, "p99_us": 1500}, "b": {"count": 0, "p99_us": 0}, "n": null});
        assert_eq!(time(p99(&json, "/a")), "1.50 ms");
        assert_eq!(time(p99(&json, "/b")), UNKNOWN);
        assert_eq!(number(&json, "/n"), None);
        assert_eq!(count(Some(1_234_567.2)), "1,234,567");
        assert_eq!(count(Some(-1000.0)), "-1,000");
        assert_eq!(count(Some(12.0)), "12");
        assert_eq!(cpu(Some(3.456)), "3.46 µs");
        assert_eq!(cpu(None), UNKNOWN);
    }

    #[test]
    fn a_cell_cannot_break_its_table() {
        let mut page = Page::new("report");
        page.table(&["a"], &[vec!["x|y\nz".to_owned()]]);
        assert_eq!(page.text, "| a |\n|---|\n| x\\|y z |\n\n");
    }
}
