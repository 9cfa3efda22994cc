//! Which topics are attended, in Postgres: a row for each topic and name of a node, and a lease for each name.

use async_trait::async_trait;
use sqlx::Row;

use super::ms;
use crate::store::{
    StoreError,
    failure::within,
    occupancy::{Asked, Noted, OCCUPANCY_LOOK_MAX, Occupancy, OccupancyLease, OccupancyStore},
    postgres::PostgresStore,
    rows::{column, corrupt, epoch},
    webhooks::NameRange,
};

#[async_trait]
impl OccupancyStore for PostgresStore {
    async fn asked(&self) -> Result<Asked, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let found = sqlx::query(self.sql().webhooks.asked.clone()).fetch_all(&mut *connection).await?;
            let first =
                found.first().ok_or_else(|| corrupt("the filters", "all webhooks", "they have no epoch"))?;
            let filters = found.iter().map(|row| row.try_get("filter"));
            let filters = filters.collect::<Result<Vec<Option<String>>, _>>()?;
            let asked = Asked {
                epoch: epoch(first.try_get("epoch")?)?,
                digest: first.try_get("digest")?,
                filters: filters.into_iter().flatten().collect(),
            };
            connection.put_back();
            Ok(asked)
        })
        .await
    }

    async fn attend(
        &self,
        lease: &OccupancyLease<'_>,
        came: &[String],
        left: &[String],
    ) -> Result<bool, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let was_running = sqlx::query_scalar(self.sql().webhooks.attend.clone())
                .bind(lease.name)
                .bind(ms(lease.lasts))
                .bind(came)
                .bind(left)
                .bind(lease.complete_for)
                .fetch_one(&mut *connection)
                .await?;
            connection.put_back();
            Ok(was_running)
        })
        .await
    }

    async fn leave(&self, names: &[String]) -> Result<(), StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            sqlx::query(self.sql().webhooks.leave.clone()).bind(names).execute(&mut *connection).await?;
            connection.put_back();
            Ok(())
        })
        .await
    }

    async fn differences(
        &self,
        webhook: &str,
        ranges: &[NameRange],
        name: &str,
    ) -> Result<Noted, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let found = sqlx::query(self.sql().webhooks.differences.clone())
                .bind(webhook)
                .bind(column(ranges, |range| range.start.as_str()))
                .bind(column(ranges, |range| range.end.as_str()))
                .bind(i64::from(OCCUPANCY_LOOK_MAX))
                .bind(name)
                .fetch_all(&mut *connection)
                .await?;
            let first = found.first().ok_or_else(|| corrupt("who attends", webhook, "it has no epoch"))?;
            let epoch = epoch(first.try_get("epoch")?)?;
            let mut changes = Vec::new();
            for row in &found {
                if let Some(topic) = row.try_get("topic")? {
                    changes.push(Occupancy { topic, occupied: row.try_get("occupied")? });
                }
            }
            connection.put_back();
            Ok(Noted { epoch, changes })
        })
        .await
    }
}
