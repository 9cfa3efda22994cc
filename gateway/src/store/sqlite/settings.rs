//! Settings that were changed at run time, in the file.

use std::sync::Arc;

use async_trait::async_trait;
use common::Stream;
use serde_json::json;
use sqlx::{Connection, Row, SqliteConnection};

use super::{EPOCH, HEADS_OF, SqliteStore, WRITE_EVENTS, WRITE_HEADS, lease::Lease};
use crate::store::{
    StoreError,
    rows::{self, array, signed, unsigned},
    settings::{CHANGES_MAX, ChangeRow, Decide, SettingChange, SettingChanged, SettingsStore, event_of},
    timing::call,
};

const LAST: &str = "
    SELECT version, name, value, otherwise, percent, unit, reason, changed_by, changed_at
    FROM settings_changes s
    WHERE version = (SELECT max(version) FROM settings_changes WHERE name = s.name) ORDER BY version";

const HISTORY: &str = "
    SELECT version, name, value, otherwise, percent, unit, reason, changed_by, changed_at
    FROM settings_changes WHERE version < ?1 AND (?2 IS NULL OR name = ?2) ORDER BY version DESC LIMIT ?3";

const ADD_CHANGE: &str = "
    INSERT INTO settings_changes
        (version, name, value, otherwise, percent, unit, reason, changed_by, changed_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

const FORGET: &str = "
    DELETE FROM settings_changes
    WHERE version <= ?1 AND version < (
        SELECT max(version) FROM settings_changes later WHERE later.name = settings_changes.name
    )";

#[async_trait]
impl SettingsStore for SqliteStore {
    async fn settings(&self) -> Result<Vec<SettingChange>, StoreError> {
        call(self.timeout, async {
            let mut connection = Lease::of(&self.readers).await?;
            let last = last(&mut connection).await?;
            connection.put_back();
            Ok(last)
        })
        .await
    }

    async fn settings_history(
        &self,
        name: Option<&str>,
        before: u64,
        changes_max: u32,
    ) -> Result<Vec<SettingChange>, StoreError> {
        call(self.timeout, async {
            let mut connection = Lease::of(&self.readers).await?;
            let history =
                sqlx::query_as(HISTORY).bind(signed(before)).bind(name).bind(i64::from(changes_max));
            let found: Vec<ChangeRow> = history.fetch_all(&mut *connection).await?;
            connection.put_back();
            found.into_iter().map(ChangeRow::read).collect()
        })
        .await
    }

    async fn change_setting(&self, decide: Decide<'_>) -> Result<Option<SettingChanged>, StoreError> {
        call(self.timeout, async {
            let stream = Stream::Control.key();
            let mut connection = Lease::of(&self.writer).await?;
            let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
            let epoch: String = sqlx::query_scalar(EPOCH).fetch_one(&mut *transaction).await?;
            let epoch = rows::epoch(&epoch)?;
            let names = array(std::iter::once(json!(stream)));
            let head = sqlx::query(HEADS_OF).bind(names).fetch_optional(&mut *transaction).await?;
            let head = head.map(|row| row.try_get("head")).transpose()?;
            let head = unsigned("the head", &stream, head.unwrap_or_default())?;
            let Some(new) = decide(&last(&mut transaction).await?) else {
                transaction.rollback().await?;
                connection.put_back();
                return Ok(None);
            };
            let event = event_of(&new, head + 1);
            let change = new.change;
            let (kind, payload) = (event.kind.as_str(), event.payload.get());
            let (timestamp, priority) = (event.timestamp, event.priority.number());
            let events = json!([[stream, event.seq, kind, event.origin, timestamp, priority, payload]]);
            sqlx::query(WRITE_EVENTS).bind(events.to_string()).execute(&mut *transaction).await?;
            let heads = json!([[stream, event.seq]]);
            sqlx::query(WRITE_HEADS).bind(heads.to_string()).execute(&mut *transaction).await?;
            sqlx::query(ADD_CHANGE)
                .bind(signed(change.version))
                .bind(&change.name)
                .bind(&change.value)
                .bind(&change.otherwise)
                .bind(i64::from(change.percent))
                .bind(&change.by)
                .bind(&change.reason)
                .bind(change.who.as_str())
                .bind(signed(change.at))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(FORGET)
                .bind(signed(change.version.saturating_sub(u64::from(CHANGES_MAX))))
                .execute(&mut *transaction)
                .await?;
            transaction.commit().await?;
            connection.put_back();
            Ok(Some(SettingChanged { change, epoch, event: Arc::new(event) }))
        })
        .await
    }
}

async fn last(connection: &mut SqliteConnection) -> Result<Vec<SettingChange>, StoreError> {
    let found: Vec<ChangeRow> = sqlx::query_as(LAST).fetch_all(connection).await?;
    found.into_iter().map(ChangeRow::read).collect()
}
