//! The store in Postgres: what a cluster shares.
//!
//! The epoch is read by the same statement as the positions that it qualifies. A failover behind a
//! connection pooler is seen with the first answer of the new primary.

/// Names the history: the cluster, its timeline, the database in it.
///
/// The timeline is taken from the current WAL file, because `pg_control_checkpoint()` keeps naming the
/// old one after a fast promotion, until the next checkpoint. A standby refuses to answer this, and
/// that is right: its positions lag. (Statements without an epoch ask for the position in the WAL to
/// be refused as well.)
macro_rules! epoch_sql {
    () => {
        "(SELECT to_hex(system_identifier)
            || '-' || ltrim(left(pg_walfile_name(pg_current_wal_lsn()), 8), '0')
            || '-' || (SELECT oid FROM pg_database WHERE datname = current_database())
          FROM pg_control_system())"
    };
}

mod commit;
mod migrate;
mod pool;
mod schema;
mod session;
mod upkeep;

use std::time::Duration;

use async_trait::async_trait;
use common::{DraftId, Stream, UserId, protocol::Draft};
use fanout::log::{Heads, Log, LogError, Page, READ_BYTES_MAX, Read};
use sqlx::{ConnectOptions, SqlStr, postgres::PgConnectOptions};

pub use self::schema::SchemaName;
use self::{pool::Pool, session::Sessions, upkeep::PostgresUpkeep};
use super::{
    Committed, DraftList, History, Limits, Store, StoreError, Upkeep, Write,
    failure::within,
    rows::{self, DraftColumns, EventRow, HeadRow, ListRow, signed},
};

/// How to reach Postgres, and what it may hold.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`. It holds a secret.
    pub url: String,
    /// The schema that holds the tables.
    pub schema: SchemaName,
    /// Connections at a time.
    pub connections_max: usize,
    /// The longest that a call takes, waiting for a connection included.
    pub timeout: Duration,
    /// What a user may keep.
    pub limits: Limits,
}

/// The store in Postgres. It connects when it is first used, and again whenever it has to.
pub struct PostgresStore {
    pool: Pool,
    schema: SchemaName,
    sql: Statements,
    /// Sessions without settings.
    plain: Sessions,
    upkeep: Sessions,
    connections_max: usize,
    timeout: Duration,
    limits: Limits,
}

/// Every statement, over the tables of one schema.
struct Statements {
    heads: SqlStr,
    read: SqlStr,
    drafts: SqlStr,
    draft: SqlStr,
    commit: commit::Statements,
    upkeep: upkeep::Statements,
}

impl Statements {
    fn new(schema: &SchemaName) -> Self {
        Self {
            heads: schema.sql(HEADS),
            read: schema.sql(READ),
            drafts: schema.sql(DRAFTS),
            draft: schema.sql(DRAFT),
            commit: commit::Statements::new(schema),
            upkeep: upkeep::Statements::new(schema),
        }
    }
}

const HEADS: &str = concat!(
    "WITH epoch AS MATERIALIZED (SELECT ",
    epoch_sql!(),
    " AS epoch)
    SELECT epoch.epoch,
        CASE WHEN w.ord IS NOT NULL THEN coalesce(s.head, 0) END AS head,
        CASE WHEN w.ord IS NOT NULL THEN coalesce(s.floor, 0) END AS floor
    FROM epoch
    LEFT JOIN unnest($1::text[]) WITH ORDINALITY AS w (name, ord) ON true
    LEFT JOIN {schema}.streams s ON s.name = w.name
    ORDER BY w.ord"
);

// Below the floor there is nothing, deleted yet or not: a reader must not wade through what is.
//
// The size of a payload is known once it has been fetched and unpacked. The size that it is stored in is
// known without, and is not larger but for a header: by it most of what does not fit is left out first.
const READ: &str = concat!(
    "WITH epoch AS MATERIALIZED (SELECT ",
    epoch_sql!(),
    " AS epoch)
    SELECT epoch.epoch, w.ord - 1 AS ord, coalesce(s.head, 0) AS head, coalesce(s.floor, 0) AS floor,
        e.seq, e.kind, e.origin, e.ts, e.priority::bigint AS priority, e.payload::text
    FROM epoch
    CROSS JOIN unnest($1::text[], $2::bigint[], $3::bigint[])
        WITH ORDINALITY AS w (stream, after, events_max, ord)
    LEFT JOIN {schema}.streams s ON s.name = w.stream
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT *, sum(octet_length(payload::text)) OVER before AS bytes
            FROM (
                SELECT *, sum(pg_column_size(payload)) OVER before AS stored
                FROM (
                    SELECT * FROM {schema}.events WHERE stream = w.stream AND seq > greatest(w.after, s.floor)
                    ORDER BY seq LIMIT w.events_max
                ) page
                WINDOW before AS (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
            ) page
            WHERE coalesce(stored, 0) < $4
            WINDOW before AS (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ) page WHERE coalesce(bytes, 0) < $4
    ) e ON true"
);

const DRAFTS: &str = concat!(
    "WITH epoch AS MATERIALIZED (SELECT ",
    epoch_sql!(),
    " AS epoch)
    SELECT epoch.epoch, coalesce(s.head, 0) AS head,
        d.draft_id, d.version, d.kind, d.content::text, d.updated_at
    FROM epoch
    LEFT JOIN {schema}.streams s ON s.name = $1
    LEFT JOIN {schema}.drafts d ON d.user_id = $2 AND d.live AND d.content IS NOT NULL
    ORDER BY d.draft_id"
);

const DRAFT: &str = "
    SELECT draft_id, version, kind, content::text, updated_at
    FROM {schema}.drafts WHERE user_id = $1 AND draft_id = $2 AND content IS NOT NULL
        AND (SELECT pg_current_wal_lsn()) IS NOT NULL -- fails on a standby, which lags";

impl PostgresStore {
    /// Prepares to connect.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the URL is malformed. Whether anybody answers there shows later.
    pub fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let base: PgConnectOptions = options.url.parse()?;
        let plain = Sessions::new(base.application_name("draftwire").disable_statement_logging());
        // Every statement looks up a handful of keys. That must not depend on statistics: on a table
        // that was small when the plan was made, the planner prefers to read all of it.
        let plans = ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"];
        let planned = plain.with(plans.map(|name| (name, "off".to_owned())));
        // One plan fits all values, and planning a commit's statements anew each time was more than a third of
        // their work.
        let planned = planned.with([("plan_cache_mode", "force_generic_plan".to_owned())]);
        // The server ends what this node has given up, or can no longer end because it was stopped in
        // the middle: no lock outlives its call by much.
        let limit = format!("{}ms", options.timeout.as_millis().max(1));
        let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
        let calls = planned.with(limits.map(|name| (name, limit.clone())));
        // Stated, because a database may have another default. Stricter levels fail where this one waits.
        let calls = calls.with([("default_transaction_isolation", "read committed".to_owned())]);
        let connections_max = options.connections_max.max(1);
        Ok(Self {
            schema: options.schema.clone(),
            sql: Statements::new(&options.schema),
            pool: Pool::new(calls, connections_max),
            upkeep: upkeep::sessions(&planned),
            plain,
            connections_max,
            timeout: options.timeout,
            limits: options.limits,
        })
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, writes: &[Write]) -> Result<Committed, StoreError> {
        if writes.is_empty() {
            return self.nothing().await;
        }
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let (sql, limits) = (&self.sql.commit, &self.limits);
            let committed = commit::commit(&mut connection, sql, writes, limits, self.timeout).await?;
            connection.put_back();
            Ok(committed)
        })
        .await
    }

    async fn commit_within(&self, writes: &[Write], lock_wait: Duration) -> Result<Committed, StoreError> {
        if writes.is_empty() {
            return self.nothing().await;
        }
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let (sql, limits) = (&self.sql.commit, &self.limits);
            let committed = commit::commit_within(&mut connection, sql, writes, limits, lock_wait).await?;
            connection.put_back();
            Ok(committed)
        })
        .await
    }

    async fn drafts(&self, user: &UserId) -> Result<DraftList, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let rows: Vec<ListRow> = sqlx::query_as(self.sql.drafts.clone())
                .bind(Stream::User(user.clone()).key())
                .bind(user.as_str())
                .fetch_all(&mut *connection)
                .await?;
            connection.put_back();
            rows::list(rows, user)
        })
        .await
    }

    async fn draft(&self, user: &UserId, id: &DraftId) -> Result<Option<Draft>, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let row: Option<DraftColumns> = sqlx::query_as(self.sql.draft.clone())
                .bind(user.as_str())
                .bind(id.as_str())
                .fetch_optional(&mut *connection)
                .await?;
            connection.put_back();
            row.map(|row| row.read(user)).transpose()
        })
        .await
    }

    async fn history(&self, read: &Read) -> Result<History, StoreError> {
        rows::history(self.pages(std::slice::from_ref(read)).await?, read)
    }

    async fn claim_upkeep(&self) -> Result<Option<Box<dyn Upkeep>>, StoreError> {
        PostgresUpkeep::claim(&self.upkeep, &self.sql.upkeep).await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        // A standby answers other things than this.
        positions(self, &[]).await.map(|_| ())
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

#[async_trait]
impl Log for PostgresStore {
    async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError> {
        Ok(positions(self, streams).await?)
    }

    async fn read(&self, reads: &[Read]) -> Result<Vec<Page>, LogError> {
        Ok(rows::pages(self.pages(reads).await?, reads)?)
    }
}

impl PostgresStore {
    /// What came of a batch without writes.
    async fn nothing(&self) -> Result<Committed, StoreError> {
        let epoch = positions(self, &[]).await?.epoch;
        Ok(Committed { epoch, events: Vec::new(), answers: Vec::new() })
    }

    async fn pages(&self, reads: &[Read]) -> Result<Vec<EventRow>, StoreError> {
        let streams: Vec<String> = reads.iter().map(|read| read.stream.key()).collect();
        let after: Vec<i64> = reads.iter().map(|read| signed(read.after.0)).collect();
        let events_max: Vec<i64> = reads.iter().map(|read| i64::from(read.limit)).collect();
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let rows = sqlx::query_as(self.sql.read.clone())
                .bind(streams)
                .bind(after)
                .bind(events_max)
                .bind(signed(READ_BYTES_MAX as u64))
                .fetch_all(&mut *connection)
                .await?;
            connection.put_back();
            Ok(rows)
        })
        .await
    }
}

async fn positions(store: &PostgresStore, streams: &[Stream]) -> Result<Heads, StoreError> {
    let names: Vec<String> = streams.iter().map(Stream::key).collect();
    within(store.timeout, async {
        let mut connection = store.pool.get().await?;
        let rows: Vec<HeadRow> =
            sqlx::query_as(store.sql.heads.clone()).bind(names).fetch_all(&mut *connection).await?;
        connection.put_back();
        rows::heads(rows)
    })
    .await
}

/// One column of a set of rows, as `unnest` takes it.
fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
