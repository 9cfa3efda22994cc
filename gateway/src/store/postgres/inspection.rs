//! What a node would meet at its Postgres, found out without changing anything there.

use sqlx::{Connection, PgConnection};

use super::{PostgresStore, SchemaName, migrate, rights, session::check_pooling};
use crate::store::{StoreError, failure::within};

/// What was found.
#[derive(Debug)]
pub(crate) struct Inspection {
    /// The version, as the server names it.
    pub(crate) version: String,
    /// The same as a number, such as 150004.
    pub(crate) version_number: i32,
    /// Whether the server is a standby, which takes no changes.
    pub(crate) is_standby: bool,
    /// The server's clock, Unix milliseconds, when it answered.
    pub(crate) clock_ms: i64,
    /// Connections that the server allows to roles such as this one.
    pub(crate) connections_max: i64,
    /// Connections that there are.
    pub(crate) connections: i64,
    /// What the schema lacks.
    pub(crate) schema: SchemaState,
    /// Whether the role may do all that a node does; not known before the migrations.
    pub(crate) rights: Option<Result<(), StoreError>>,
    /// Whether there is a pooler in between that shares sessions.
    pub(crate) pooling: Result<(), StoreError>,
}

/// How far the schema is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum SchemaState {
    /// The role may not create it, or tables in it, or not read it. No node can start.
    Forbidden,
    /// There is none yet.
    Missing,
    /// Migrations are to be run by the first node that starts.
    Behind {
        /// How many.
        pending: usize,
    },
    /// It is up to date.
    Current {
        /// Migrations that a newer node has run.
        newer: usize,
    },
}

type Facts = (String, i32, bool, i64, i64, i64);

/// Roles without rights of their own do not get the reserved connections.
const FACTS: &str = "
    SELECT current_setting('server_version'), current_setting('server_version_num')::int, pg_is_in_recovery(),
        (extract(epoch FROM clock_timestamp()) * 1000)::bigint,
        current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
            - coalesce(nullif(current_setting('reserved_connections', true), '')::bigint, 0),
        (SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('client backend', 'walsender') OR backend_type IS NULL)";

/// Whether there is a table of migrations, and whether the role may read it and create others. Without the schema, the
/// role has to be allowed to create that.
const SCHEMA: &str = "
    SELECT c.oid IS NOT NULL,
        CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE')
                AND coalesce(has_table_privilege(c.oid, 'SELECT'), true) END
    FROM (SELECT $1::text AS name) wanted
    LEFT JOIN pg_namespace n ON n.nspname = wanted.name
    LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'migrations'";

const APPLIED: &str = "SELECT version FROM {schema}.migrations WHERE success";

impl PostgresStore {
    /// Looks at the server as a node would meet it. It opens a few sessions, and changes nothing.
    ///
    /// # Errors
    /// When the server does not answer, or refuses the session.
    pub(crate) async fn inspect(&self) -> Result<Inspection, StoreError> {
        let mut found = within(self.timeout, async {
            let mut session = PgConnection::connect_with(self.plain.options()).await?;
            let facts: Facts = sqlx::query_as(FACTS).fetch_one(&mut session).await?;
            let schema = schema_state(&mut session, &self.schema).await?;
            let rights = match schema {
                SchemaState::Current { .. } => Some(rights::check(&mut session, &self.schema).await),
                SchemaState::Forbidden | SchemaState::Missing | SchemaState::Behind { .. } => None,
            };
            session.close().await?;
            let (version, version_number, is_standby, clock_ms, connections_max, connections) = facts;
            // Its own is over.
            let connections = connections.saturating_sub(1);
            let pooling = Ok(());
            Ok(Inspection {
                version,
                version_number,
                is_standby,
                clock_ms,
                connections_max,
                connections,
                schema,
                rights,
                pooling,
            })
        })
        .await?;
        found.pooling = check_pooling(&self.plain, self.connections_max, self.timeout).await;
        Ok(found)
    }
}

async fn schema_state(session: &mut PgConnection, schema: &SchemaName) -> Result<SchemaState, StoreError> {
    let (has_migrations, may_create): (bool, bool) =
        sqlx::query_as(SCHEMA).bind(schema.to_string()).fetch_one(&mut *session).await?;
    if !may_create {
        return Ok(SchemaState::Forbidden);
    }
    if !has_migrations {
        return Ok(SchemaState::Missing);
    }
    let applied: Vec<i64> = sqlx::query_scalar(schema.sql(APPLIED)).fetch_all(session).await?;
    let known = migrate::versions();
    let pending = known.iter().filter(|version| !applied.contains(version)).count();
    let newer = applied.iter().filter(|version| !known.contains(version)).count();
    Ok(if pending > 0 { SchemaState::Behind { pending } } else { SchemaState::Current { newer } })
}
