//! Notices in Postgres: rows that the functions of docs/sql.md leave in the transactions that call them.
//!
//! Transactions commit in another order than they begin, so no number that a row is given can be a position: one
//! that is smaller may become visible later. The position of a reader is a snapshot instead. What has become
//! visible since belongs to transactions that the snapshot calls running (`xip`) or yet to begin (from `xmax` on),
//! and both are found by the index. Each row is read once by each node, the moment that it is committed, however
//! long its transaction took; nobody waits for anybody, and nobody holds a position for others.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use sqlx::{PgConnection, Row, SqlStr};

use super::{history::Template, schema::SchemaName, session::Sessions};
use crate::{
    operations::Statement,
    store::{
        NOTICES_MAX, NoticeReader, Noticed, StoreError, rows,
        timing::{call, timed},
    },
};

/// How long a notice stays at least once it can be read. A node that has not read for longer may miss some.
const KEPT: Duration = Duration::from_secs(10);

/// Rows that one call removes. There may be more at the next one, an interval later.
const REMOVED_MAX: i64 = 10_000;

/// The epoch costs a look at the server's control file, and is asked for only where there is a notice.
const NEXT: &str = "WITH now AS MATERIALIZED (
        SELECT txid_current_snapshot() AS snapshot
    ), unread AS MATERIALIZED (
        SELECT stream, max(seq) AS seq, count(*) AS notices FROM (
            (SELECT stream, seq FROM {schema}.notices WHERE tx >= $1 ORDER BY tx LIMIT $3)
            UNION ALL
            (SELECT stream, seq FROM {schema}.notices WHERE tx = ANY($2) LIMIT $3)
        ) committed_since
        GROUP BY stream
    )
    SELECT txid_snapshot_xmax(now.snapshot) AS xmax, ARRAY(SELECT txid_snapshot_xip(now.snapshot)) AS xip,
        unread.stream, unread.seq, unread.notices, CASE WHEN unread.stream IS NOT NULL THEN {epoch} END AS epoch
    FROM now LEFT JOIN unread ON true";

/// Removes what everybody could read in an old snapshot, and what is not of this server's transactions, as after
/// a dump was restored.
const REMOVE: &str = "
    DELETE FROM {schema}.notices WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {schema}.notices
        WHERE (tx < $1 AND tx <> ALL ($2)) OR tx >= txid_snapshot_xmax(txid_current_snapshot())
        LIMIT $3 FOR UPDATE SKIP LOCKED
    ))";

/// The statements over the tables of one schema.
#[derive(Clone)]
pub(super) struct Statements {
    next: SqlStr,
    remove: SqlStr,
}

impl Statements {
    pub(super) fn new(schema: &SchemaName, template: &Template<'_>) -> Self {
        Self { next: template.sql(NEXT), remove: schema.sql(REMOVE) }
    }
}

/// Sessions for readers, whose statements end in time. What a crash takes back of their removals is removed again.
pub(super) fn sessions(planned: &Sessions, timeout: Duration) -> Sessions {
    let limit = format!("{}ms", timeout.as_millis().max(1));
    let limits = ["statement_timeout", "lock_timeout"];
    planned
        .with(limits.map(|name| (name, limit.clone())))
        .with([("default_transaction_isolation", "read committed".to_owned())])
        .with([("synchronous_commit", "off".to_owned())])
}

/// The position of a reader: transactions that were running, and the first one that had not begun.
#[derive(Debug, Clone)]
struct Snapshot {
    xmax: i64,
    xip: Vec<i64>,
    /// Not later than it was taken.
    taken: Instant,
}

/// A reader with a session of its own, so that it waits for no commit. The position ends with the session: on
/// another server it would mean nothing.
pub(super) struct PostgresNotices {
    session: PgConnection,
    sql: Statements,
    timeout: Duration,
    position: Option<Snapshot>,
    /// What the next removal goes by, once it is old enough.
    remove_by: Option<Snapshot>,
}

impl PostgresNotices {
    pub(super) async fn open(
        sessions: &Sessions,
        sql: &Statements,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        let cannot = |error| StoreError::Unavailable(format!("cannot connect: {error}"));
        let session = call(timeout, async { sessions.open().await.map_err(cannot) }).await?;
        Ok(Self { session, sql: sql.clone(), timeout, position: None, remove_by: None })
    }

    async fn read(&mut self) -> Result<Noticed, StoreError> {
        let taken = Instant::now();
        let position = self.position.as_ref();
        let next = sqlx::query(self.sql.next.clone())
            .bind(position.map(|position| position.xmax))
            .bind(position.map(|position| position.xip.clone()))
            .bind(i64::from(NOTICES_MAX));
        let found = timed(Statement::Notices, next.fetch_all(&mut self.session)).await?;
        let mut noticed = Noticed {
            complete: position.is_some_and(|position| position.taken.elapsed() < KEPT),
            ..Noticed::default()
        };
        let mut notices = 0;
        for row in &found {
            let Some(stream) = row.try_get("stream")? else { continue };
            noticed.streams.push(rows::position(stream, row.try_get("seq")?)?);
            notices += row.try_get::<i64, _>("notices")?;
            if noticed.epoch.is_none() {
                noticed.epoch = Some(rows::epoch(row.try_get("epoch")?)?);
            }
        }
        noticed.complete &= notices < i64::from(NOTICES_MAX);
        if let Some(row) = found.first() {
            self.position = Some(Snapshot { xmax: row.try_get("xmax")?, xip: row.try_get("xip")?, taken });
        }
        Ok(noticed)
    }

    async fn remove_old(&mut self) -> Result<(), StoreError> {
        let Some(by) = &self.remove_by else {
            self.remove_by.clone_from(&self.position);
            return Ok(());
        };
        if by.taken.elapsed() < KEPT {
            return Ok(());
        }
        let removed = sqlx::query(self.sql.remove.clone())
            .bind(by.xmax)
            .bind(&by.xip)
            .bind(REMOVED_MAX)
            .execute(&mut self.session)
            .await?;
        if removed.rows_affected() < REMOVED_MAX.unsigned_abs() {
            self.remove_by.clone_from(&self.position);
        }
        Ok(())
    }
}

#[async_trait]
impl NoticeReader for PostgresNotices {
    async fn next(&mut self) -> Result<Noticed, StoreError> {
        call(self.timeout, async {
            let noticed = self.read().await?;
            self.remove_old().await?;
            Ok(noticed)
        })
        .await
    }
}
