//! The configuration of a node. A file per concern declares its settings and the struct that they fill; the flags
//! of `draftwire serve`, its help and docs/config.md follow from these declarations.

mod auth;
mod backend;
mod bus;
mod changeable;
mod fan_out;
mod given;
pub(crate) mod input;
mod listen;
mod live;
#[cfg(test)]
mod markdown;
mod reader;
mod retention;
mod setting;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod text;
mod traces;
mod webhooks;
mod websocket;
mod writes;

#[cfg(test)]
use auth::DEMO_SECRET;
pub(crate) use auth::{
    JWT_AUDIENCE, JWT_ISSUER, JWT_JWKS_URL, JWT_LEEWAY, JWT_PUBLIC_KEY, JWT_SCOPE_CLAIM, JWT_SECRET,
    JWT_USER_CLAIM,
};
pub use bus::Bus;
pub use changeable::Changeable;
pub use given::{Given, Source};
pub(crate) use listen::LISTEN_ADDR;
pub use listen::{Listen, LogFormat, Origins};
pub(crate) use live::ROLLOUTS_MAX;
pub(crate) use live::check as validate_overlays;
pub use live::{By, Live, Overlay};
pub use reader::ConfigErrors;
pub use retention::{Kept, Retention};
pub use setting::{Change, Declared, Fallback, Privacy};
pub(crate) use store::{DATA_DIR, DATABASE_SCHEMA, DATABASE_URL};
pub use store::{Database, Store};
pub use webhooks::Webhooks;
pub use websocket::{Intervals, WebSocket};
pub use writes::Writes;

use std::net::SocketAddr;

use self::{reader::Reader, setting::Group};

use crate::auth::{BackendSettings, Settings as Auth};

/// Every setting, in the order in which help and documentation show them.
static GROUPS: [&Group; 11] = [
    &store::GROUP,
    &bus::GROUP,
    &auth::GROUP,
    &backend::GROUP,
    &webhooks::GROUP,
    &listen::GROUP,
    &websocket::GROUP,
    &writes::GROUP,
    &retention::GROUP,
    &fan_out::GROUP,
    &traces::GROUP,
];

/// Returns every setting, each with the heading that it is shown under.
pub fn declared() -> impl Iterator<Item = (&'static str, &'static dyn Declared)> {
    GROUPS.iter().flat_map(|group| group.settings.iter().map(|setting| (group.title, *setting)))
}

/// The configuration of a node.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where streams and drafts are kept.
    pub store: Store,
    /// What carries live copies between nodes.
    pub bus: Bus,
    /// How tokens are verified.
    pub auth: Auth,
    /// How the application's backend is asked about rights.
    pub backend: BackendSettings,
    /// How webhooks are delivered.
    pub webhooks: Webhooks,
    /// Where the node listens, how it is called and what it logs.
    pub listen: Listen,
    /// The limits and timers of connections.
    pub websocket: WebSocket,
    /// How writes are collected, and the limits of what users store.
    pub writes: Writes,
    /// How much of the streams' logs is kept.
    pub retention: Retention,
    /// The limits and timers of the fan-out.
    pub fanout: fanout::Settings,
    /// Where spans are sent; `None` where nothing is traced.
    pub traces: Option<crate::traces::Settings>,
    /// What all of this was read from.
    pub given: Given,
    /// Whether settings that were changed at run time are not applied.
    pub ignores_run_time: bool,
}

impl Config {
    /// Reads every setting. `lookup` returns the text of an environment variable, or of the flag that wins over it;
    /// empty text counts as not set. Tests pass a map.
    ///
    /// This reads the files that settings name and the machine's host name, and nothing else.
    ///
    /// # Errors
    /// Every mistake, not only the first.
    pub fn from_source(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        Self::from_sources(lookup, |_| false)
    }

    /// The same; `is_flag` says which settings are given by their flags, so that people can be told.
    ///
    /// # Errors
    /// Every mistake, not only the first.
    pub(crate) fn from_sources(
        lookup: impl Fn(&str) -> Option<String>,
        is_flag: impl Fn(&str) -> bool,
    ) -> Result<Self, ConfigErrors> {
        let reader = Reader::with_flags(&lookup, &is_flag);
        let store = Store::read(&reader);
        let mut config = Self {
            bus: Bus::read(&reader),
            auth: auth::read(&reader, &store),
            backend: backend::read(&reader),
            webhooks: Webhooks::read(&reader),
            listen: Listen::read(&reader, &store),
            websocket: WebSocket::read(&reader),
            writes: Writes::read(&reader),
            retention: Retention::read(&reader),
            fanout: fan_out::read(&reader),
            traces: traces::read(&reader),
            given: Given::default(),
            ignores_run_time: false,
            store,
        };
        config.given = reader.given(declared());
        auth::check_secret(&config.auth.keys, &reader, &config.listen);
        reader.finish(config)
    }

    /// Returns the part that can change while the node runs, as it was read at the start.
    pub fn changeable(&self) -> Changeable {
        Changeable {
            websocket: self.websocket.clone(),
            writes: self.writes.clone(),
            retention: self.retention.clone(),
            fanout: self.fanout.clone(),
            state_cache_bytes_max: match self.store.database {
                Database::Postgres { state_cache_bytes_max, .. } => state_cache_bytes_max,
                Database::Embedded { .. } => 0,
            },
            log_level: self.listen.log_level.clone(),
            slow_operation: self.listen.slow_operation,
        }
    }

    /// Returns a sentence, to be logged at start, for each thing that is allowed but may be a mistake.
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

/// Returns the text of a setting as it is read, without blanks around it.
///
/// # Errors
/// What can only be an accident.
pub(crate) fn checked_text(setting: &dyn Declared, text: &str) -> Result<String, String> {
    let checked = input::without_accidents(text, setting.privacy());
    checked.map(str::to_owned).map_err(|accident| accident.to_string())
}

/// Reads the settings of the store alone, for commands that need no others.
///
/// # Errors
/// Every mistake in them.
pub(crate) fn read_store(lookup: impl Fn(&str) -> Option<String>) -> Result<Store, ConfigErrors> {
    let reader = Reader::new(&lookup);
    let store = Store::read(&reader);
    reader.finish(store)
}

/// Reads the settings of tokens alone, for commands that need no others.
///
/// # Errors
/// Every mistake in them.
pub(crate) fn read_auth(lookup: impl Fn(&str) -> Option<String>) -> Result<Auth, ConfigErrors> {
    let reader = Reader::new(&lookup);
    let store = Store::read(&reader);
    let auth = auth::read(&reader, &store);
    reader.finish(auth)
}

/// Reads `LISTEN_ADDR` alone.
///
/// # Errors
/// When it is no address.
pub(crate) fn read_listen_addr(lookup: impl Fn(&str) -> Option<String>) -> Result<SocketAddr, ConfigErrors> {
    let reader = Reader::new(&lookup);
    let addr = reader.value(&LISTEN_ADDR);
    reader.finish(addr)
}
