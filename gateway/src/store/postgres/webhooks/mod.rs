//! Webhooks in Postgres.
//!
//! Short calls take a connection of the pool. What places cursors on many streams has a session of its own, with a
//! longer time limit, and is still one transaction: a webhook never exists without its cursors.

mod occupancy;
mod operators;
mod rows;
pub(super) mod statements;

use std::{collections::HashMap, time::Duration};

use async_trait::async_trait;
use common::{DraftId, UserId, ids::DraftKind};
use sqlx::{Row, postgres::PgRow};
use tracing::warn;

use super::PostgresStore;
use crate::store::{
    StoreError,
    failure::within,
    occupancy::Occupancy,
    rows::{column, corrupt, signed},
    webhooks::{
        Batch, Changed, Changes, Delivered, Failed, Held, Holder, LOOK_STREAMS_MAX, Lag, Look, NameRange,
        NewWebhook, Place, Replay, Replayed, Webhook, WebhookStore,
    },
};

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A webhook that was claimed. One whose row means nothing waits for the end of its lease, and is tried again then.
fn readable(row: &PgRow) -> Option<Webhook> {
    let found = rows::webhook(row);
    found.inspect_err(|error| warn!(%error, "a webhook cannot be read, and is not delivered for")).ok()
}

#[async_trait]
impl WebhookStore for PostgresStore {
    async fn create(
        &self,
        new: &NewWebhook,
        ranges: &[NameRange],
        at: Place,
    ) -> Result<Option<Webhook>, StoreError> {
        within(statements::LONG, operators::create(self, new, ranges, at)).await
    }

    async fn list(&self) -> Result<Vec<Webhook>, StoreError> {
        within(self.timeout, operators::list(self, None)).await
    }

    async fn get(&self, id: &str) -> Result<Option<Webhook>, StoreError> {
        Ok(within(self.timeout, operators::list(self, Some(id))).await?.pop())
    }

    async fn change(&self, id: &str, version: u64, changes: &Changes) -> Result<Changed, StoreError> {
        within(statements::LONG, operators::change(self, id, version, changes)).await
    }

    async fn remove(&self, id: &str, version: Option<u64>) -> Result<Changed<()>, StoreError> {
        within(statements::LONG, operators::remove(self, id, version)).await
    }

    async fn replay(&self, id: &str, replay: &Replay) -> Result<Replayed, StoreError> {
        within(statements::LONG, operators::replay(self, id, replay)).await
    }

    async fn lag(&self, id: &str, ranges: &[NameRange]) -> Result<Lag, StoreError> {
        within(self.timeout, operators::lag(self, id, ranges)).await
    }

    async fn claim(
        &self,
        holder: &Holder,
        lease: Duration,
        webhooks_max: u32,
    ) -> Result<Vec<Webhook>, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let found = sqlx::query(self.sql().webhooks.claim.clone())
                .bind(&holder.token)
                .bind(&holder.node)
                .bind(ms(lease))
                .bind(i64::from(webhooks_max))
                .fetch_all(&mut *connection)
                .await?;
            connection.put_back();
            Ok(found.iter().filter_map(readable).collect())
        })
        .await
    }

    async fn renew(&self, id: &str, holder: &Holder, lease: Duration) -> Result<Option<Webhook>, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let found = sqlx::query(self.sql().webhooks.renew.clone())
                .bind(id)
                .bind(&holder.token)
                .bind(ms(lease))
                .fetch_optional(&mut *connection)
                .await?;
            let held = found.as_ref().map(rows::webhook).transpose()?;
            connection.put_back();
            Ok(held)
        })
        .await
    }

    async fn release(&self, id: &str, holder: &Holder) -> Result<(), StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            sqlx::query(self.sql().webhooks.release.clone())
                .bind(id)
                .bind(&holder.token)
                .execute(&mut *connection)
                .await?;
            connection.put_back();
            Ok(())
        })
        .await
    }

    async fn look(&self, id: &str, range: &NameRange) -> Result<Look, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let found = sqlx::query(self.sql().webhooks.look.clone())
                .bind(id)
                .bind(&range.start)
                .bind(&range.end)
                .bind(i64::from(LOOK_STREAMS_MAX))
                .fetch_all(&mut *connection)
                .await?;
            let look = rows::look(&found, LOOK_STREAMS_MAX)?;
            connection.put_back();
            Ok(look)
        })
        .await
    }

    async fn begin(&self, held: &Held<'_>, batch: &Batch, noted: &[Occupancy]) -> Result<bool, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let begun = sqlx::query(self.sql().webhooks.begin.clone())
                .bind(held.id)
                .bind(&held.holder.token)
                .bind(signed(held.generation))
                .bind(operators::text_of(batch)?)
                .bind(operators::noted(&batch.epoch, noted)?)
                .execute(&mut *connection)
                .await?;
            connection.put_back();
            Ok(begun.rows_affected() > 0)
        })
        .await
    }

    async fn delivered(&self, held: &Held<'_>, done: &Delivered<'_>) -> Result<bool, StoreError> {
        let batch = done.batch;
        let streams: Vec<&str> = batch.streams.iter().map(|part| part.stream.as_str()).collect();
        let seqs: Vec<i64> = batch.streams.iter().map(|part| signed(part.seq.0)).collect();
        let (told, left) = done.noted.split_at(batch.changes.min(done.noted.len()));
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let moved: i64 = sqlx::query_scalar(self.sql().webhooks.delivered.clone())
                .bind(held.id)
                .bind(&held.holder.token)
                .bind(signed(held.generation))
                .bind(done.sent)
                .bind(batch.epoch.as_str())
                .bind(streams)
                .bind(seqs)
                .bind(column(told, |change| change.topic.as_str()))
                .bind(column(told, |change| change.occupied))
                .bind(operators::noted(&batch.epoch, left)?)
                .bind(signed(done.number))
                .fetch_one(&mut *connection)
                .await?;
            connection.put_back();
            Ok(moved > 0)
        })
        .await
    }

    async fn failed(&self, held: &Held<'_>, failure: &Failed) -> Result<bool, StoreError> {
        let (give_up_after, attempts_min) = failure.give_up_after;
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let noted = sqlx::query(self.sql().webhooks.failed.clone())
                .bind(held.id)
                .bind(&held.holder.token)
                .bind(signed(held.generation))
                .bind(&failure.error)
                .bind(ms(failure.retry_after))
                .bind(failure.gone)
                .bind(ms(give_up_after))
                .bind(i64::from(attempts_min))
                .bind(failure.smaller.map(signed))
                .execute(&mut *connection)
                .await?;
            connection.put_back();
            Ok(noted.rows_affected() > 0)
        })
        .await
    }

    async fn draft_kinds(
        &self,
        drafts: &[(UserId, DraftId)],
    ) -> Result<HashMap<(UserId, DraftId), DraftKind>, StoreError> {
        let users: Vec<&str> = drafts.iter().map(|(user, _)| user.as_str()).collect();
        let ids: Vec<&str> = drafts.iter().map(|(_, id)| id.as_str()).collect();
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let found = sqlx::query(self.sql().webhooks.draft_kinds.clone())
                .bind(users)
                .bind(ids)
                .fetch_all(&mut *connection)
                .await?;
            let mut kinds = HashMap::new();
            for row in &found {
                let (user, id): (String, String) = (row.try_get("user_id")?, row.try_get("draft_id")?);
                let kind: String = row.try_get("kind")?;
                let place = format!("draft {id} of {user}");
                let user: UserId = user.parse().map_err(|error| corrupt("the user", &place, error))?;
                let id: DraftId = id.parse().map_err(|error| corrupt("the id", &place, error))?;
                let kind: DraftKind = kind.parse().map_err(|error| corrupt("the kind", &place, error))?;
                kinds.insert((user, id), kind);
            }
            connection.put_back();
            Ok(kinds)
        })
        .await
    }
}
