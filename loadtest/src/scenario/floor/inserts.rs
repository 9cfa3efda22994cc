//! What a commit costs without a server in front of the database: a row and a transaction per event.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use sqlx::{Connection, Executor, PgConnection};
use tokio::{task::JoinSet, time::Instant};

use super::server;
use crate::measure::{
    latency::{Latency, Percentiles, time},
    summary::{Summary, times},
};

/// The table, made and dropped here. A row has what a row of events has.
const CREATE: &str = "CREATE TABLE IF NOT EXISTS draftwire_loadtest_floor (stream text NOT NULL, \
    seq bigint NOT NULL, kind text NOT NULL, payload json NOT NULL, timestamp bigint NOT NULL, \
    PRIMARY KEY (stream, seq))";
const EMPTY: &str = "TRUNCATE draftwire_loadtest_floor";
const DROP: &str = "DROP TABLE draftwire_loadtest_floor";
const INSERT: &str = "INSERT INTO draftwire_loadtest_floor VALUES ($1, $2, 'COMMENT', $3::json, 0)";

/// The most writers: a Postgres that is started here takes 500 connections, the nodes' included.
pub(crate) const WRITERS_MAX: u32 = 400;

/// What was committed.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Inserts {
    pub(crate) writers: u32,
    pub(crate) commits: u64,
    pub(crate) per_second: f64,
    pub(crate) commit: Percentiles,
}

/// Lets `writers` connections insert and commit one row after the other.
///
/// # Errors
/// When the database takes fewer connections, or the role may make no table.
pub(crate) async fn inserts(
    database: &str,
    writers: u32,
    bytes: usize,
    duration: Duration,
) -> Result<Inserts> {
    let mut owner = connect(database).await?;
    owner.execute(CREATE).await.context("make a table for the floor")?;
    owner.execute(EMPTY).await.context("empty the floor's table")?;
    let measured = measure(database, writers, bytes, duration).await;
    owner.execute(DROP).await.context("drop the floor's table")?;
    measured
}

/// Compares a cluster that commits `per_second` events a second with as many writers.
pub(crate) async fn compare(
    summary: &mut Summary,
    database: &str,
    writers: u32,
    bytes: usize,
    duration: Duration,
    per_second: f64,
) -> Result<()> {
    let floor = inserts(database, writers, bytes, duration).await?;
    summary.row(
        "floor, a commit for each event",
        format!(
            "{:.1} a second with {writers} writers, p99 {}; the cluster makes {}",
            floor.per_second,
            time(floor.commit.p99_us),
            times(Some(per_second), Some(floor.per_second))
        ),
    );
    summary.put("floor_inserts_times", per_second / floor.per_second);
    summary.put("floor_inserts", floor);
    Ok(())
}

async fn connect(database: &str) -> Result<PgConnection> {
    PgConnection::connect(database).await.context("connect to the database")
}

async fn measure(database: &str, writers: u32, bytes: usize, duration: Duration) -> Result<Inserts> {
    let mut connections = Vec::new();
    for _ in 0..writers {
        connections.push(connect(database).await?);
    }
    let begun = Instant::now();
    let mut under_way = JoinSet::new();
    for (writer, connection) in (0i64..).zip(connections) {
        under_way.spawn(write(connection, writer, bytes, begun + duration));
    }
    let mut all = Latency::new();
    while let Some(done) = under_way.join_next().await {
        all.add(&done??);
    }
    let commit = all.percentiles();
    let per_second = commit.count as f64 / begun.elapsed().as_secs_f64();
    Ok(Inserts { writers, commits: commit.count, per_second, commit })
}

async fn write(mut connection: PgConnection, writer: i64, bytes: usize, end: Instant) -> Result<Latency> {
    let stream = format!("topic:floor-{writer}");
    let mut times = Latency::new();
    for seq in 1i64.. {
        let begun = Instant::now();
        if begun >= end {
            break;
        }
        sqlx::query(INSERT)
            .bind(&stream)
            .bind(seq)
            .bind(server::data(0, seq.unsigned_abs(), bytes))
            .execute(&mut connection)
            .await
            .context("insert")?;
        times.record(begun.elapsed());
    }
    Ok(times)
}
