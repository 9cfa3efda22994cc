//! What names the history that events are numbered in.
//!
//! The name (the epoch) has to change whenever events that were acknowledged may be gone, because their numbers
//! are used again. It is read by the same statement as the positions that it qualifies.
//!
//! The *timeline* of the server changes with every promotion and every restored backup, by itself. It is read
//! with functions that some services and roles do not have. There a *row* names the history, together with the
//! start time of the server on which it got its name. On any other server it does not count: nothing is read or
//! written in the history until somebody has given it a new name, with one statement, for all nodes. A restart
//! is another server too, because nothing tells it from a failover.

use sqlx::{PgConnection, SqlStr};
use tracing::{info, warn};

use super::schema::SchemaName;
use crate::store::{StoreError, rows::NO_EPOCH};

/// What is asked for: the setting `HISTORY_SOURCE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HistorySource {
    /// The timeline where it can be read, and a row elsewhere.
    #[default]
    Auto,
    /// The timeline, or no start.
    Timeline,
    /// A row.
    Row,
}

impl HistorySource {
    /// What holds until the server was asked.
    pub(super) fn assumed(self) -> Naming {
        match self {
            Self::Auto | Self::Timeline => Naming::Timeline,
            Self::Row => Naming::Row,
        }
    }
}

/// How the statements of a node get the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    Timeline,
    Row,
    /// As the row says, which a node that cannot read the timeline may change at any time.
    Recorded,
}

impl Naming {
    pub(super) fn may_be_a_row(self) -> bool {
        self != Self::Timeline
    }

    fn expression(self) -> String {
        match self {
            Self::Timeline => format!("({TIMELINE})"),
            Self::Row => format!("(SELECT {ROW} FROM {{schema}}.history)"),
            Self::Recorded => format!(
                "(SELECT CASE source WHEN 'row' THEN {ROW} ELSE ({TIMELINE}) END FROM {{schema}}.history)"
            ),
        }
    }
}

/// The cluster, its timeline, the database in it, and the table: one that is dropped and restored from a dump is
/// another one.
///
/// The timeline is taken from the current WAL file, because `pg_control_checkpoint()` keeps naming the
/// old one after a fast promotion, until the next checkpoint. A standby refuses to answer this, and
/// that is right: its positions lag.
const TIMELINE: &str = "
    SELECT to_hex(system_identifier)
        || '-' || ltrim(left(pg_walfile_name(pg_current_wal_lsn()), 8), '0')
        || '-' || (SELECT oid FROM pg_database WHERE datname = current_database())
        || '-' || '{schema}.streams'::regclass::oid
    FROM pg_control_system()";

/// The name in the row, or why it does not count. The table is named as well, for the same reason.
const ROW: &str = "
    CASE WHEN pg_is_in_recovery() THEN '?the server is a standby'
        WHEN started <> pg_postmaster_start_time() THEN '?the history has no name on this server yet'
        ELSE name || '-' || '{schema}.streams'::regclass::oid END";

/// Statements over the tables of one schema, in which `{epoch}` stands for the name of the history.
pub(super) struct Template<'a> {
    pub(super) schema: &'a SchemaName,
    pub(super) naming: Naming,
}

impl Template<'_> {
    pub(super) fn sql(&self, template: &str) -> SqlStr {
        self.schema.sql(&template.replace("{epoch}", &self.naming.expression()))
    }
}

/// Gives the history a new name where it has none on this server. Of those who try at once one succeeds.
pub(super) const ADOPT: &str = "
    UPDATE {schema}.history SET name = $1, started = pg_postmaster_start_time()
    WHERE started <> pg_postmaster_start_time()";

/// Gives the history a new name unless it has another one already.
pub(super) const RENAME: &str = "
    UPDATE {schema}.history SET name = $2
    WHERE source = 'row' AND started = pg_postmaster_start_time()
        AND name || '-' || '{schema}.streams'::regclass::oid = $1";

const IS_STANDBY: &str = "SELECT pg_is_in_recovery()";

/// Nodes that were told otherwise, or cannot do otherwise, decide for those that can do both.
const RECORD: &str = "
    UPDATE {schema}.history SET source = $1, name = $2, started = pg_postmaster_start_time()
    WHERE source <> $1";

/// What a node answers that was asked for data while its server is a standby.
pub(super) fn standby() -> StoreError {
    StoreError::Unavailable("the server is a standby".to_owned())
}

/// A name that no history has had.
pub(super) fn new_name() -> String {
    format!("r{:016x}", rand::random::<u64>())
}

/// Makes sure that the history has a name on the server of this connection. A standby refuses it.
pub(super) async fn adopt(connection: &mut PgConnection, adopt: &SqlStr) -> Result<(), StoreError> {
    let adopted = sqlx::query(adopt.clone()).bind(new_name()).execute(connection).await?;
    if adopted.rows_affected() > 0 {
        info!("another server answers, or the same one has been restarted: the history may get another name");
    }
    Ok(())
}

/// Finds out how the history is named here, and records it for the other nodes.
pub(super) async fn settle(
    connection: &mut PgConnection,
    schema: &SchemaName,
    source: HistorySource,
) -> Result<Naming, StoreError> {
    if sqlx::query_scalar(IS_STANDBY).fetch_one(&mut *connection).await? {
        return Err(standby());
    }
    let record = match source {
        HistorySource::Row => "row",
        HistorySource::Timeline => {
            if let Err(reason) = try_timeline(connection, schema).await? {
                return Err(StoreError::Failed(format!(
                    "HISTORY_SOURCE=timeline, and the server refuses to name it ({reason}); an administrator has \
                     to run: GRANT EXECUTE ON FUNCTION pg_control_system(), pg_current_wal_lsn(), \
                     pg_walfile_name(pg_lsn) TO the role of this node; or set HISTORY_SOURCE=row"
                )));
            }
            "timeline"
        }
        HistorySource::Auto => match try_timeline(connection, schema).await? {
            Ok(()) => return Ok(Naming::Recorded),
            Err(reason) => {
                warn!(reason, "the server's timeline cannot be read: a row names the history");
                "row"
            }
        },
    };
    sqlx::query(schema.sql(RECORD)).bind(record).bind(new_name()).execute(connection).await?;
    Ok(if record == "row" { Naming::Row } else { Naming::Timeline })
}

/// Reads the timeline once; why the server refuses it, if it does. A right alone does not tell: Aurora has the
/// functions, and they fail.
async fn try_timeline(
    connection: &mut PgConnection,
    schema: &SchemaName,
) -> Result<Result<(), String>, StoreError> {
    let read = sqlx::query_scalar::<_, String>(schema.sql(TIMELINE)).fetch_one(connection).await;
    match read {
        Ok(epoch) if epoch.starts_with(NO_EPOCH) || epoch.is_empty() => Ok(Err("it has no name".to_owned())),
        Ok(_) => Ok(Ok(())),
        Err(sqlx::Error::Database(error)) => {
            let code = error.code().unwrap_or_default().into_owned();
            // Not an answer, but a server that is about to end or has no room.
            if ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)) {
                return Err(StoreError::Unavailable(error.to_string()));
            }
            Ok(Err(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}
