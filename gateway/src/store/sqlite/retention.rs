//! Retention in a SQLite file: small transactions of the one connection that writes, between those of
//! commits.

use async_trait::async_trait;
use common::time::unix_ms;
use serde_json::json;
use sqlx::{Connection, Row, SqlitePool};
use tokio::sync::OwnedMutexGuard;

use super::lease::Lease;
use crate::store::{
    Chunk, Deleted, RetentionStore, Rule, StoreError, Trimmed,
    failure::within,
    retention::moves,
    rows::{self, PositionRow, array, signed},
};

const POSITIONS: &str = "
    SELECT s.name, s.head, s.floor, CASE WHEN s.head > s.floor THEN (
        SELECT seq FROM (
            SELECT seq, ts FROM events WHERE stream = s.name AND seq > s.floor ORDER BY seq LIMIT ?5
        ) WHERE ts >= ?4 ORDER BY seq LIMIT 1
    ) END AS fresh
    FROM (
        SELECT name, head, floor FROM streams WHERE name > ?1 AND name < ?2 ORDER BY name LIMIT ?3
    ) s
    ORDER BY s.name";

const NOTE: &str = "
    INSERT INTO trims (stream, deleted, floor)
    SELECT s.name, s.floor, w.value ->> 1
    FROM json_each(?1) w JOIN streams s ON s.name = w.value ->> 0
    WHERE s.floor < w.value ->> 1 AND w.value ->> 1 <= s.head
    ON CONFLICT (stream) DO UPDATE SET floor = max(floor, excluded.floor)";

const MOVE: &str = "
    UPDATE streams SET floor = w.value ->> 1
    FROM json_each(?1) w
    WHERE streams.name = w.value ->> 0 AND floor < w.value ->> 1 AND w.value ->> 1 <= head";

const DUE: &str = "
    SELECT stream, deleted, min(floor, deleted + ?1) AS up_to
    FROM (
        SELECT *, sum(min(floor - deleted, ?1)) OVER (ORDER BY stream) - min(floor - deleted, ?1) AS before
        FROM (SELECT * FROM trims ORDER BY stream LIMIT ?1)
    ) WHERE before < ?1";

const DELETE: &str = "DELETE FROM events WHERE stream = ?1 AND seq > ?2 AND seq <= ?3";

const DONE: &str = "DELETE FROM trims WHERE stream = ?1 AND floor <= ?2";

const PARTLY: &str = "UPDATE trims SET deleted = ?2 WHERE stream = ?1";

const FORGET_COMMANDS: &str = "
    DELETE FROM commands WHERE (user_id, device, id) IN (
        SELECT user_id, device, id FROM commands WHERE ts < ?1 ORDER BY ts LIMIT ?2
    )";

/// The leadership of retention, among the nodes of this process that share the store.
pub(super) struct SqliteRetention {
    pub(super) writer: SqlitePool,
    pub(super) readers: SqlitePool,
    pub(super) timeout: std::time::Duration,
    pub(super) _leadership: OwnedMutexGuard<()>,
}

#[async_trait]
impl RetentionStore for SqliteRetention {
    async fn now(&mut self) -> Result<u64, StoreError> {
        Ok(unix_ms())
    }

    async fn trim(&mut self, rule: &Rule, after: Option<&str>, chunk: Chunk) -> Result<Trimmed, StoreError> {
        let (start, end) = rule.kind.range();
        within(self.timeout, async {
            let mut reader = Lease::of(&self.readers).await?;
            let found: Vec<PositionRow> = sqlx::query_as(POSITIONS)
                .bind(after.unwrap_or(start))
                .bind(end)
                .bind(chunk.streams_max)
                .bind(rule.before.map_or(i64::MIN, signed))
                .bind(chunk.events_max)
                .fetch_all(&mut *reader)
                .await?;
            reader.put_back();
            let moves = moves(rows::positions(found)?, rule, after, chunk);
            if moves.floors.is_empty() {
                return Ok(moves.done(0));
            }
            let floors = array(moves.floors.iter().map(|(name, floor)| json!([name, floor])));
            let mut writer = Lease::of(&self.writer).await?;
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            sqlx::query(NOTE).bind(&floors).execute(&mut *transaction).await?;
            let moved = sqlx::query(MOVE).bind(&floors).execute(&mut *transaction).await?.rows_affected();
            transaction.commit().await?;
            writer.put_back();
            Ok(moves.done(usize::try_from(moved).unwrap_or(usize::MAX)))
        })
        .await
    }

    async fn delete(&mut self, events_max: u32) -> Result<Deleted, StoreError> {
        within(self.timeout, async {
            let mut deleted = Deleted::default();
            let mut writer = Lease::of(&self.writer).await?;
            let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
            let due = sqlx::query(DUE).bind(events_max).fetch_all(&mut *transaction).await?;
            for row in due {
                let stream: String = row.try_get("stream")?;
                let (after, up_to): (i64, i64) = (row.try_get("deleted")?, row.try_get("up_to")?);
                let gone = sqlx::query(DELETE).bind(&stream).bind(after).bind(up_to);
                let gone = gone.execute(&mut *transaction).await?.rows_affected();
                let done = sqlx::query(DONE).bind(&stream).bind(up_to).execute(&mut *transaction).await?;
                if done.rows_affected() == 0 {
                    sqlx::query(PARTLY).bind(&stream).bind(up_to).execute(&mut *transaction).await?;
                }
                deleted.streams += 1;
                match stream.split(':').next() {
                    Some("all") => deleted.all += gone,
                    Some("control") => deleted.control += gone,
                    Some("topic") => deleted.topic += gone,
                    _ => deleted.user += gone,
                }
            }
            transaction.commit().await?;
            writer.put_back();
            Ok(deleted)
        })
        .await
    }

    async fn forget_commands(&mut self, before: u64, limit: u32) -> Result<u64, StoreError> {
        within(self.timeout, async {
            let mut writer = Lease::of(&self.writer).await?;
            let deleted = sqlx::query(FORGET_COMMANDS)
                .bind(signed(before))
                .bind(i64::from(limit))
                .execute(&mut *writer)
                .await?;
            writer.put_back();
            Ok(deleted.rows_affected())
        })
        .await
    }

    async fn confirm(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}
