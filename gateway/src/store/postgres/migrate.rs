//! Brings the schema up to date while other nodes serve.

use std::time::{Duration, Instant};

use sqlx::{
    PgPool,
    migrate::{MigrateError, Migrator},
    postgres::PgPoolOptions,
};
use tokio::time::sleep;
use tracing::warn;

use super::{PostgresStore, SchemaName, StoreError, schema, session::check_pooling};

impl PostgresStore {
    /// Creates the schema where it is missing, and brings it up to date. Nodes that start together take turns; a schema that a newer node
    /// has brought further is left as it is. It takes as long as the migrations do, and waits for tables
    /// that are in use for up to a minute.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached or its tables stay in use,
    /// [`StoreError::Failed`] when there is a pooler that shares sessions, the role may not create the schema,
    /// or a migration fails or was changed after it was applied.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        check_pooling(&self.plain, self.connections_max, self.timeout).await?;
        let wait_max = format!("{}ms", TABLE_WAIT_MAX.min(self.timeout / 2).as_millis().max(1));
        // A connection of its own: no statement of it has a time limit, and closing it is what gives the
        // lock of a failed migration back.
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(self.timeout);
        let own = own.connect_lazy_with(self.plain.options().clone());
        let migrated = migrate(&own, &self.schema, &wait_max).await;
        own.close().await;
        migrated
    }
}

/// How long a migration waits for a table that is in use, at a time. Whoever comes to the table later
/// queues behind it, the nodes that serve meanwhile included: they must be through within their own
/// time limits.
const TABLE_WAIT_MAX: Duration = Duration::from_millis(500);

/// After how long it tries again, so that those nodes are disturbed for a small part of the time.
const TABLE_RETRY: Duration = Duration::from_secs(2);

/// After how long a table that is always in use makes a migration fail, to be started again.
const TABLE_PATIENCE: Duration = Duration::from_secs(60);

/// Takes the lock under which the nodes of a schema take turns. It is not the one that sqlx would take, which
/// an application with migrations of its own in this database may hold.
const LOCK: &str = "SELECT pg_advisory_lock(hashtextextended('draftwire migrate ' || $1, 0))";

const LIMIT_LOCKS: &str = "SELECT set_config('lock_timeout', $1, false)";

/// The migrations name tables without a schema, and this session alone has them made in ours. (The store's
/// own statements name the schema.)
const SET_PATH: &str = "SET search_path = {schema}";

/// The migrations that this version knows.
fn migrator() -> Migrator {
    sqlx::migrate!("migrations/postgres")
}

/// Their numbers.
pub(super) fn versions() -> Vec<i64> {
    migrator().iter().map(|migration| migration.version).collect()
}

/// Runs the migrations. The lock under which nodes take turns is kept until the connection ends, also
/// while a table is waited for: those who wait for their turn try nothing themselves.
async fn migrate(own: &PgPool, schema: &SchemaName, wait_max: &str) -> Result<(), StoreError> {
    // The same connection to the end: another one would have neither the lock nor the path.
    let mut connection = own.acquire().await?;
    // Waiting for one's turn disturbs nobody, and takes as long as the migrations of the others.
    sqlx::query(LIMIT_LOCKS).bind("0").execute(&mut *connection).await?;
    sqlx::query(LOCK).bind(schema.to_string()).execute(&mut *connection).await?;
    sqlx::query(LIMIT_LOCKS).bind(wait_max).execute(&mut *connection).await?;
    schema::ensure(&mut connection, schema).await?;
    sqlx::query(schema.sql(SET_PATH)).execute(&mut *connection).await?;
    let mut migrator = migrator();
    migrator.set_ignore_missing(true).set_locking(false);
    migrator.dangerous_set_table_name(format!("{schema}.migrations"));
    let deadline = Instant::now() + TABLE_PATIENCE;
    loop {
        match migrator.run_direct(None, &mut *connection, false).await {
            Err(error) if is_in_use(&error) && Instant::now() < deadline => {
                warn!(%error, "a migration waits for a table that is in use");
                sleep(TABLE_RETRY).await;
            }
            done => return Ok(done?),
        }
    }
}

/// lock_not_available: somebody has the table for longer than a migration may wait.
fn is_in_use(error: &MigrateError) -> bool {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return false;
    };
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}
