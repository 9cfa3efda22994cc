//! The stores against their contract, and Postgres against its faults.

#![allow(clippy::unwrap_used)]

mod contract;
mod fixture;
mod locked_rows;
mod pgbouncer;
mod postgres;
mod postgres_address;
mod postgres_durability;
mod postgres_faults;
mod postgres_history;
mod postgres_schema;
mod sql_docs;
mod sql_drafts;
mod sql_functions;
mod sql_notices;
mod sqlite;
