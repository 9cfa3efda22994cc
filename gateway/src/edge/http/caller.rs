//! Who asks for a change over HTTP.

use axum::http::{HeaderValue, request::Parts};
use common::{CommandId, DeviceId, TraceContext};

use crate::{auth::Identity, commands::caller::Caller, edge::problem::Problem};

/// The device that HTTP callers act as when they name none.
const DEFAULT_DEVICE: &str = "http";

/// The caller behind a request: the token's user, the device of the query, the `Idempotency-Key`, the trace.
pub(in crate::edge) fn caller(
    identity: Identity,
    device: Option<DeviceId>,
    parts: &Parts,
) -> Result<Caller, Problem> {
    let device = match device {
        Some(device) => device,
        None => DEFAULT_DEVICE.parse().map_err(|error| Problem::bad_request(format!("{error}")))?,
    };
    let id = parts.headers.get("idempotency-key").map(idempotency_key).transpose()?;
    let trace = parts.extensions.get::<TraceContext>().copied();
    Ok(Caller { user: identity.user, device, id, pipeline: None, trace })
}

fn idempotency_key(value: &HeaderValue) -> Result<CommandId, Problem> {
    let text = value.to_str().unwrap_or_default();
    // The draft standard writes the key as a quoted string; most clients send it bare.
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    bare.parse().map_err(|_| Problem::bad_request("Idempotency-Key must be 1 to 64 printable characters"))
}
