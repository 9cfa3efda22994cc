//! Connections: from the upgrade to the close.

mod client;
mod clock;
mod commands;
mod end;
mod grants;
mod heartbeat;
mod inspect;
mod order;
mod outbox;
mod outcome;
mod parking;
mod rate;
mod reply;
mod session;
mod topics;
mod upgrade;
mod wake_filter;
mod write;

use common::close::{Close, HANDSHAKE_WAIT};
use metrics::counter;
use websocket::Socket;

pub(crate) use upgrade::upgrade;

/// Closes: counts it, says why, and waits a moment for the other side to have read it.
async fn close(socket: Socket, close: Close, reason: &str) {
    counter!("draftwire_closes_total", "code" => close.label()).increment(1);
    socket.close(close.code(), reason, HANDSHAKE_WAIT).await;
}
