//! The recorder of this process.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use super::{Kind, LIMITS, METRICS, counters};

/// Buckets of everything in seconds: from a local hand-over to a sweep.
pub(in crate::process) const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// Buckets of batch sizes.
const SIZES: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Why metrics cannot be recorded.
#[derive(Debug, thiserror::Error)]
#[error("metrics: {0}")]
pub(in crate::process) struct MetricsError(String);

/// Installs the recorder of this process.
///
/// # Errors
/// When one is installed already.
pub(in crate::process) fn install() -> Result<PrometheusHandle, MetricsError> {
    let failed = |error: &dyn std::fmt::Display| MetricsError(error.to_string());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
        .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_size".to_owned()), &SIZES))
        .map_err(|error| failed(&error))?
        .install_recorder()
        .map_err(|error| failed(&error))?;
    for (name, kind, _, meaning) in METRICS.iter().chain(LIMITS) {
        describe(name, *kind, meaning);
    }
    for (name, kind, meaning) in fanout::bus::metrics::METRICS {
        let kind = match *kind {
            "gauge" => Kind::Gauge,
            "histogram" => Kind::Histogram,
            _ => Kind::Counter,
        };
        describe(name, kind, meaning);
    }
    counters::register();
    gauge!("draftwire_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

fn describe(name: &'static str, kind: Kind, meaning: &'static str) {
    match kind {
        Kind::Counter => describe_counter!(name, meaning),
        Kind::Gauge => describe_gauge!(name, meaning),
        Kind::Histogram if name.ends_with("_seconds") => describe_histogram!(name, Unit::Seconds, meaning),
        Kind::Histogram => describe_histogram!(name, meaning),
    }
}
