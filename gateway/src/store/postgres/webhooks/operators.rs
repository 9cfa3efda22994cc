//! What operators do with webhooks: each call is one transaction.

use common::{Epoch, Seq};
use sqlx::{Connection, PgConnection, Row};

use super::rows;
use crate::store::{
    StoreError,
    name_range::behind,
    occupancy::{Noted, Occupancy},
    postgres::PostgresStore,
    rows::{epoch, signed, unsigned},
    webhooks::{
        Changed, Changes, LAG_STREAMS_MAX, Lag, NameRange, NewWebhook, Place, Replay, Replayed, WEBHOOKS_MAX,
        Webhook,
    },
};

/// Streams that one statement places cursors on.
const PLACE_STREAMS_MAX: u32 = 5000;

/// A session beside the pool: what it does may take longer than a call of the pool.
async fn session(store: &PostgresStore) -> Result<PgConnection, StoreError> {
    store.pool.check_open()?;
    let cannot = |error| StoreError::Unavailable(format!("cannot connect: {error}"));
    store.webhooks.open().await.map_err(cannot)
}

pub(super) fn text_of(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Failed(format!("a webhook: {error}")))
}

/// Changes of who attends as the row has them; null where there are none.
pub(super) fn noted(epoch: &Epoch, changes: &[Occupancy]) -> Result<Option<String>, StoreError> {
    let noted = (!changes.is_empty()).then(|| Noted { epoch: epoch.clone(), changes: changes.to_vec() });
    noted.as_ref().map(text_of).transpose()
}

pub(super) async fn create(
    store: &PostgresStore,
    new: &NewWebhook,
    ranges: &[NameRange],
    at: Place,
) -> Result<Option<Webhook>, StoreError> {
    let sql = store.sql();
    let mut session = session(store).await?;
    let mut transaction = session.begin().await?;
    sqlx::query(sql.webhooks.turn.clone()).execute(&mut *transaction).await?;
    let row = sqlx::query(sql.webhooks.insert.clone())
        .bind(&new.id)
        .bind(&new.url)
        .bind(&new.filter)
        .bind(text_of(&[&new.secret])?)
        .bind(new.paused.then_some("operator"))
        .bind(i64::from(WEBHOOKS_MAX))
        .fetch_optional(&mut *transaction)
        .await?;
    let Some(row) = row else { return Ok(None) };
    place(store, &mut transaction, &new.id, ranges, at).await?;
    let webhook = rows::webhook(&row)?;
    transaction.commit().await?;
    Ok(Some(webhook))
}

/// Places cursors page by page, within the caller's transaction. A stream that another transaction creates meanwhile
/// gets none, and is delivered from its first event on.
async fn place(
    store: &PostgresStore,
    connection: &mut PgConnection,
    id: &str,
    ranges: &[NameRange],
    at: Place,
) -> Result<(), StoreError> {
    let sql = store.sql();
    let name: String = sqlx::query_scalar(sql.webhooks.epoch.clone()).fetch_one(&mut *connection).await?;
    let history: Epoch = epoch(&name)?;
    for range in ranges {
        let mut start = Some(range.start.clone());
        while let Some(from) = start {
            let row = sqlx::query(sql.webhooks.place.clone())
                .bind(id)
                .bind(&from)
                .bind(&range.end)
                .bind(i64::from(PLACE_STREAMS_MAX))
                .bind(at == Place::Floor)
                .bind(history.as_str())
                .fetch_one(&mut *connection)
                .await?;
            let is_full = row.try_get::<i64, _>("streams")? >= i64::from(PLACE_STREAMS_MAX);
            let last: Option<String> = row.try_get("last")?;
            start = last.filter(|_| is_full).map(behind);
        }
    }
    Ok(())
}

pub(super) async fn list(store: &PostgresStore, id: Option<&str>) -> Result<Vec<Webhook>, StoreError> {
    let mut connection = store.pool.get().await?;
    let found = sqlx::query(store.sql().webhooks.list.clone()).bind(id).fetch_all(&mut *connection).await?;
    let webhooks = found.iter().map(rows::webhook).collect::<Result<_, _>>()?;
    connection.put_back();
    Ok(webhooks)
}

/// Locks a webhook to the end of the transaction: what its version is.
async fn lock(
    store: &PostgresStore,
    connection: &mut PgConnection,
    id: &str,
) -> Result<Option<u64>, StoreError> {
    let version: Option<i64> =
        sqlx::query_scalar(store.sql().webhooks.lock.clone()).bind(id).fetch_optional(connection).await?;
    version.map(|version| unsigned("the version", id, version)).transpose()
}

pub(super) async fn change(
    store: &PostgresStore,
    id: &str,
    version: u64,
    changes: &Changes,
) -> Result<Changed, StoreError> {
    let sql = store.sql();
    let mut session = session(store).await?;
    let mut transaction = session.begin().await?;
    match lock(store, &mut transaction, id).await? {
        None => return Ok(Changed::NotFound),
        Some(current) if current != version => return Ok(Changed::Version(current)),
        Some(_) => {}
    }
    let row = sqlx::query(sql.webhooks.change.clone())
        .bind(id)
        .bind(changes.url.as_deref())
        .bind(changes.filter.as_ref().map(|(filter, ..)| filter.as_str()))
        .bind(changes.secrets.as_ref().map(text_of).transpose()?)
        .bind(changes.paused)
        .fetch_one(&mut *transaction)
        .await?;
    if let Some((_, added, given_up)) = &changes.filter {
        for range in given_up {
            sqlx::query(sql.webhooks.unplace.clone())
                .bind(id)
                .bind(&range.start)
                .bind(&range.end)
                .execute(&mut *transaction)
                .await?;
        }
        place(store, &mut transaction, id, added, Place::Head).await?;
    }
    let webhook = rows::webhook(&row)?;
    transaction.commit().await?;
    Ok(Changed::Done(Box::new(webhook)))
}

pub(super) async fn remove(
    store: &PostgresStore,
    id: &str,
    version: Option<u64>,
) -> Result<Changed<()>, StoreError> {
    let sql = store.sql();
    let mut session = session(store).await?;
    let mut transaction = session.begin().await?;
    match lock(store, &mut transaction, id).await? {
        None => return Ok(Changed::NotFound),
        Some(current) if version.is_some_and(|version| version != current) => {
            return Ok(Changed::Version(current));
        }
        Some(_) => {}
    }
    for statement in [&sql.webhooks.remove, &sql.webhooks.remove_cursors, &sql.webhooks.remove_occupancy] {
        sqlx::query(statement.clone()).bind(id).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Changed::Done(()))
}

pub(super) async fn replay(store: &PostgresStore, id: &str, replay: &Replay) -> Result<Replayed, StoreError> {
    let sql = store.sql();
    let mut session = session(store).await?;
    let mut transaction = session.begin().await?;
    if lock(store, &mut transaction, id).await?.is_none() {
        return Ok(Replayed::NotFound);
    }
    match replay {
        Replay::All(ranges) => place(store, &mut transaction, id, ranges, Place::Floor).await?,
        Replay::Stream(stream, of, seq) => {
            let key = stream.key();
            let row =
                sqlx::query(sql.webhooks.position.clone()).bind(&key).fetch_one(&mut *transaction).await?;
            let current = epoch(row.try_get("epoch")?)?;
            let head = Seq(unsigned("the head", &key, row.try_get("head")?)?);
            let floor = Seq(unsigned("the floor", &key, row.try_get("floor")?)?);
            if current != *of || *seq > head {
                return Ok(Replayed::Position(current, head, floor));
            }
            sqlx::query(sql.webhooks.r#move.clone())
                .bind(id)
                .bind(&key)
                .bind(current.as_str())
                .bind(signed(seq.0))
                .execute(&mut *transaction)
                .await?;
        }
    }
    let row = sqlx::query(sql.webhooks.begin_anew.clone()).bind(id).fetch_one(&mut *transaction).await?;
    let webhook = rows::webhook(&row)?;
    transaction.commit().await?;
    Ok(Replayed::Done(Box::new(webhook)))
}

pub(super) async fn lag(store: &PostgresStore, id: &str, ranges: &[NameRange]) -> Result<Lag, StoreError> {
    let mut connection = store.pool.get().await?;
    let mut lag = Lag { complete: true, ..Lag::default() };
    let mut left = i64::from(LAG_STREAMS_MAX);
    for range in ranges {
        if left == 0 {
            break;
        }
        let row = sqlx::query(store.sql().webhooks.lag.clone())
            .bind(id)
            .bind(&range.start)
            .bind(&range.end)
            .bind(left)
            .fetch_one(&mut *connection)
            .await?;
        lag.events += unsigned("a count", "the lag", row.try_get("events")?)?;
        lag.streams += unsigned("a count", "the lag", row.try_get("behind")?)?;
        let streams: i64 = row.try_get("streams")?;
        left = left.saturating_sub(streams);
        lag.complete &= left > 0;
    }
    connection.put_back();
    Ok(lag)
}
