//! The store in Postgres: what a cluster shares.
//!
//! The epoch is read by the same statement as the positions that it qualifies. A failover behind a
//! connection pooler is seen with the first answer of the new primary.

mod address;
mod commit;
mod durability;
mod history;
pub(crate) mod inspection;
mod limits;
mod migrate;
mod notices;
mod pool;
mod retention;
mod rights;
mod schema;
mod session;
mod settings;
mod state_cache;
mod statements;
mod webhooks;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use common::{DraftId, Epoch, Stream, UserId, protocol::Draft};
use fanout::log::{Heads, Log, LogError, Page, READ_BYTES_MAX, Read};
use sqlx::{ConnectOptions, FromRow, Row};
use tracing::warn;

pub(crate) use self::address::check_url;
use self::{
    address::Address, notices::PostgresNotices, pool::Pool, retention::PostgresRetention, session::Sessions,
    state_cache::StateCache, statements::Statements, webhooks::statements as webhook_statements,
};
pub use self::{address::shown, history::HistorySource, schema::SchemaName};
use super::{
    Committed, DraftList, History, Limits, NoticeReader, OccupancyStore, PoolState, RetentionStore, Store,
    StoreError, Write,
    rows::{self, DraftColumns, EventRow, HeadRow, ListRow, signed},
    timing::{call, timed},
    webhooks::WebhookStore,
};
use crate::operations::Statement;

/// How to reach Postgres, and what it may hold.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`, as libpq takes it. It holds a secret.
    pub url: String,
    /// The schema that holds the tables.
    pub schema: SchemaName,
    /// What names the history.
    pub history: HistorySource,
    /// Connections at a time.
    pub connections_max: usize,
    /// The longest that a call takes, waiting for a connection included.
    pub timeout: Duration,
    /// What a user may keep.
    pub limits: Limits,
    /// Bytes of drafts that are kept in memory, so that the next change of one needs no query; zero keeps none.
    pub state_cache_bytes_max: usize,
}

/// The store in Postgres. It connects when it is first used, and again whenever it has to.
pub struct PostgresStore {
    pool: Pool,
    schema: SchemaName,
    history: HistorySource,
    /// As the history is named: known once [`PostgresStore::prepare`] has asked the server.
    sql: RwLock<Arc<Statements>>,
    /// Sessions without settings.
    plain: Sessions,
    retention: Sessions,
    notices: Sessions,
    webhooks: Sessions,
    connections_max: usize,
    timeout: Duration,
    limits: ArcSwap<Limits>,
    states: StateCache,
}

/// The tables of the schema, with what belongs to them. The schema may have others of the application's, if that has put
/// them there.
const BYTES: &str = "
    SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relkind = 'r'";

impl PostgresStore {
    /// Prepares to connect.
    ///
    /// # Errors
    /// [`StoreError::Failed`] when the URL is malformed. Whether anybody answers there shows later.
    pub fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let Address { options: base, ignored } = Address::parse(&options.url).map_err(StoreError::Failed)?;
        if !ignored.is_empty() {
            warn!(?ignored, "parameters of DATABASE_URL that mean nothing here");
        }
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
        let calls = calls.with([("default_transaction_isolation", "read committed".to_owned())]).durable();
        let connections_max = options.connections_max.max(1);
        Ok(Self {
            schema: options.schema.clone(),
            history: options.history,
            sql: RwLock::new(Arc::new(Statements::new(&options.schema, options.history.assumed()))),
            pool: Pool::new(calls, connections_max),
            retention: retention::sessions(&planned),
            notices: notices::sessions(&planned, options.timeout),
            webhooks: webhook_statements::sessions(&planned),
            plain,
            connections_max,
            timeout: options.timeout,
            limits: ArcSwap::from_pointee(options.limits),
            states: StateCache::new(options.state_cache_bytes_max),
        })
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, writes: &[Write]) -> Result<Committed, StoreError> {
        if writes.is_empty() {
            return self.nothing().await;
        }
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let (sql, limits) = (self.sql(), &self.limits.load_full());
            let committed =
                commit::commit(&mut connection, &sql.commit, &self.states, writes, limits, self.timeout)
                    .await?;
            connection.put_back();
            Ok(committed)
        })
        .await
    }

    async fn commit_within(&self, writes: &[Write], lock_wait: Duration) -> Result<Committed, StoreError> {
        if writes.is_empty() {
            return self.nothing().await;
        }
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let (sql, limits) = (self.sql(), &self.limits.load_full());
            let committed =
                commit::commit_within(&mut connection, &sql.commit, &self.states, writes, limits, lock_wait)
                    .await?;
            connection.put_back();
            Ok(committed)
        })
        .await
    }

    async fn drafts(&self, user: &UserId) -> Result<DraftList, StoreError> {
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let drafts = sqlx::query_as(self.sql().drafts.clone())
                .bind(Stream::User(user.clone()).key())
                .bind(user.as_str());
            let rows: Vec<ListRow> = timed(Statement::Drafts, drafts.fetch_all(&mut *connection)).await?;
            let list = rows::list(rows, user)?;
            connection.put_back();
            Ok(list)
        })
        .await
    }

    async fn draft(&self, user: &UserId, id: &DraftId) -> Result<Option<Draft>, StoreError> {
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let draft = sqlx::query(self.sql().draft.clone()).bind(user.as_str()).bind(id.as_str());
            let row = timed(Statement::Draft, draft.fetch_one(&mut *connection)).await?;
            if row.try_get("is_standby")? {
                return Err(history::standby());
            }
            connection.put_back();
            let found: Option<String> = row.try_get("draft_id")?;
            let row = found.map(|_| DraftColumns::from_row(&row)).transpose()?;
            row.map(|row| row.read(user)).transpose()
        })
        .await
    }

    async fn history(&self, read: &Read) -> Result<History, StoreError> {
        self.pages(std::slice::from_ref(read), |rows| rows::history(rows, read)).await
    }

    async fn claim_retention(&self) -> Result<Option<Box<dyn RetentionStore>>, StoreError> {
        PostgresRetention::claim(&self.retention, &self.sql().retention).await
    }

    async fn notices(&self) -> Result<Option<Box<dyn NoticeReader>>, StoreError> {
        let reader = PostgresNotices::open(&self.notices, &self.sql().notices, self.timeout).await?;
        Ok(Some(Box::new(reader)))
    }

    fn webhooks(&self) -> Option<&dyn WebhookStore> {
        Some(self)
    }

    fn occupancy(&self) -> Option<&dyn OccupancyStore> {
        Some(self)
    }

    fn pool(&self) -> Option<PoolState> {
        Some(self.pool.state())
    }

    fn set_state_cache_bytes(&self, bytes_max: usize) {
        self.states.set_bytes_max(bytes_max);
    }

    async fn set_limits(&self, limits: Limits) -> Result<(), StoreError> {
        self.limits.store(Arc::new(limits));
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            limits::record(&mut connection, &self.schema, &limits).await?;
            connection.put_back();
            Ok(())
        })
        .await
    }

    async fn bytes(&self) -> Result<Option<u64>, StoreError> {
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let bytes = sqlx::query(BYTES).bind(self.schema.to_string());
            let row = timed(Statement::Bytes, bytes.fetch_one(&mut *connection)).await?;
            let bytes: i64 = row.try_get(0)?;
            connection.put_back();
            Ok(u64::try_from(bytes).ok())
        })
        .await
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
        Ok(self.pages(reads, |rows| rows::pages(rows, reads)).await?)
    }

    async fn rename_history(&self, epoch: &Epoch) -> Result<(), LogError> {
        let Some(rename) = self.sql().rename.clone() else { return Ok(()) };
        let renamed = call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let rename = sqlx::query(rename).bind(epoch.as_str()).bind(history::new_name());
            let renamed = rename.execute(&mut *connection).await?;
            connection.put_back();
            Ok(renamed.rows_affected() > 0)
        });
        if renamed.await? {
            warn!(before = %epoch, "the history has another name now");
        }
        Ok(())
    }
}

impl PostgresStore {
    /// Settles what names the history, and checks every right that the node will need. Call it once, after the
    /// schema is up to date and before the first other call.
    ///
    /// # Errors
    /// [`StoreError::Failed`] with the statements that an administrator has to run, when a right is missing;
    /// [`StoreError::Unavailable`] when the server does not answer, or is a standby.
    pub async fn prepare(&self) -> Result<(), StoreError> {
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            rights::check(&mut connection, &self.schema).await?;
            limits::record(&mut connection, &self.schema, &self.limits.load_full()).await?;
            let naming = history::settle(&mut connection, &self.schema, self.history).await?;
            let sql = Arc::new(Statements::new(&self.schema, naming));
            if let Some(adopt) = &sql.adopt {
                history::adopt(&mut connection, adopt).await?;
                self.pool.adopt_with(adopt.clone());
            }
            *self.sql.write().unwrap_or_else(PoisonError::into_inner) = sql;
            connection.put_back();
            Ok(())
        })
        .await
    }

    fn sql(&self) -> Arc<Statements> {
        self.sql.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What came of a batch without writes.
    async fn nothing(&self) -> Result<Committed, StoreError> {
        let epoch = positions(self, &[]).await?.epoch;
        Ok(Committed { epoch, events: Vec::new(), answers: Vec::new() })
    }

    /// Reads pages. A connection whose answer cannot be used is not used again: it may lead to a server on
    /// which the history has no name.
    async fn pages<T>(
        &self,
        reads: &[Read],
        read: impl FnOnce(Vec<EventRow>) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let streams: Vec<String> = reads.iter().map(|read| read.stream.key()).collect();
        let after: Vec<i64> = reads.iter().map(|read| signed(read.after.0)).collect();
        let events_max: Vec<i64> = reads.iter().map(|read| i64::from(read.limit)).collect();
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let pages = sqlx::query_as(self.sql().read.clone())
                .bind(streams)
                .bind(after)
                .bind(events_max)
                .bind(signed(READ_BYTES_MAX as u64));
            let rows = timed(Statement::Pages, pages.fetch_all(&mut *connection)).await?;
            let pages = read(rows)?;
            connection.put_back();
            Ok(pages)
        })
        .await
    }
}

async fn positions(store: &PostgresStore, streams: &[Stream]) -> Result<Heads, StoreError> {
    let names: Vec<String> = streams.iter().map(Stream::key).collect();
    call(store.timeout, async {
        let mut connection = store.pool.get().await?;
        let heads = sqlx::query_as(store.sql().heads.clone()).bind(names);
        let rows: Vec<HeadRow> = timed(Statement::Heads, heads.fetch_all(&mut *connection)).await?;
        let heads = rows::heads(rows)?;
        connection.put_back();
        Ok(heads)
    })
    .await
}
