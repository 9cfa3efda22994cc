//! The meters for Prometheus.
//!
//! Written beside the recorder's text: the meters are counters already, and counting everything twice would cost twice.

use std::{fmt::Write as _, time::Duration};

use common::operations::{Histogram, Outcome, Totals, bucket_below};

use super::all;

/// The text of `draftwire_operation_seconds`, with `bounds` as its buckets, in seconds.
pub(crate) fn render(bounds: &[f64]) -> String {
    let mut text = String::from(
        "# HELP draftwire_operation_seconds How long operations took, by their outcome\n\
         # TYPE draftwire_operation_seconds histogram\n",
    );
    for (name, meters) in all() {
        render_operation(&mut text, &name, &Totals::of_all(meters), bounds);
    }
    text.push('\n');
    text
}

fn render_operation(text: &mut String, name: &str, totals: &Totals, bounds: &[f64]) {
    // Names of routes hold what the router was built with, and methods that clients choose.
    let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    // Also of an outcome that there was not yet: of a series that appears with the first error, `rate` would miss it.
    for outcome in Outcome::ALL {
        let labels = format!("operation=\"{name}\",outcome=\"{}\"", outcome.label());
        // A String takes everything.
        let _ = write_histogram(text, &labels, totals.of(outcome), bounds);
    }
}

fn write_histogram(
    text: &mut String,
    labels: &str,
    histogram: &Histogram,
    bounds: &[f64],
) -> std::fmt::Result {
    const NAME: &str = "draftwire_operation_seconds";
    for bound in bounds {
        let below = histogram.count_before(bucket_below(Duration::from_secs_f64(*bound)));
        writeln!(text, "{NAME}_bucket{{{labels},le=\"{bound}\"}} {below}")?;
    }
    let (count, sum) = (histogram.count(), histogram.sum().as_secs_f64());
    writeln!(text, "{NAME}_bucket{{{labels},le=\"+Inf\"}} {count}")?;
    writeln!(text, "{NAME}_sum{{{labels}}} {sum}")?;
    writeln!(text, "{NAME}_count{{{labels}}} {count}")
}

#[cfg(test)]
mod tests {
    use common::operations::Meter;

    use super::*;

    #[test]
    fn buckets_are_cumulative() {
        let meter = Meter::new();
        for millis in [1, 3, 3, 700] {
            meter.record(Outcome::Ok, Duration::from_millis(millis));
        }
        let mut text = String::new();
        render_operation(&mut text, "a\"b", &meter.totals(), &[0.002, 0.005, 1.0]);
        let expected = r#"draftwire_operation_seconds_bucket{operation="a\"b",outcome="ok",le="0.002"} 1
draftwire_operation_seconds_bucket{operation="a\"b",outcome="ok",le="0.005"} 3
draftwire_operation_seconds_bucket{operation="a\"b",outcome="ok",le="1"} 4
draftwire_operation_seconds_bucket{operation="a\"b",outcome="ok",le="+Inf"} 4
draftwire_operation_seconds_sum{operation="a\"b",outcome="ok"} 0.707
draftwire_operation_seconds_count{operation="a\"b",outcome="ok"} 4
draftwire_operation_seconds_bucket{operation="a\"b",outcome="error",le="0.002"} 0
draftwire_operation_seconds_bucket{operation="a\"b",outcome="error",le="0.005"} 0
draftwire_operation_seconds_bucket{operation="a\"b",outcome="error",le="1"} 0
draftwire_operation_seconds_bucket{operation="a\"b",outcome="error",le="+Inf"} 0
draftwire_operation_seconds_sum{operation="a\"b",outcome="error"} 0
draftwire_operation_seconds_count{operation="a\"b",outcome="error"} 0
"#;
        assert_eq!(text, expected);
    }
}
