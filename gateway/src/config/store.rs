//! The settings of the store.

use std::{fmt, path::PathBuf, time::Duration};

use super::{
    reader::Reader,
    setting::{
        FileSetting, GIB, Group, MINUTE, MS, Optional, Otherwise, Setting, Value, choice, count, duration,
        secret_url, size, text,
    },
};
use crate::{
    auth::Secret,
    store::postgres::{self, HistorySource, SchemaName},
};

pub(super) static GROUP: Group = Group {
    title: "Store",
    settings: &[
        &DATABASE_URL,
        &DATABASE_URL_FILE,
        &DATABASE_SCHEMA,
        &DATA_DIR,
        &HISTORY_SOURCE,
        &DATABASE_POOL_MAX,
        &STORE_TIMEOUT,
        &STATE_CACHE_BYTES,
        &NOTICES_INTERVAL,
    ],
};

pub(crate) static DATABASE_URL: Optional<Secret> = Setting {
    env: "DATABASE_URL",
    takes: secret_url(database_url).or_in(&DATABASE_URL_FILE),
    default: Otherwise("none: an embedded SQLite file in DATA_DIR"),
    help: "The Postgres database, postgres://user:password@host:5432/database, as libpq takes it: IPv6 addresses in brackets, ?host=/folder for a Unix socket, ?sslmode=verify-full. One host.",
};

static DATABASE_URL_FILE: FileSetting = FileSetting {
    env: "DATABASE_URL_FILE",
    help: "A file that holds DATABASE_URL. Line ends at its end are cut off, here and in the other files.",
};

pub(crate) static DATABASE_SCHEMA: Setting<SchemaName> = Setting {
    env: "DATABASE_SCHEMA",
    takes: text(str::parse),
    default: Value("draftwire"),
    help: "The schema of that database that holds every table. Created when missing; clusters that share a database need different ones.",
};

pub(crate) static DATA_DIR: Setting<PathBuf> = Setting {
    env: "DATA_DIR",
    takes: text(path),
    default: Value("draftwire-data"),
    help: "The folder of the embedded database and of its token secret, private to the user that runs the node, and used by one process at a time. Made when missing; unused with DATABASE_URL.",
};

static HISTORY_SOURCE: Setting<HistorySource> = Setting {
    env: "HISTORY_SOURCE",
    takes: choice(&[
        ("auto", HistorySource::Auto),
        ("timeline", HistorySource::Timeline),
        ("row", HistorySource::Row),
    ]),
    default: Value("auto"),
    help: "What notices that Postgres may have lost acknowledged changes: the server's timeline, or a row, which takes every restart for a loss. auto: the timeline where it can be read. The same on all nodes.",
};

static DATABASE_POOL_MAX: Setting<u32> = Setting {
    env: "DATABASE_POOL_MAX",
    takes: count(1, 1000),
    default: Value("10"),
    help: "The most connections that this node holds to Postgres for its clients. One more looks for notices, and one node has another for retention.",
};

static STORE_TIMEOUT: Setting<Duration> = Setting {
    env: "STORE_TIMEOUT",
    takes: duration(MS.saturating_mul(10), MINUTE),
    default: Value("900ms"),
    help: "How long one call to the store may take, waiting for a connection included; then it is unavailable.",
};

pub(super) static STATE_CACHE_BYTES: Setting<usize> = Setting {
    env: "STATE_CACHE_BYTES",
    takes: size(0, 64 * GIB).at_run_time(),
    default: Value("32MiB"),
    help: "Memory for the drafts that this node has changed lately: the next change of one is decided without a query, and written only where nobody else has written since. 0 keeps none; unused by the embedded store.",
};

static NOTICES_INTERVAL: Setting<Duration> = Setting {
    env: "NOTICES_INTERVAL",
    takes: duration(MS.saturating_mul(10), MINUTE),
    default: Value("50ms"),
    help: "How often this node asks Postgres for events that applications have published with SQL; SWEEP_INTERVAL bounds it as well. Long where none does: a look costs little, but not nothing.",
};

/// Where streams and drafts are kept.
#[derive(Debug, Clone)]
pub struct Store {
    /// Which database.
    pub database: Database,
    /// How long one call may take, waiting for a connection included.
    pub timeout: Duration,
    /// How often a node looks for notices.
    pub notices_interval: Duration,
}

/// Which database.
#[derive(Debug, Clone)]
pub enum Database {
    /// A SQLite file of this node alone.
    Embedded {
        /// The folder that holds it.
        dir: PathBuf,
    },
    /// Postgres, shared by every node.
    Postgres {
        /// The address, with its password.
        url: Secret,
        /// The schema that holds the tables.
        schema: SchemaName,
        /// Where the name of the history comes from.
        history: HistorySource,
        /// The most connections of this node.
        pool_max: u32,
        /// Bytes of drafts that are kept in memory.
        state_cache_bytes_max: usize,
    },
}

impl Store {
    /// Returns whether this is the embedded store.
    pub(crate) fn is_embedded(&self) -> bool {
        matches!(self.database, Database::Embedded { .. })
    }

    /// Returns which store this is, for people.
    pub(crate) fn kind(&self) -> &'static str {
        if self.is_embedded() { "sqlite" } else { "postgres" }
    }

    pub(super) fn read(reader: &Reader<'_>) -> Self {
        // All of them are read, so that a mistake shows also where the setting plays no part yet.
        let schema = reader.value(&DATABASE_SCHEMA);
        let history = reader.value(&HISTORY_SOURCE);
        let pool_max = reader.value(&DATABASE_POOL_MAX);
        let state_cache_bytes_max = reader.value(&STATE_CACHE_BYTES);
        let dir = reader.value(&DATA_DIR);
        let database = if reader.is_given(&DATABASE_URL) {
            let url = reader.optional(&DATABASE_URL).unwrap_or_else(|| Secret::new(""));
            Database::Postgres { url, schema, history, pool_max, state_cache_bytes_max }
        } else {
            Database::Embedded { dir }
        };
        let (timeout, notices_interval) = (reader.value(&STORE_TIMEOUT), reader.value(&NOTICES_INTERVAL));
        Self { database, timeout, notices_interval }
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    Ok(text.into())
}

fn database_url(text: &str) -> Result<Secret, String> {
    postgres::check_url(text).map(|()| Secret::new(text))
}

impl fmt::Display for Store {
    /// Writes what is logged at start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.database {
            Database::Embedded { dir } => write!(f, "SQLite in {}", dir.display()),
            Database::Postgres { url, .. } => f.write_str(&postgres::shown(url.reveal())),
        }
    }
}
