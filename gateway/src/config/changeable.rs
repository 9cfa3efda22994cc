//! The part of the configuration that can change while a node runs.

use std::time::Duration;

use super::{
    ConfigErrors, Retention, WebSocket, Writes, fan_out,
    listen::{LOG_LEVEL, SLOW_OPERATION},
    reader::Reader,
    store::STATE_CACHE_BYTES,
};

/// The part of the configuration that can change while a node runs. A few of its fields are of settings that need a
/// restart: those keep the value of the start.
#[derive(Debug, Clone)]
pub struct Changeable {
    /// The limits and timers of connections.
    pub websocket: WebSocket,
    /// How writes are collected, and the limits of what users store.
    pub writes: Writes,
    /// How much of the streams' logs is kept.
    pub retention: Retention,
    /// The limits and timers of the fan-out.
    pub fanout: fanout::Settings,
    /// Bytes of drafts that are kept in memory; zero keeps none. The embedded store keeps none anyway.
    pub state_cache_bytes_max: usize,
    /// `tracing` filter directives, known to be valid.
    pub log_level: String,
    /// From how long on an operation is slow.
    pub slow_operation: Duration,
}

impl Changeable {
    /// Reads it from texts as the environment has them, by the rules of the start.
    ///
    /// # Errors
    /// Every mistake, in the sentences of the start.
    pub(super) fn from_texts(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let reader = Reader::new(lookup);
        let read = Self {
            websocket: WebSocket::read(&reader),
            writes: Writes::read(&reader),
            retention: Retention::read(&reader),
            fanout: fan_out::read(&reader),
            state_cache_bytes_max: reader.value(&STATE_CACHE_BYTES),
            log_level: reader.value(&LOG_LEVEL),
            slow_operation: reader.value(&SLOW_OPERATION),
        };
        reader.finish(read)
    }
}
