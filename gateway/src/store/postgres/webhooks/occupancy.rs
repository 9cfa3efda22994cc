//! Which topics are attended, in Postgres: a row for each topic and node, and a lease for each node.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::Row;

use super::ms;
use crate::store::{
    StoreError,
    failure::within,
    occupancy::{OCCUPANCY_LOOK_MAX, Occupancy, OccupancyStore},
    postgres::PostgresStore,
    rows::column,
    webhooks::NameRange,
};

#[async_trait]
impl OccupancyStore for PostgresStore {
    async fn filters(&self) -> Result<Vec<String>, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let filters = sqlx::query_scalar(self.sql().webhooks.filters.clone());
            let filters = filters.fetch_all(&mut *connection).await?;
            connection.put_back();
            Ok(filters)
        })
        .await
    }

    async fn attend(
        &self,
        node: &str,
        lease: Duration,
        came: &[String],
        left: &[String],
    ) -> Result<bool, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let was_there = sqlx::query_scalar(self.sql().webhooks.attend.clone())
                .bind(node)
                .bind(ms(lease))
                .bind(came)
                .bind(left)
                .fetch_one(&mut *connection)
                .await?;
            connection.put_back();
            Ok(was_there)
        })
        .await
    }

    async fn leave(&self, node: &str) -> Result<(), StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            sqlx::query(self.sql().webhooks.leave.clone()).bind(node).execute(&mut *connection).await?;
            connection.put_back();
            Ok(())
        })
        .await
    }

    async fn differences(&self, webhook: &str, ranges: &[NameRange]) -> Result<Vec<Occupancy>, StoreError> {
        within(self.timeout, async {
            let mut connection = self.pool.get().await?;
            let found = sqlx::query(self.sql().webhooks.differences.clone())
                .bind(webhook)
                .bind(column(ranges, |range| range.start.as_str()))
                .bind(column(ranges, |range| range.end.as_str()))
                .bind(i64::from(OCCUPANCY_LOOK_MAX))
                .fetch_all(&mut *connection)
                .await?;
            let change = |row: &sqlx::postgres::PgRow| {
                Ok(Occupancy { topic: row.try_get("topic")?, occupied: row.try_get("occupied")? })
            };
            let changes = found.iter().map(change).collect::<Result<_, StoreError>>()?;
            connection.put_back();
            Ok(changes)
        })
        .await
    }
}
