//! Ports that nobody listens on.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU16, Ordering},
};

use anyhow::{Context, Result};

/// Below the range that Linux takes the local ports of outgoing connections from (32768 and up), so
/// that a port stays free while the server that owned it is down and a test starts it again.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

static NEXT: AtomicU16 = AtomicU16::new(0);

/// A port of 127.0.0.1 that nobody listens on, and that this process has not handed out before.
///
/// # Errors
/// When every port of the range is taken.
pub fn free() -> Result<u16> {
    // Test binaries run side by side: each begins elsewhere, by its process id.
    let offset = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap_or(0);
    (0..COUNT)
        .map(|_| FIRST + offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed) % COUNT) % COUNT)
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .context("no free port")
}
