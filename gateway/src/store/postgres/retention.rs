//! Retention in Postgres, over a connection of its own: it takes none from the pool, and its end, however
//! it comes, gives the leadership of retention back.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::Seq;
use sqlx::{Connection, PgConnection, Row, SqlStr};

use super::{schema::SchemaName, session::Sessions};
use crate::store::{
    CONFIRM_INTERVAL_MAX, Chunk, Deleted, RetentionStore, Rule, StoreError, Trimmed,
    failure::within,
    retention::moves,
    rows::{self, PositionRow, column, signed},
};

/// Takes the advisory lock that stands for the leadership. Each schema has its own: other clusters may share
/// the database.
const CLAIM: &str = "SELECT pg_try_advisory_lock(hashtextextended('draftwire retention ' || $1, 0))";

/// The longest that a call takes. Longer than calls that somebody waits for: deleting from cold pages of
/// a slow disk may take its time.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How long one call waits for streams that are always locked, because they are written to without a break.
/// It stands in the same queue as those who write to them.
const TURN_WAIT_MAX: Duration = Duration::from_millis(500);

/// After how long the server ends the session of a leader that makes no call, because it is gone or was stopped
/// in the middle. It is several of the intervals at which a leader makes one.
const SILENCE_MAX: Duration = CONFIRM_INTERVAL_MAX.saturating_mul(4);

// Servers before version 14 do not have the setting; there a node that was stopped in the middle keeps the
// leadership until it goes on or ends.
const LIMIT_SILENCE: &str = "
    SELECT set_config(name, $1, false) FROM pg_settings WHERE name = 'idle_session_timeout'";

const NOW: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

const POSITIONS: &str = "
    SELECT s.name, s.head, s.floor, CASE WHEN s.head > s.floor THEN (
        SELECT seq FROM (
            SELECT seq, ts FROM {schema}.events WHERE stream = s.name AND seq > s.floor ORDER BY seq LIMIT $5
        ) next WHERE ts >= $4 ORDER BY seq LIMIT 1
    ) END AS fresh
    FROM (
        SELECT name, head, floor FROM {schema}.streams WHERE name > $1 AND name < $2 ORDER BY name LIMIT $3
    ) s
    ORDER BY s.name";

/// Moves floors and notes what is to be deleted, in one statement: the locks last as long as it takes
/// the server. What it skips, or finds changed, it does not return.
macro_rules! move_sql {
    ($locking:literal) => {
        concat!(
            "WITH locked AS (
                SELECT s.name, s.floor AS before, w.floor
                FROM unnest($1::text[], $2::bigint[]) AS w (name, floor)
                JOIN {schema}.streams s ON s.name = w.name
                WHERE s.floor < w.floor AND w.floor <= s.head
                ORDER BY s.name FOR UPDATE OF s ",
            $locking,
            "), moved AS (
                UPDATE {schema}.streams s SET floor = locked.floor FROM locked WHERE s.name = locked.name
            )
            INSERT INTO {schema}.trims AS t (stream, deleted, floor) SELECT name, before, floor FROM locked
            ON CONFLICT (stream) DO UPDATE SET floor = greatest(t.floor, excluded.floor)
            RETURNING t.stream"
        )
    };
}

const MOVE_UNLOCKED: &str = move_sql!("SKIP LOCKED");

const MOVE: &str = move_sql!("");

/// Deletes exact ranges, some of them in part, so that all together are about as many events as asked
/// for.
const DELETE: &str = "
    WITH due AS MATERIALIZED (
        SELECT stream, deleted, least(floor, deleted + $1) AS up_to
        FROM (
            SELECT *, sum(least(floor - deleted, $1)) OVER (ORDER BY stream) - least(floor - deleted, $1)
                AS before
            FROM (SELECT * FROM {schema}.trims ORDER BY stream LIMIT $1) first
        ) ranges WHERE before < $1
    ), gone AS (
        DELETE FROM {schema}.events e USING due
        WHERE e.stream = due.stream AND e.seq > due.deleted AND e.seq <= due.up_to
        RETURNING e.stream
    ), done AS (
        DELETE FROM {schema}.trims t USING due WHERE t.stream = due.stream AND t.floor <= due.up_to
    ), partly AS (
        UPDATE {schema}.trims t SET deleted = due.up_to FROM due WHERE t.stream = due.stream AND t.floor > due.up_to
    )
    SELECT (SELECT count(*) FROM due) AS streams,
        count(*) FILTER (WHERE stream = 'all') AS of_all,
        count(*) FILTER (WHERE stream = 'control') AS of_control,
        count(*) FILTER (WHERE stream LIKE 'topic:%') AS of_topics,
        count(*) FILTER (WHERE stream LIKE 'user:%') AS of_users
    FROM gone";

const FORGET_COMMANDS: &str = "
    DELETE FROM {schema}.commands WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {schema}.commands WHERE ts < $1 ORDER BY ts LIMIT $2 FOR UPDATE SKIP LOCKED
    ))";

/// The statements over the tables of one schema.
#[derive(Clone)]
pub(super) struct Statements {
    schema: SchemaName,
    positions: SqlStr,
    move_unlocked: SqlStr,
    r#move: SqlStr,
    delete: SqlStr,
    forget_commands: SqlStr,
}

impl Statements {
    pub(super) fn new(schema: &SchemaName) -> Self {
        Self {
            schema: schema.clone(),
            positions: schema.sql(POSITIONS),
            move_unlocked: schema.sql(MOVE_UNLOCKED),
            r#move: schema.sql(MOVE),
            delete: schema.sql(DELETE),
            forget_commands: schema.sql(FORGET_COMMANDS),
        }
    }
}

fn ms(limit: Duration) -> String {
    format!("{}ms", limit.as_millis())
}

/// Sessions for retention.
pub(super) fn sessions(planned: &Sessions) -> Sessions {
    planned.with([
        ("statement_timeout", ms(TIMEOUT)),
        ("lock_timeout", ms(TURN_WAIT_MAX)),
        // What a crash takes back is done again. The order stays: no deletion survives the floor
        // that it followed.
        ("synchronous_commit", "off".to_owned()),
        // A machine that is gone is noticed in half a minute, not after hours.
        ("tcp_keepalives_idle", "15".to_owned()),
        ("tcp_keepalives_interval", "5".to_owned()),
        ("tcp_keepalives_count", "3".to_owned()),
    ])
}

/// The leader's session, which holds the advisory lock.
pub(super) struct PostgresRetention {
    session: PgConnection,
    sql: Statements,
}

impl PostgresRetention {
    /// Claims the leadership; `None` when another session has it.
    pub(super) async fn claim(
        sessions: &Sessions,
        sql: &Statements,
    ) -> Result<Option<Box<dyn RetentionStore>>, StoreError> {
        within(TIMEOUT, async {
            let cannot = |error| StoreError::Unavailable(format!("cannot connect: {error}"));
            let mut session = sessions.open().await.map_err(cannot)?;
            let claimed: bool =
                sqlx::query_scalar(CLAIM).bind(sql.schema.to_string()).fetch_one(&mut session).await?;
            if !claimed {
                session.close().await?;
                return Ok(None);
            }
            sqlx::query(LIMIT_SILENCE).bind(ms(SILENCE_MAX)).execute(&mut session).await?;
            Ok(Some(Box::new(Self { session, sql: sql.clone() }) as Box<dyn RetentionStore>))
        })
        .await
    }

    /// Moves floors, those that are locked last and one by one. Returns how many were moved.
    async fn move_floors(&mut self, floors: &[(String, Seq)]) -> Result<usize, StoreError> {
        if floors.is_empty() {
            return Ok(0);
        }
        let unlocked: Vec<String> = sqlx::query_scalar(self.sql.move_unlocked.clone())
            .bind(column(floors, |(name, _)| name.as_str()))
            .bind(column(floors, |(_, floor)| signed(floor.0)))
            .fetch_all(&mut self.session)
            .await?;
        let mut moved = unlocked.len();
        let began = Instant::now();
        for (name, floor) in floors.iter().filter(|(name, _)| !unlocked.contains(name)) {
            if began.elapsed() >= TURN_WAIT_MAX {
                break;
            }
            let waited = sqlx::query(self.sql.r#move.clone())
                .bind(vec![name.as_str()])
                .bind(vec![signed(floor.0)])
                .execute(&mut self.session)
                .await;
            match waited {
                Ok(done) if done.rows_affected() > 0 => moved += 1,
                Ok(_) => {}
                // lock_not_available: somebody keeps it for longer than a commit.
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(moved)
    }
}

#[async_trait]
impl RetentionStore for PostgresRetention {
    async fn now(&mut self) -> Result<u64, StoreError> {
        within(TIMEOUT, async {
            let now = sqlx::query_scalar(NOW).fetch_one(&mut self.session).await?;
            rows::unsigned("the time", "the server", now)
        })
        .await
    }

    async fn trim(&mut self, rule: &Rule, after: Option<&str>, chunk: Chunk) -> Result<Trimmed, StoreError> {
        let (start, end) = rule.kind.range();
        within(TIMEOUT, async {
            let found: Vec<PositionRow> = sqlx::query_as(self.sql.positions.clone())
                .bind(after.unwrap_or(start))
                .bind(end)
                .bind(i64::from(chunk.streams_max))
                .bind(rule.before.map_or(i64::MIN, signed))
                .bind(i64::from(chunk.events_max))
                .fetch_all(&mut self.session)
                .await?;
            let moves = moves(rows::positions(found)?, rule, after, chunk);
            let moved = self.move_floors(&moves.floors).await?;
            Ok(moves.done(moved))
        })
        .await
    }

    async fn delete(&mut self, events_max: u32) -> Result<Deleted, StoreError> {
        within(TIMEOUT, async {
            let row = sqlx::query(self.sql.delete.clone())
                .bind(i64::from(events_max))
                .fetch_one(&mut self.session)
                .await?;
            let count = |name| rows::unsigned("a count", "deleted events", row.try_get(name)?);
            Ok(Deleted {
                streams: count("streams")?,
                all: count("of_all")?,
                control: count("of_control")?,
                topic: count("of_topics")?,
                user: count("of_users")?,
            })
        })
        .await
    }

    async fn forget_commands(&mut self, before: u64, limit: u32) -> Result<u64, StoreError> {
        within(TIMEOUT, async {
            let deleted = sqlx::query(self.sql.forget_commands.clone())
                .bind(signed(before))
                .bind(i64::from(limit))
                .execute(&mut self.session)
                .await?;
            Ok(deleted.rows_affected())
        })
        .await
    }

    async fn confirm(&mut self) -> Result<(), StoreError> {
        within(TIMEOUT, async { Ok(self.session.ping().await?) }).await
    }
}
