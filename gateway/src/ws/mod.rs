//! Connections: from the upgrade to the close.

mod commands;
mod delivery;
mod heartbeat;
#[allow(dead_code, reason = "sessions still use `heartbeat`")]
mod pulse;
mod rate;
mod reply;
mod session;
mod socket;
mod upgrade;

pub(crate) use upgrade::upgrade;
