//! Whole nodes in this process, over the embedded store, met through real sockets: a file per behaviour.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod cluster;
mod docs;
mod drafts;
mod failing_store;
mod group_commit;
mod handshake;
mod harness;
mod http;
mod limits;
mod resume;
mod retention;
mod session;
mod shutdown;
mod unavailable;

use std::time::Duration;

/// For every wait. It only decides how long a failing test takes.
const DEADLINE: Duration = Duration::from_secs(20);
