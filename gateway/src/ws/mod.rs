//! Connections: from the upgrade to the close.

mod commands;
mod delivery;
mod heartbeat;
mod rate;
mod reply;
mod session;
mod socket;
mod upgrade;

pub(crate) use upgrade::upgrade;
