//! A line of the log for each connection that is opened, refused or ended, unless there are too many.
//!
//! So it can be told whether a device was connected at some time, and why not.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use common::{ConnectionId, DeviceId, UserId};
use tracing::{Level, enabled, info};

use super::{request_id::RequestId, traffic::Transport};
use crate::operations::{Left, Limiter};

/// Lines of one kind that may follow each other at once, and the pause between later ones: 20 a second. When all come
/// back after a failover, a sample of them is enough, and each line says how many were left out.
const BURST: u32 = 200;
const INTERVAL: Duration = Duration::from_millis(50);

/// The lines of one kind. Each has a limit of its own: a storm of refusals must not hide who is connected.
struct Lines(Mutex<Limiter>);

static CONNECTED: Lines = Lines::new();
static DISCONNECTED: Lines = Lines::new();
static REFUSED: Lines = Lines::new();

impl Lines {
    const fn new() -> Self {
        Self(Mutex::new(Limiter::new(BURST, INTERVAL)))
    }

    /// Whether one may be written now.
    fn may_log(&self) -> Option<Left> {
        if !enabled!(Level::INFO) {
            return None;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now())
    }
}

/// Whose connection it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who<'a> {
    pub(super) connection: &'a ConnectionId,
    pub(super) user: Option<&'a UserId>,
    pub(super) device: &'a DeviceId,
}

/// Logs and counts a connection that was opened.
pub(super) fn connected(transport: Transport, who: Who<'_>, request: &RequestId, has_cursor: bool) {
    transport.count_opened(has_cursor);
    let Some(left) = CONNECTED.may_log() else { return };
    info!(
        connection = %who.connection,
        user = who.user.map(UserId::as_str),
        device = who.device.as_str(),
        transport = transport.label(),
        request = request.as_str(),
        left_out = left.0,
        "connected"
    );
}

/// Logs a connection that has ended, with the label of its close code, or `gone` where the client left.
pub(super) fn disconnected(transport: Transport, who: Who<'_>, end: &'static str, lasted: Duration) {
    let Some(left) = DISCONNECTED.may_log() else { return };
    info!(
        connection = %who.connection,
        user = who.user.map(UserId::as_str),
        device = who.device.as_str(),
        transport = transport.label(),
        end,
        lasted_s = lasted.as_secs(),
        left_out = left.0,
        "disconnected"
    );
}

/// Logs a connection that was refused.
pub(super) fn refused(transport: Transport, request: &RequestId, code: &'static str, reason: &str) {
    if let Some(left) = REFUSED.may_log() {
        let transport = transport.label();
        info!(transport, request = request.as_str(), code, reason, left_out = left.0, "connection refused");
    }
}
