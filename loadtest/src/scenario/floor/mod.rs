//! `floor`: what the machine alone costs, without a server.

pub(crate) mod bare;
pub(crate) mod inserts;
pub(crate) mod server;

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use testkit::Postgres;

use self::bare::{BATCH, Delivery};
use super::Scenario;
use crate::{
    measure::summary::{Check, Outcome, Summary, bytes, micros},
    run::{Stage, arguments},
    swarm::{Pace, orders::Wire},
};

/// Connections of a Postgres that is started here.
const POSTGRES_CONNECTIONS: &str = "500";

/// What is run.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many sockets each event is written to.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sockets: u32,
    /// Events a second.
    #[arg(long, default_value = "20", value_parser = arguments::rate)]
    rate: f64,
    /// The length of an event's data, as JSON.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(60..=65_000))]
    bytes: u32,
    /// How messages are written.
    #[arg(long, value_enum, default_value_t = Wire::Json)]
    wire: Wire,
    /// How many idle connections are held.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: u32,
    /// How many writers commit to Postgres; none with 0.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=400))]
    writers: u32,
    /// The Postgres; otherwise one is started for the run. A table is made in it, and dropped.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
    /// How long each part goes on.
    #[arg(long, default_value = "5s", value_parser = arguments::duration)]
    duration: Duration,
}

impl Scenario for Options {
    async fn run(self, stage: &mut Stage) -> Result<Outcome> {
        let mut summary = Summary::new("floor", "what the machine alone costs");
        let (sockets, size) = (self.sockets as usize, self.bytes as usize);
        let mut blocked = 0;
        for batch in [1, BATCH] {
            stage.progress.part(&format!("writing to {sockets} sockets, {batch} events at a time"));
            let floor =
                bare::delivery(stage, self.wire, sockets, size, self.rate, self.duration, batch).await?;
            blocked += floor.blocked;
            tell(&mut summary, &floor);
        }
        stage.progress.part(&format!("holding {} connections", self.connections));
        let idle = bare::connection(stage, self.connections as usize, Pace::Window).await?;
        summary.row(
            format!("{} idle connections", idle.connections),
            format!(
                "{} each, {} of a processor each",
                bytes(idle.bytes_each),
                micros(Some(idle.cpu_us_each))
            ),
        );
        summary.row("  connecting", idle.connect.to_string());
        summary.put("connection", &idle);
        if self.writers > 0 {
            stage.progress.part(&format!("committing with {} writers", self.writers));
            self.commit(&mut summary).await?;
        }
        summary.check(Check::none("writes that found no room", blocked));
        Ok(summary.outcome())
    }
}

impl Options {
    async fn commit(&self, summary: &mut Summary) -> Result<()> {
        let started;
        let database = match &self.database {
            Some(database) => database.clone(),
            None => {
                started = Postgres::start_with(&[("max_connections", POSTGRES_CONNECTIONS)]).await;
                let postgres = started.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"));
                postgres
                    .context("start a Postgres: give --database, or --writers 0")?
                    .create_database()
                    .await?
            }
        };
        let inserts = inserts::inserts(&database, self.writers, self.bytes as usize, self.duration).await?;
        summary.row(
            format!("{} writers, a row and a commit each", inserts.writers),
            format!("{:.1} a second", inserts.per_second),
        );
        summary.row("  committing", inserts.commit.to_string());
        summary.put("inserts", &inserts);
        Ok(())
    }
}

fn tell(summary: &mut Summary, floor: &Delivery) {
    let how =
        if floor.batch == 1 { "one by one".to_owned() } else { format!("{} in one write", floor.batch) };
    summary.row(
        format!("to {} sockets, {how}", floor.sockets),
        format!("{} of a processor for each delivery", micros(Some(floor.cpu_us_per_delivery))),
    );
    summary.row("  from intended sending", floor.from_send.to_string());
    summary.put(if floor.batch == 1 { "delivery" } else { "delivery_batched" }, floor);
}
