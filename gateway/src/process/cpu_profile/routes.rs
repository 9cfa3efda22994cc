//! `GET /debug/pprof/profile` and `GET /debug/pprof/flamegraph`, with `?seconds=`, as Go programs have them.

use std::{collections::HashMap, time::Duration};

use axum::{
    Router,
    extract::{Query, State},
    http::{
        StatusCode,
        header::{CONTENT_DISPOSITION, CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{sync::watch, task::spawn_blocking};
use tracing::info;

use super::{
    encoding, flame_graph,
    sampling::{self, Samples, SamplingError},
};

/// As Go has it.
const SECONDS_DEFAULT: u64 = 30;

/// The longest profile, seconds: each collects in memory and on a temporary file.
const SECONDS_MAX: u64 = 60;

/// The routes. Collections end when `stop` becomes true.
pub(in crate::process) fn router(stop: watch::Receiver<bool>) -> Router {
    Router::new()
        .route("/debug/pprof/profile", get(profile))
        .route("/debug/pprof/flamegraph", get(flamegraph))
        .with_state(stop)
}

/// Why a request has no profile.
#[derive(Debug, thiserror::Error)]
enum ProfileError {
    #[error("seconds: give a whole number from 1 to {SECONDS_MAX}")]
    Seconds,
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    #[error("the profile cannot be written: {0}")]
    Form(#[from] std::io::Error),
    #[error("the node is stopping")]
    Stopping,
}

impl IntoResponse for ProfileError {
    fn into_response(self) -> Response {
        let text = format!("{self}\n");
        match self {
            Self::Seconds => (StatusCode::BAD_REQUEST, text).into_response(),
            Self::Sampling(SamplingError::Running(left)) => {
                (StatusCode::TOO_MANY_REQUESTS, [(RETRY_AFTER, left.as_secs().to_string())], text)
                    .into_response()
            }
            Self::Sampling(_) | Self::Form(_) | Self::Stopping => {
                (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
            }
        }
    }
}

type Parameters = Query<HashMap<String, String>>;

async fn profile(
    State(stop): State<watch::Receiver<bool>>,
    parameters: Parameters,
) -> Result<Response, ProfileError> {
    let encoded = collect(&parameters, stop, |samples| Ok(encoding::encode(&samples))).await?;
    let headers = [
        (CONTENT_TYPE, "application/octet-stream"),
        (CONTENT_DISPOSITION, "attachment; filename=\"profile.pb\""),
    ];
    Ok((headers, encoded).into_response())
}

async fn flamegraph(
    State(stop): State<watch::Receiver<bool>>,
    parameters: Parameters,
) -> Result<Response, ProfileError> {
    let svg = collect(&parameters, stop, |samples| flame_graph::draw(&samples)).await?;
    Ok(([(CONTENT_TYPE, "image/svg+xml")], svg).into_response())
}

/// Collects for as long as is asked for, and brings it into form on a thread where that disturbs nobody.
async fn collect(
    Query(parameters): &Parameters,
    mut stop: watch::Receiver<bool>,
    form: fn(Samples) -> std::io::Result<Vec<u8>>,
) -> Result<Vec<u8>, ProfileError> {
    let seconds = parameters.get("seconds").map_or(Ok(SECONDS_DEFAULT), |given| given.parse());
    let seconds =
        seconds.ok().filter(|seconds| (1..=SECONDS_MAX).contains(seconds)).ok_or(ProfileError::Seconds)?;
    info!(seconds, "collecting a CPU profile");
    let samples = tokio::select! {
        samples = sampling::collect(Duration::from_secs(seconds)) => samples?,
        _ = stop.wait_for(|stop| *stop) => return Err(ProfileError::Stopping),
    };
    let formed = spawn_blocking(move || form(samples)).await;
    Ok(formed.map_err(|_| SamplingError::Panicked)??)
}
