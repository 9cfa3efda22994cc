//! Ctrl-C, and the signal by which services are stopped.

use tokio::signal::unix::{SignalKind, signal};

use super::failure::Failure;

/// Waits until the process is asked to end.
pub(super) async fn interrupted() -> Failure {
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => return error.into(),
        };
    let kind = tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    Failure::Interrupted(u8::try_from(kind.as_raw_value()).unwrap_or_default())
}
