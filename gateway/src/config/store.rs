//! Where the truth is kept.

use std::{fmt, path::PathBuf, time::Duration};

use super::reader::Reader;
use crate::{
    auth::Secret,
    store::postgres::{self, HistorySource, SchemaName},
};

/// The store.
#[derive(Debug, Clone)]
pub struct Store {
    /// Which database.
    pub database: Database,
    /// How long one call may take, waiting for a connection included.
    pub timeout: Duration,
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
        /// With its password.
        url: Secret,
        /// The schema that holds the tables.
        schema: SchemaName,
        /// What names the history.
        history: HistorySource,
        /// The most connections of this node.
        pool_max: u32,
    },
}

impl Store {
    /// Whether this is the embedded store.
    pub fn is_embedded(&self) -> bool {
        matches!(self.database, Database::Embedded { .. })
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let pool_max = reader.count("DATABASE_POOL_MAX");
        let schema = reader.read("DATABASE_SCHEMA", str::parse).unwrap_or_default();
        let history = reader.read("HISTORY_SOURCE", str::parse).unwrap_or_default();
        let dir = reader.text("DATA_DIR").unwrap_or_default().into();
        let database = match reader.secret("DATABASE_URL") {
            Some(url) => {
                if let Err(mend) = postgres::check_url(url.reveal()) {
                    reader.wrong("DATABASE_URL", mend);
                }
                Database::Postgres { url, schema, history, pool_max }
            }
            None => Database::Embedded { dir },
        };
        Self { database, timeout: reader.duration("STORE_TIMEOUT") }
    }
}

impl fmt::Display for Store {
    /// What is logged at start.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.database {
            Database::Embedded { dir } => write!(f, "SQLite in {}", dir.display()),
            Database::Postgres { url, .. } => f.write_str(&postgres::shown(url.reveal())),
        }
    }
}
