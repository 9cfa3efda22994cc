//! The store in one SQLite file: what a node runs on when nothing is configured.
//!
//! One connection writes, a few read: in WAL mode readers see the last commit and never wait for the
//! writer. Sets go in as JSON arrays, so that each step is one statement, as in Postgres.

mod lease;
mod retention;
mod settings;

use std::{any::Any, collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use common::{DraftId, Epoch, Seq, Stream, UserId, protocol::Draft, time::unix_ms};
use fanout::log::{Heads, Log, LogError, Page, READ_BYTES_MAX, Read};
use serde_json::json;
use sqlx::{
    ConnectOptions, Connection, Row, SqlitePool, SqliteTransaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use tokio::sync::Mutex;

use self::{lease::Lease, retention::SqliteRetention};
use super::{
    Committed, DraftList, History, Limits, RetentionStore, Store, StoreError, Write,
    plan::{Batch, Lookup, NewCommand, Plan, State, decide},
    rows::{self, DraftColumns, EventRow, HeadRow, ListRow, LookupRow, array, signed},
    timing::{call, timed},
};
use crate::operations::Statement;

/// Where the file is, and what it may hold.
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    /// The file; it is made when it is not there, its folder is not. SQLite keeps two more beside it.
    pub path: PathBuf,
    /// The longest that a call takes.
    pub timeout: Duration,
    /// What a user may keep.
    pub limits: Limits,
}

/// Connections that read. More do not help: they share the disk and the page cache.
const READERS: u32 = 4;

/// The store in an SQLite file. One process at a time should write to it; another that does makes
/// calls wait, and fail when it takes too long.
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Locked by the leader of retention.
    leadership: Arc<Mutex<()>>,
    timeout: Duration,
    limits: ArcSwap<Limits>,
    /// What must not end before the store does.
    _held: Option<Box<dyn Any + Send + Sync>>,
}

const HEADS_OF: &str = "
    SELECT s.name, s.head FROM json_each(?1) w JOIN streams s ON s.name = w.value";

const EPOCH: &str = "SELECT value FROM meta WHERE key = 'epoch'";

const LOOK_UP: &str = "
    SELECT w.value ->> 5 AS ord, c.fingerprint, c.answer, d.version, d.kind, d.content, d.fields, d.created_at,
        d.updated_at,
        CASE WHEN w.value ->> 4 THEN (
            SELECT count(*) FROM drafts WHERE user_id = w.value ->> 0 AND content IS NOT NULL
        ) END AS live
    FROM json_each(?1) w
    LEFT JOIN commands c
        ON c.user_id = w.value ->> 0 AND c.device = w.value ->> 1 AND c.id = w.value ->> 2
    LEFT JOIN drafts d ON d.user_id = w.value ->> 0 AND d.draft_id = w.value ->> 3";

const WRITE_DRAFTS: &str = "
    INSERT INTO drafts (user_id, draft_id, version, kind, content, fields, created_at, updated_at)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6,
        value ->> 7
    FROM json_each(?1) WHERE true
    ON CONFLICT (user_id, draft_id) DO UPDATE SET version = excluded.version,
        content = excluded.content, fields = excluded.fields, updated_at = excluded.updated_at";

const WRITE_COMMANDS: &str = "
    INSERT INTO commands (user_id, device, id, fingerprint, answer, ts)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2 FROM json_each(?1)";

const WRITE_EVENTS: &str = "
    INSERT INTO events (stream, seq, kind, origin, ts, priority, payload)
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6
    FROM json_each(?1)";

const WRITE_HEADS: &str = "
    INSERT INTO streams (name, head)
    SELECT value ->> 0, value ->> 1 FROM json_each(?1) WHERE true
    ON CONFLICT (name) DO UPDATE SET head = excluded.head";

const HEADS: &str = "
    SELECT m.value AS epoch,
        CASE WHEN w.key IS NOT NULL THEN coalesce(s.head, 0) END AS head,
        CASE WHEN w.key IS NOT NULL THEN coalesce(s.floor, 0) END AS floor
    FROM meta m
    LEFT JOIN json_each(?1) w ON true
    LEFT JOIN streams s ON s.name = w.value
    WHERE m.key = 'epoch'
    ORDER BY w.key";

// Numbers have no gaps, so a range of them is a page. SQLite has no lateral join to say it otherwise.
// Below the floor there is nothing, deleted yet or not.
const READ: &str = "
    SELECT * FROM (
        SELECT m.value AS epoch, w.key AS ord, coalesce(s.head, 0) AS head,
            coalesce(s.floor, 0) AS floor, e.seq, e.kind, e.origin, e.ts, e.priority, e.payload,
            sum(length(CAST(e.payload AS BLOB))) OVER (PARTITION BY w.key ORDER BY e.seq)
                - length(CAST(e.payload AS BLOB)) AS bytes
        FROM json_each(?1) w
        JOIN meta m ON m.key = 'epoch'
        LEFT JOIN streams s ON s.name = w.value ->> 0
        LEFT JOIN events e
            ON e.stream = w.value ->> 0 AND e.seq > max(w.value ->> 1, coalesce(s.floor, 0))
            AND e.seq <= w.value ->> 2
    ) WHERE coalesce(bytes, 0) < ?2";

const DRAFTS: &str = "
    SELECT m.value AS epoch, coalesce(s.head, 0) AS head,
        d.draft_id, d.version, d.kind, d.content, d.updated_at
    FROM meta m
    LEFT JOIN streams s ON s.name = ?1
    LEFT JOIN drafts d ON d.user_id = ?2 AND d.content IS NOT NULL
    WHERE m.key = 'epoch'
    ORDER BY d.draft_id";

const DRAFT: &str = "
    SELECT draft_id, version, kind, content, updated_at
    FROM drafts WHERE user_id = ?1 AND draft_id = ?2 AND content IS NOT NULL";

const BYTES: &str = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()";

impl SqliteStore {
    /// Opens the file, makes it if need be, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the file cannot be opened, [`StoreError::Failed`] when it is
    /// something else, or a migration fails.
    pub async fn open(options: &SqliteOptions) -> Result<Self, StoreError> {
        let file = SqliteConnectOptions::new()
            .filename(&options.path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode anything less loses the last commits with the power.
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(options.timeout)
            .disable_statement_logging();
        let pool = |connections_max| {
            SqlitePoolOptions::new()
                .max_connections(connections_max)
                .acquire_timeout(options.timeout)
                .idle_timeout(None)
                .max_lifetime(None)
        };
        let writer = pool(1).connect_lazy_with(file.clone());
        let mut migrator = sqlx::migrate!("migrations/sqlite");
        migrator.set_ignore_missing(true);
        migrator.run(&writer).await?;
        let readers = pool(READERS).connect_lazy_with(file.pragma("query_only", "on"));
        Ok(Self {
            writer,
            readers,
            leadership: Arc::default(),
            timeout: options.timeout,
            limits: ArcSwap::from_pointee(options.limits),
            _held: None,
        })
    }

    /// Keeps something for as long as the store lives: what allows this process to use the file.
    #[must_use]
    pub fn holding(mut self, held: impl Send + Sync + 'static) -> Self {
        self._held = Some(Box::new(held));
        self
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, writes: &[Write]) -> Result<Committed, StoreError> {
        let batch = Batch::new(writes);
        call(self.timeout, async {
            // Immediate: a transaction that starts as a reader cannot always become the writer.
            let mut connection = Lease::of(&self.writer).await?;
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let (epoch, mut state) = load_heads(&mut transaction, &batch).await?;
            let lookups = batch.lookups();
            if !lookups.is_empty() {
                rows::fill_state(look_up(&mut transaction, &lookups).await?, &batch, &mut state)?;
            }
            let now = unix_ms();
            let plan = decide(&batch, &mut state, &self.limits.load(), now);
            if plan.changes_nothing() {
                transaction.rollback().await?;
            } else {
                timed(Statement::WriteMany, write_and_commit(transaction, &plan, now)).await?;
            }
            connection.put_back();
            Ok(Committed { epoch, events: plan.events, answers: plan.answers })
        })
        .await
    }

    async fn drafts(&self, user: &UserId) -> Result<DraftList, StoreError> {
        call(self.timeout, async {
            let mut connection = Lease::of(&self.readers).await?;
            let drafts = sqlx::query_as(DRAFTS).bind(Stream::User(user.clone()).key()).bind(user.as_str());
            let rows: Vec<ListRow> = timed(Statement::Drafts, drafts.fetch_all(&mut *connection)).await?;
            connection.put_back();
            rows::list(rows, user)
        })
        .await
    }

    async fn draft(&self, user: &UserId, id: &DraftId) -> Result<Option<Draft>, StoreError> {
        call(self.timeout, async {
            let mut connection = Lease::of(&self.readers).await?;
            let draft = sqlx::query_as(DRAFT).bind(user.as_str()).bind(id.as_str());
            let row: Option<DraftColumns> =
                timed(Statement::Draft, draft.fetch_optional(&mut *connection)).await?;
            connection.put_back();
            row.map(|row| row.read(user)).transpose()
        })
        .await
    }

    async fn history(&self, read: &Read) -> Result<History, StoreError> {
        rows::history(self.pages(std::slice::from_ref(read)).await?, read)
    }

    async fn claim_retention(&self) -> Result<Option<Box<dyn RetentionStore>>, StoreError> {
        let Ok(leadership) = self.leadership.clone().try_lock_owned() else { return Ok(None) };
        let (writer, readers) = (self.writer.clone(), self.readers.clone());
        let timeout = self.timeout;
        Ok(Some(Box::new(SqliteRetention { writer, readers, timeout, _leadership: leadership })))
    }

    async fn set_limits(&self, limits: Limits) -> Result<(), StoreError> {
        self.limits.store(Arc::new(limits));
        Ok(())
    }

    async fn bytes(&self) -> Result<Option<u64>, StoreError> {
        call(self.timeout, async {
            let mut connection = Lease::of(&self.readers).await?;
            let bytes = sqlx::query_as(BYTES);
            let bytes: Option<(i64,)> =
                timed(Statement::Bytes, bytes.fetch_optional(&mut *connection)).await?;
            connection.put_back();
            Ok(bytes.and_then(|(bytes,)| u64::try_from(bytes).ok()))
        })
        .await
    }

    async fn ping(&self) -> Result<(), StoreError> {
        positions(self, &[]).await.map(|_| ())
    }

    async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

#[async_trait]
impl Log for SqliteStore {
    async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError> {
        Ok(positions(self, streams).await?)
    }

    async fn read(&self, reads: &[Read]) -> Result<Vec<Page>, LogError> {
        Ok(rows::pages(self.pages(reads).await?, reads)?)
    }
}

impl SqliteStore {
    async fn pages(&self, reads: &[Read]) -> Result<Vec<EventRow>, StoreError> {
        let ranges = array(reads.iter().map(|read| {
            let last = read.after.0.saturating_add(u64::from(read.limit));
            json!([read.stream.key(), signed(read.after.0), signed(last)])
        }));
        call(self.timeout, async {
            let mut connection = Lease::of(&self.readers).await?;
            let pages = sqlx::query_as(READ).bind(ranges).bind(signed(READ_BYTES_MAX as u64));
            let rows = timed(Statement::Pages, pages.fetch_all(&mut *connection)).await?;
            connection.put_back();
            Ok(rows)
        })
        .await
    }
}

async fn positions(store: &SqliteStore, streams: &[Stream]) -> Result<Heads, StoreError> {
    let names = array(streams.iter().map(|stream| stream.key().into()));
    call(store.timeout, async {
        let mut connection = Lease::of(&store.readers).await?;
        let heads = sqlx::query_as(HEADS).bind(names);
        let rows: Vec<HeadRow> = timed(Statement::Heads, heads.fetch_all(&mut *connection)).await?;
        connection.put_back();
        rows::heads(rows)
    })
    .await
}

async fn load_heads(
    transaction: &mut SqliteTransaction<'_>,
    batch: &Batch<'_>,
) -> Result<(Epoch, State), StoreError> {
    let epoch: String = sqlx::query_scalar(EPOCH).fetch_one(&mut **transaction).await?;
    let names = array(batch.streams().iter().map(|stream| stream.key().into()));
    let found = sqlx::query(HEADS_OF).bind(names).fetch_all(&mut **transaction).await?;
    let heads = found.iter().map(|row| rows::position(row.try_get("name")?, row.try_get("head")?));
    let heads: HashMap<Stream, Seq> = heads.collect::<Result<_, _>>()?;
    Ok((rows::epoch(&epoch)?, State { heads, ..State::default() }))
}

async fn look_up(
    transaction: &mut SqliteTransaction<'_>,
    lookups: &[Lookup<'_>],
) -> Result<Vec<LookupRow>, StoreError> {
    let lookups = lookups.iter().map(|lookup| {
        let Lookup { index, user, device, id, draft_id, count } = lookup;
        json!([user, device, id, draft_id, count, index])
    });
    let find = sqlx::query_as(LOOK_UP).bind(array(lookups));
    Ok(timed(Statement::Find, find.fetch_all(&mut **transaction)).await?)
}

async fn write_and_commit(
    mut transaction: SqliteTransaction<'_>,
    plan: &Plan,
    now: u64,
) -> Result<(), sqlx::Error> {
    let text = |value| serde_json::to_string(value).expect("an answer consists of strings and numbers");
    let fields = |value| serde_json::to_string(value).expect("a map with keys that are strings");
    let drafts = array(plan.drafts.iter().map(|(user, id, row)| {
        let content = row.content.as_ref().map(|content| content.json());
        let fields = fields(&row.fields);
        json!([user, id, row.version, row.kind, content, fields, row.created_at, row.updated_at])
    }));
    let commands =
        array(plan.commands.iter().map(|NewCommand { key: (user, device, id), remembered, .. }| {
            json!([user, device, id, remembered.fingerprint, text(&remembered.answer)])
        }));
    let events = array(plan.events.iter().map(|event| {
        let (kind, payload) = (event.kind.as_str(), event.payload.get());
        let priority = event.priority.number();
        json!([event.stream.key(), event.seq, kind, event.origin, event.timestamp, priority, payload])
    }));
    let heads = array(plan.heads.iter().map(|(stream, head)| json!([stream.key(), head])));
    sqlx::query(WRITE_DRAFTS).bind(drafts).execute(&mut *transaction).await?;
    sqlx::query(WRITE_COMMANDS).bind(commands).bind(signed(now)).execute(&mut *transaction).await?;
    sqlx::query(WRITE_EVENTS).bind(events).execute(&mut *transaction).await?;
    sqlx::query(WRITE_HEADS).bind(heads).execute(&mut *transaction).await?;
    transaction.commit().await
}
