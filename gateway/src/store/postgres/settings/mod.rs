//! Settings that were changed at run time, in Postgres.
//!
//! The row of the stream `control` is locked first: it puts the changes of all nodes in one order.

pub(super) mod statements;

use std::sync::Arc;

use async_trait::async_trait;
use common::Stream;
use sqlx::{Connection, PgConnection, Row};

use self::statements::Statements;
use super::PostgresStore;
use crate::store::{
    StoreError,
    rows::{self, signed, unsigned},
    settings::{CHANGES_MAX, ChangeRow, Decide, SettingChange, SettingChanged, SettingsStore, event_of},
    timing::call,
};

#[async_trait]
impl SettingsStore for PostgresStore {
    async fn settings(&self) -> Result<Vec<SettingChange>, StoreError> {
        call(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let last = last(&mut connection, &self.sql().settings).await?;
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
            let mut connection = self.pool.get().await?;
            let history = sqlx::query_as(self.sql().settings.history.clone())
                .bind(signed(before))
                .bind(name)
                .bind(i64::from(changes_max));
            let found: Vec<ChangeRow> = history.fetch_all(&mut *connection).await?;
            connection.put_back();
            found.into_iter().map(ChangeRow::read).collect()
        })
        .await
    }

    async fn change_setting(&self, decide: Decide<'_>) -> Result<Option<SettingChanged>, StoreError> {
        call(self.timeout, async {
            let statements = self.sql();
            let sql = &statements.settings;
            let stream = Stream::Control.key();
            let mut connection = self.pool.get().await?;
            // A transaction of its own: a row that was made in this one could be waited for by nobody.
            sqlx::query(sql.create_stream.clone()).bind(&stream).execute(&mut *connection).await?;
            let mut transaction = connection.begin().await?;
            let row = sqlx::query(sql.lock.clone()).bind(&stream).fetch_one(&mut *transaction).await?;
            let epoch = rows::epoch(row.try_get("epoch")?)?;
            let head = unsigned("the head", &stream, row.try_get("head")?)?;
            let Some(new) = decide(&last(&mut transaction, sql).await?) else {
                transaction.rollback().await?;
                connection.put_back();
                return Ok(None);
            };
            let event = event_of(&new, head + 1);
            let change = new.change;
            sqlx::query(sql.move_head.clone())
                .bind(&stream)
                .bind(signed(event.seq.0))
                .execute(&mut *transaction)
                .await?;
            sqlx::query(sql.add_event.clone())
                .bind(&stream)
                .bind(signed(event.seq.0))
                .bind(event.kind.as_str())
                .bind(event.origin.as_str())
                .bind(signed(event.timestamp))
                .bind(i16::from(event.priority.number()))
                .bind(event.payload.get())
                .execute(&mut *transaction)
                .await?;
            sqlx::query(sql.add_change.clone())
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
            sqlx::query(sql.forget.clone())
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

async fn last(connection: &mut PgConnection, sql: &Statements) -> Result<Vec<SettingChange>, StoreError> {
    let found: Vec<ChangeRow> = sqlx::query_as(sql.last.clone()).fetch_all(connection).await?;
    found.into_iter().map(ChangeRow::read).collect()
}
