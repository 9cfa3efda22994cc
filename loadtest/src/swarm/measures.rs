//! What the clients of a helper measure.

use std::collections::BTreeMap;

use super::memo::Memo;
use crate::measure::latency::Latency;

/// The moment at which something was received.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment {
    /// On the clock of the machine.
    pub(crate) us: u64,
    /// Unix time.
    pub(crate) unix_ms: u64,
}

/// What all clients of a helper have measured.
#[derive(Debug)]
pub(crate) struct Measures {
    pub(crate) received: u64,
    pub(crate) measured: u64,
    pub(crate) synced_clients: usize,
    pub(crate) failures: BTreeMap<String, u64>,
    pub(crate) connect: Latency,
    pub(crate) synced: Latency,
    pub(crate) from_send: Latency,
    pub(crate) from_commit: Latency,
    pub(crate) memo: Memo,
}

impl Measures {
    pub(crate) fn new() -> Self {
        Self {
            received: 0,
            measured: 0,
            synced_clients: 0,
            failures: BTreeMap::new(),
            connect: Latency::new(),
            synced: Latency::new(),
            from_send: Latency::new(),
            from_commit: Latency::new(),
            memo: Memo::default(),
        }
    }
}
