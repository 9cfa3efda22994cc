//! Rows of webhooks, and what they mean.

use common::{Seq, Stream};
use serde::de::DeserializeOwned;
use sqlx::{Row, postgres::PgRow};

use crate::store::{
    StoreError,
    name_range::behind,
    rows::{corrupt, epoch, unsigned},
    webhooks::{DueStream, Look, Pause, StreamCursor, Webhook},
};

/// A webhook. What was written as JSON and cannot be read is named in `damage`, so that the rest can be shown and
/// mended.
pub(super) fn webhook(row: &PgRow) -> Result<Webhook, StoreError> {
    let id: String = row.try_get("id")?;
    let place = format!("webhook {id}");
    let number = |name: &str| unsigned(name, &place, row.try_get(name)?);
    let optional = |name: &str| {
        let found: Option<i64> = row.try_get(name)?;
        found.map(|number| unsigned(name, &place, number)).transpose()
    };
    let mut damage = None;
    let error: Option<String> = row.try_get("last_error")?;
    let paused: Option<String> = row.try_get("paused")?;
    let occupancy_epoch: Option<String> = row.try_get("occupancy_epoch")?;
    Ok(Webhook {
        version: number("version")?,
        generation: number("generation")?,
        url: row.try_get("url")?,
        filter: row.try_get("filter")?,
        secrets: json(row, "secrets", &mut damage)?.unwrap_or_default(),
        paused: paused.as_deref().map(Pause::from_text),
        created_at: number("created_at")?,
        updated_at: number("updated_at")?,
        holder_node: row.try_get("holder_node")?,
        batch: json(row, "batch", &mut damage)?,
        attempts: u32::try_from(number("attempts")?).unwrap_or(u32::MAX),
        failing_since: optional("failing_since")?,
        next_attempt_at: optional("next_attempt_at")?,
        last_error: error.zip(optional("last_error_at")?),
        last_delivery_at: optional("last_delivery_at")?,
        occupancy_number: (
            occupancy_epoch.map(|name| epoch(&name)).transpose()?,
            number("occupancy_number")?,
        ),
        noted: json(row, "noted", &mut damage)?,
        body_bytes_max: optional("body_bytes_max")?,
        damage,
        now: number("now")?,
        id,
    })
}

fn json<T: DeserializeOwned>(
    row: &PgRow,
    name: &str,
    damage: &mut Option<String>,
) -> Result<Option<T>, StoreError> {
    let text: Option<String> = row.try_get(name)?;
    let read = text.map(|text| serde_json::from_str(&text)).transpose();
    Ok(read.unwrap_or_else(|error: serde_json::Error| {
        *damage = Some(format!("`{name}` in the store cannot be read: {error}"));
        None
    }))
}

/// What a look has found; `full` says how many streams are a whole page.
pub(super) fn look(rows: &[PgRow], full: u32) -> Result<Look, StoreError> {
    let first = rows.first().ok_or_else(|| corrupt("a look", "all streams", "it has no epoch"))?;
    let last: Option<String> = first.try_get("last")?;
    let is_full = first.try_get::<i64, _>("streams")? >= i64::from(full);
    let mut due = Vec::new();
    for row in rows {
        if let Some(name) = row.try_get::<Option<String>, _>("name")? {
            due.push(due_stream(&name, row)?);
        }
    }
    Ok(Look { epoch: epoch(first.try_get("epoch")?)?, due, next: last.filter(|_| is_full).map(behind) })
}

fn due_stream(name: &str, row: &PgRow) -> Result<DueStream, StoreError> {
    let stream: Stream = name.parse().map_err(|error| corrupt("the name", name, error))?;
    let cursor = match row.try_get::<Option<i64>, _>("seq")? {
        Some(seq) => Some(StreamCursor {
            epoch: epoch(row.try_get("cursor_epoch")?)?,
            seq: Seq(unsigned("the cursor", name, seq)?),
            same: row.try_get("same")?,
        }),
        None => None,
    };
    Ok(DueStream {
        stream,
        head: Seq(unsigned("the head", name, row.try_get("head")?)?),
        floor: Seq(unsigned("the floor", name, row.try_get("floor")?)?),
        cursor,
    })
}
