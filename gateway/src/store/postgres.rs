//! The store in Postgres: what a cluster shares.
//!
//! A commit is one of three, by what a batch depends on, whatever its size. Appends that depend on nothing are
//! one statement (`append`). Changes of drafts are read and, if nobody else has changed their streams since,
//! written: two statements (`optimistic`). All else, and whoever was overtaken, takes five round trips:
//! begin, lock the streams, read, write, commit. There the streams are locked first although only their last
//! line needs it, because a merge reads what it changes: nobody but other writers of the same streams waits for
//! it.
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

mod append;
mod optimistic;
mod pool;
mod upkeep;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use common::{DraftId, Epoch, Seq, Stream, UserId, protocol::Draft, time::unix_ms};
use fanout::log::{Heads, Log, LogError, Page, READ_BYTES_MAX, Read};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, PgTransaction, Row,
    migrate::{Migrate, MigrateError},
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::time::sleep;
use tracing::warn;

use self::{pool::Pool, upkeep::PostgresUpkeep};
use super::{
    Committed, DraftList, History, Limits, Store, StoreError, Upkeep, Write,
    failure::within,
    plan::{Batch, Lookup, Plan, State, decide},
    rows::{self, DraftColumns, EventRow, HeadRow, ListRow, LookupRow, signed},
};

/// How to reach Postgres, and what it may hold.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`. It holds a secret.
    pub url: String,
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
    migrator_options: PgConnectOptions,
    upkeep_options: PgConnectOptions,
    timeout: Duration,
    limits: Limits,
}

const LOCK: &str = concat!(
    "SELECT name, head, ",
    epoch_sql!(),
    " AS epoch FROM streams WHERE name = ANY($1) ORDER BY name FOR UPDATE"
);

const CREATE_STREAMS: &str = "
    INSERT INTO streams (name)
    SELECT name FROM unnest($1::text[]) AS new (name) ORDER BY name COLLATE \"C\"
    ON CONFLICT DO NOTHING";

/// What writes depend on, with where the streams of their users stand at the same moment.
const FIND: &str = concat!(
    "WITH epoch AS MATERIALIZED (SELECT ",
    epoch_sql!(),
    " AS epoch)
    SELECT epoch.epoch, s.head, w.ord, c.fingerprint, c.answer::text, d.version, d.kind, d.content::text,
        d.fields::text, d.created_at, d.updated_at,
        CASE WHEN w.counts THEN (
            SELECT count(*) FROM drafts WHERE user_id = w.user_id AND content IS NOT NULL
        ) END AS live
    FROM epoch
    CROSS JOIN unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bool[], $6::bigint[])
        AS w (user_id, device, id, draft_id, counts, ord)
    LEFT JOIN streams s ON s.name = 'user:' || w.user_id
    LEFT JOIN commands c ON c.user_id = w.user_id AND c.device = w.device AND c.id = w.id
    LEFT JOIN drafts d ON d.user_id = w.user_id AND d.draft_id = w.draft_id"
);

/// Writes if the streams still stand where the decision was made, in the same history. Of the epoch only the
/// timeline can change between two statements; the rest is the server's.
const WRITE: &str = "
    WITH locked AS MATERIALIZED (
        SELECT name, head FROM streams WHERE name = ANY($22) ORDER BY name FOR UPDATE
    ), unchanged AS MATERIALIZED (
        SELECT true
        WHERE (SELECT coalesce(array_agg(head ORDER BY name), '{}') FROM locked) = $23::bigint[]
            AND ltrim(left(pg_walfile_name(pg_current_wal_lsn()), 8), '0') = split_part($25, '-', 2)
    ), written_drafts AS (
        INSERT INTO drafts (user_id, draft_id, version, kind, content, fields, created_at, updated_at)
        SELECT user_id, draft_id, version, kind, content::json, fields::json, created_at, updated_at
        FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::text[],
                $7::bigint[], $8::bigint[])
            AS w (user_id, draft_id, version, kind, content, fields, created_at, updated_at), unchanged
        ON CONFLICT (user_id, draft_id) DO UPDATE SET version = excluded.version,
            content = excluded.content, fields = excluded.fields, updated_at = excluded.updated_at
    ), written_commands AS (
        INSERT INTO commands (user_id, device, id, fingerprint, answer, ts)
        SELECT user_id, device, id, fingerprint, answer::json, $9
        FROM unnest($10::text[], $11::text[], $12::text[], $13::bigint[], $14::text[])
            AS w (user_id, device, id, fingerprint, answer), unchanged
    ), written_events AS (
        INSERT INTO events (stream, seq, kind, origin, ts, priority, payload)
        SELECT stream, seq, kind, origin, ts, priority, payload::json
        FROM unnest($15::text[], $16::bigint[], $17::text[], $18::text[], $19::bigint[],
                $20::smallint[], $21::text[])
            AS w (stream, seq, kind, origin, ts, priority, payload), unchanged
    ), moved AS (
        UPDATE streams SET head = w.head
        FROM unnest($22::text[], $24::bigint[]) AS w (name, head), unchanged
        WHERE streams.name = w.name
    )
    SELECT count(*) FROM unchanged";

const HEADS: &str = concat!(
    "WITH epoch AS MATERIALIZED (SELECT ",
    epoch_sql!(),
    " AS epoch)
    SELECT epoch.epoch,
        CASE WHEN w.ord IS NOT NULL THEN coalesce(s.head, 0) END AS head,
        CASE WHEN w.ord IS NOT NULL THEN coalesce(s.floor, 0) END AS floor
    FROM epoch
    LEFT JOIN unnest($1::text[]) WITH ORDINALITY AS w (name, ord) ON true
    LEFT JOIN streams s ON s.name = w.name
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
    LEFT JOIN streams s ON s.name = w.stream
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT *, sum(octet_length(payload::text)) OVER before AS bytes
            FROM (
                SELECT *, sum(pg_column_size(payload)) OVER before AS stored
                FROM (
                    SELECT * FROM events WHERE stream = w.stream AND seq > greatest(w.after, s.floor)
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
    LEFT JOIN streams s ON s.name = $1
    LEFT JOIN drafts d ON d.user_id = $2 AND d.content IS NOT NULL
    ORDER BY d.draft_id"
);

const DRAFT: &str = "
    SELECT draft_id, version, kind, content::text, updated_at
    FROM drafts WHERE user_id = $1 AND draft_id = $2 AND content IS NOT NULL
        AND (SELECT pg_current_wal_lsn()) IS NOT NULL -- fails on a standby, which lags";

impl PostgresStore {
    /// Prepares to connect.
    ///
    /// # Errors
    /// [`StoreError::Rejected`] when the URL is malformed. Whether anybody answers there shows later.
    pub fn new(options: &PostgresOptions) -> Result<Self, StoreError> {
        let base: PgConnectOptions = options.url.parse()?;
        let base = base.application_name("draftwire").disable_statement_logging();
        // The server ends what this node has given up, or can no longer end because it was stopped in
        // the middle: no lock outlives its call by much.
        let limit = format!("{}ms", options.timeout.as_millis().max(1));
        let limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"];
        // Stated, because a database may have another default. Stricter levels fail where this one waits.
        let isolation = [("default_transaction_isolation", "read committed")];
        // Every statement looks up a handful of keys. That must not depend on statistics: on a table
        // that was small when the plan was made, the planner prefers to read all of it.
        let plans = ["enable_seqscan", "enable_hashjoin", "enable_mergejoin", "jit"];
        let planned = base.clone().options(plans.map(|name| (name, "off")));
        // One plan fits all values, and planning a commit's statements anew each time was more than a third of
        // their work.
        let planned = planned.options([("plan_cache_mode", "force_generic_plan")]);
        let calls = planned.clone().options(limits.map(|name| (name, limit.as_str()))).options(isolation);
        Ok(Self {
            pool: Pool::new(calls, options.connections_max.max(1)),
            migrator_options: base,
            upkeep_options: planned,
            timeout: options.timeout,
            limits: options.limits,
        })
    }

    /// Brings the schema up to date. Nodes that start together take turns; a schema that a newer node
    /// has brought further is left as it is. It takes as long as the migrations do, and waits for tables
    /// that are in use for up to a minute.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached or its tables stay in use,
    /// [`StoreError::Rejected`] when a migration fails, or was changed after it was applied.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        let wait_max = format!("{}ms", TABLE_WAIT_MAX.min(self.timeout / 2).as_millis().max(1));
        let options = self.migrator_options.clone().options([("lock_timeout", wait_max)]);
        // A connection of its own: no statement of it has a time limit, and closing it is what gives the
        // lock of a failed migration back.
        let own = PgPoolOptions::new().max_connections(1).acquire_timeout(self.timeout);
        let own = own.connect_lazy_with(options);
        let migrated = migrate(&own).await;
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

/// Runs the migrations. The lock under which nodes take turns is kept until the connection ends, also
/// while a table is waited for: those who wait for their turn try nothing themselves.
async fn migrate(own: &PgPool) -> Result<(), StoreError> {
    let mut connection = own.acquire().await?;
    // Waiting for one's turn disturbs nobody, and takes as long as the migrations of the others.
    sqlx::query("SET lock_timeout = 0").execute(&mut *connection).await?;
    connection.lock().await?;
    sqlx::query("RESET lock_timeout").execute(&mut *connection).await?;
    drop(connection);
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.set_ignore_missing(true);
    let deadline = Instant::now() + TABLE_PATIENCE;
    loop {
        match migrator.run(own).await {
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

#[async_trait]
impl Store for PostgresStore {
    async fn commit(&self, writes: &[Write]) -> Result<Committed, StoreError> {
        let batch = Batch::new(writes);
        if writes.is_empty() {
            let epoch = positions(self, &[]).await?.epoch;
            return Ok(Committed { epoch, events: Vec::new(), answers: Vec::new() });
        }
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let mut alone = batch.changes_drafts_only();
            for _ in 0..ATTEMPTS_MAX {
                let attempt = if alone {
                    optimistic::commit(&mut connection, &batch, &self.limits).await?
                } else {
                    commit(&mut connection, &batch, &self.limits).await?
                };
                match attempt {
                    Attempt::Committed(committed) => {
                        connection.put_back();
                        return Ok(committed);
                    }
                    Attempt::NewStreams => create_streams(&mut connection, &batch).await?,
                    // Whoever used the key has committed: the next attempt sees it.
                    Attempt::KeyTaken => {}
                    Attempt::Overtaken => alone = false,
                }
            }
            connection.put_back();
            Err(StoreError::Rejected("keys of commands keep being taken by others".to_owned()))
        })
        .await
    }

    async fn drafts(&self, user: &UserId) -> Result<DraftList, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let rows: Vec<ListRow> = sqlx::query_as(DRAFTS)
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
            let row: Option<DraftColumns> = sqlx::query_as(DRAFT)
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
        PostgresUpkeep::claim(&self.upkeep_options).await
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
    async fn pages(&self, reads: &[Read]) -> Result<Vec<EventRow>, StoreError> {
        let streams: Vec<String> = reads.iter().map(|read| read.stream.key()).collect();
        let after: Vec<i64> = reads.iter().map(|read| signed(read.after.0)).collect();
        let events_max: Vec<i64> = reads.iter().map(|read| i64::from(read.limit)).collect();
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let rows = sqlx::query_as(READ)
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
        let rows: Vec<HeadRow> = sqlx::query_as(HEADS).bind(names).fetch_all(&mut *connection).await?;
        connection.put_back();
        rows::heads(rows)
    })
    .await
}

/// Attempts at one commit. Each that fails makes one obstacle known: streams without a row, another node that
/// writes to them, or a key that another batch was using at the same moment. Where more are in the way, the
/// writes go one by one, and each meets at most one of each.
const ATTEMPTS_MAX: usize = 5;

/// What came of an attempt to commit; only the first has done anything.
enum Attempt {
    Committed(Committed),
    /// A stream has no row yet.
    NewStreams,
    /// A batch for other streams has remembered a command under the key of one of ours.
    KeyTaken,
    /// The streams have moved since they were looked at.
    Overtaken,
}

/// Decides and commits in one transaction.
async fn commit(
    connection: &mut PgConnection,
    batch: &Batch<'_>,
    limits: &Limits,
) -> Result<Attempt, StoreError> {
    let lookups = batch.lookups();
    if lookups.is_empty()
        && let Some(attempt) = append::append(connection, batch, limits).await?
    {
        return Ok(attempt);
    }
    let mut transaction = connection.begin().await?;
    let Some((epoch, heads)) = lock(&mut transaction, batch).await? else {
        transaction.rollback().await?;
        return Ok(Attempt::NewStreams);
    };
    let mut state = State { heads, ..State::default() };
    if !lookups.is_empty() {
        // A statement of its own: its snapshot is younger than the locks, so it sees what the last
        // holder of each committed.
        let found = find(&mut transaction, &lookups).await?;
        rows::file(found.into_iter().map(|found| found.lookup), batch, &mut state)?;
    }
    let before = state.heads.clone();
    let now = unix_ms();
    let plan = decide(batch, state, limits, now);
    if plan.changes_nothing() {
        transaction.rollback().await?;
    } else if let Some(obstacle) = write(&mut transaction, &plan, &before, &epoch, now).await? {
        transaction.rollback().await?;
        return Ok(obstacle);
    } else {
        transaction.commit().await?;
    }
    Ok(Attempt::Committed(Committed { epoch, events: plan.events, answers: plan.answers }))
}

async fn lock(
    transaction: &mut PgTransaction<'_>,
    batch: &Batch<'_>,
) -> Result<Option<(Epoch, HashMap<Stream, Seq>)>, StoreError> {
    let names: Vec<String> = batch.streams().iter().map(Stream::key).collect();
    let rows = sqlx::query(LOCK).bind(names).fetch_all(&mut **transaction).await?;
    if rows.len() < batch.streams().len() {
        return Ok(None);
    }
    let Some(first) = rows.first() else { return Ok(None) };
    let epoch = rows::epoch(first.try_get("epoch")?)?;
    let heads = rows.iter().map(|row| rows::position(row.try_get("name")?, row.try_get("head")?));
    Ok(Some((epoch, heads.collect::<Result<_, _>>()?)))
}

/// Makes the rows of streams that had no event yet, in a transaction of its own: made inside the
/// commit, a row would be locked out of order, after streams that sort behind it.
async fn create_streams(connection: &mut PgConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    let names: Vec<String> = batch.streams().iter().map(Stream::key).collect();
    sqlx::query(CREATE_STREAMS).bind(names).execute(connection).await?;
    Ok(())
}

/// A lookup's row, and where the stream of its user stood then; no head where that has no row yet.
#[derive(sqlx::FromRow)]
struct Found {
    #[sqlx(flatten)]
    lookup: LookupRow,
    epoch: String,
    head: Option<i64>,
}

async fn find(connection: &mut PgConnection, lookups: &[Lookup<'_>]) -> Result<Vec<Found>, StoreError> {
    let rows = sqlx::query_as(FIND)
        .bind(column(lookups, |lookup| lookup.user.as_str()))
        .bind(column(lookups, |lookup| lookup.device.as_str()))
        .bind(column(lookups, |lookup| lookup.id.map(|id| id.as_str())))
        .bind(column(lookups, |lookup| lookup.draft_id.map(|id| id.as_str())))
        .bind(column(lookups, |lookup| lookup.count))
        .bind(column(lookups, |lookup| signed(lookup.index as u64)))
        .fetch_all(connection)
        .await?;
    Ok(rows)
}

/// Writes what was decided when the streams stood at `before`; or answers what is in the way, and has done
/// nothing. A key that is taken also ends the transaction, if there is one.
async fn write(
    connection: &mut PgConnection,
    plan: &Plan,
    before: &HashMap<Stream, Seq>,
    epoch: &Epoch,
    now: u64,
) -> Result<Option<Attempt>, StoreError> {
    let Plan { drafts, commands, events, heads, .. } = plan;
    // In the order in which the database compares their names.
    let mut heads: Vec<_> = heads.iter().map(|(stream, head)| (stream.key(), stream, head)).collect();
    heads.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    let heads = heads.as_slice();
    let stood = |stream| signed(before.get(stream).copied().unwrap_or_default().0);
    let json = |value| serde_json::to_string(value).expect("an answer consists of strings and numbers");
    let fields = |value| serde_json::to_string(value).expect("a map with keys that are strings");
    let written = sqlx::query_scalar::<_, i64>(WRITE)
        .bind(column(drafts, |(user, ..)| user.as_str()))
        .bind(column(drafts, |(_, id, _)| id.as_str()))
        .bind(column(drafts, |(.., row)| signed(row.version.0)))
        .bind(column(drafts, |(.., row)| row.kind.as_str()))
        .bind(column(drafts, |(.., row)| row.content.as_ref().map(|content| content.json())))
        .bind(column(drafts, |(.., row)| fields(&row.fields)))
        .bind(column(drafts, |(.., row)| signed(row.created_at)))
        .bind(column(drafts, |(.., row)| signed(row.updated_at)))
        .bind(signed(now))
        .bind(column(commands, |(user, ..)| user.as_str()))
        .bind(column(commands, |(_, device, ..)| device.as_str()))
        .bind(column(commands, |(_, _, id, _)| id.as_str()))
        .bind(column(commands, |(.., remembered)| remembered.fingerprint))
        .bind(column(commands, |(.., remembered)| json(&remembered.answer)))
        .bind(column(events, |event| event.stream.key()))
        .bind(column(events, |event| signed(event.seq.0)))
        .bind(column(events, |event| event.kind.as_str()))
        .bind(column(events, |event| event.origin.as_str()))
        .bind(column(events, |event| signed(event.timestamp)))
        .bind(column(events, |event| i16::from(event.priority.number())))
        .bind(column(events, |event| event.payload.get()))
        .bind(column(heads, |(key, ..)| key.as_str()))
        .bind(column(heads, |(_, stream, _)| stood(*stream)))
        .bind(column(heads, |(.., head)| signed(head.0)))
        .bind(epoch.to_string())
        .fetch_one(connection)
        .await;
    match written {
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("commands_pkey") => {
            Ok(Some(Attempt::KeyTaken))
        }
        other => Ok((other? == 0).then_some(Attempt::Overtaken)),
    }
}

/// One column of a set of rows, as `unnest` takes it.
fn column<'a, R, T>(rows: &'a [R], value: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}
