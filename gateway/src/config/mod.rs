//! The configuration of a node: one struct per concern, read from flags and environment at once.

mod auth;
mod bus;
mod handed_over;
mod limits;
mod listen;
mod markdown;
mod reader;
mod retention;
mod store;
pub mod table;
#[cfg(test)]
mod tests;
pub mod text;

pub use auth::DEMO_SECRET;
pub use bus::Bus;
pub use limits::{Intervals, WebSocket, Writes};
pub use listen::{Listen, LogFormat, Origins};
pub use markdown::markdown;
pub use reader::ConfigErrors;
pub use retention::{Kept, Retention};
pub use store::{Database, Store};

use std::net::SocketAddr;

use reader::Reader;

use crate::auth::Settings as Auth;

/// Everything that a node is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the truth is kept.
    pub store: Store,
    /// What carries live copies between nodes.
    pub bus: Bus,
    /// How tokens are verified.
    pub auth: Auth,
    /// Where the node listens, how it is called and what it logs.
    pub listen: Listen,
    /// What connections may do.
    pub websocket: WebSocket,
    /// How writes are collected, and what users may keep.
    pub writes: Writes,
    /// How much of the streams' logs is kept.
    pub retention: Retention,
    /// How followed streams are kept up.
    pub fanout: fanout::Settings,
}

impl Config {
    /// Reads every setting. `lookup` answers by the name of the environment variable, where a flag has
    /// already won; empty text counts as not set. Tests pass a map.
    ///
    /// Reads the files that settings name and the machine's host name, and nothing else.
    ///
    /// # Errors
    /// Every mistake, not only the first.
    pub fn from_source(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let mut reader = Reader::new(&lookup);
        let store = Store::read(&mut reader);
        let config = Self {
            bus: Bus::read(&mut reader),
            auth: auth::read(&mut reader, &store),
            listen: Listen::read(&mut reader, &store),
            websocket: WebSocket::read(&mut reader),
            writes: Writes::read(&mut reader),
            retention: Retention::read(&mut reader),
            fanout: limits::fanout(&mut reader),
            store,
        };
        auth::check_secret(&config.auth.keys, &reader, &config.listen);
        reader.finish(config)
    }

    /// What is allowed but may be a mistake: a sentence each, to be logged at start.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.store.is_embedded() && matches!(self.bus, Bus::InProcess) {
            warnings.push(format!(
                "DATABASE_URL is set without REDIS_URL: nodes that share this database hear of each \
                 other's events only by the sweep, every {}",
                text::show_duration(self.fanout.sweep_interval)
            ));
        }
        if self.listen.demo && !self.listen.reachable_at().is_loopback() {
            warnings.push(format!(
                "DEMO is on and {} is open to other machines: whoever reaches it gets a token",
                self.listen.reachable_at()
            ));
        }
        warnings
    }
}

/// Reads the settings of the store alone, for commands that need no others.
///
/// # Errors
/// Every mistake in them.
pub fn read_store(lookup: impl Fn(&str) -> Option<String>) -> Result<Store, ConfigErrors> {
    let mut reader = Reader::new(&lookup);
    let store = Store::read(&mut reader);
    reader.finish(store)
}

/// Reads the settings of tokens alone, for commands that need no others.
///
/// # Errors
/// Every mistake in them.
pub fn read_auth(lookup: impl Fn(&str) -> Option<String>) -> Result<Auth, ConfigErrors> {
    let mut reader = Reader::new(&lookup);
    let store = Store::read(&mut reader);
    let auth = auth::read(&mut reader, &store);
    reader.finish(auth)
}

/// Reads `LISTEN_ADDR` alone.
///
/// # Errors
/// When it is no address.
pub fn read_listen_addr(lookup: impl Fn(&str) -> Option<String>) -> Result<SocketAddr, ConfigErrors> {
    let mut reader = Reader::new(&lookup);
    let addr = listen::address(&mut reader, "LISTEN_ADDR");
    reader.finish(addr)
}
