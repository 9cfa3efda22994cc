//! The profiler: which operations take how long, where the time of a change goes, and what is slow.
//!
//! The layers record into meters (`common::operations`); here are those of statements and of routes over HTTP, the
//! tables of the last minutes, and what follows from them.

mod advice;
mod limiter;
mod path;
mod profile;
mod routes;
mod slow;
mod statement;
mod text;
mod view;

use std::time::Instant;

use common::operations::{Meter, Meters, Operation, SLICE};
use tokio::time::sleep;

pub(crate) use self::{
    limiter::{Left, Limiter},
    profile::{LastMinute, last_minute},
    routes::of_route,
    slow::{Kind as SlowKind, may_report, set_threshold, threshold},
    statement::Statement,
    text::render,
    view::{ms, rounded},
};
pub use self::{
    path::{Bottleneck, Part, Path, Reason},
    profile::{Measured, Profile, profile, turn},
    view::{BottleneckView, OperationsView, PathView, Row, Table},
};

/// How late live events were handed to sockets: from their timestamp, which is of the beginning of their commit, between
/// nodes by their clocks. What waits in a batch window is late on purpose, and left out.
pub(crate) static LATENCY: Meters = Meters::new();

/// What this process did lately, and what is slow.
pub fn view() -> OperationsView {
    OperationsView::of(&profile(), threshold())
}

/// Ends slices of time, for as long as it is polled. One task of the process runs it.
pub(crate) async fn keep_time() {
    loop {
        turn(Instant::now());
        sleep(SLICE).await;
    }
}

/// Every operation that has meters, by name, in the order of the way of a change.
fn all() -> impl Iterator<Item = (String, &'static [Meter])> {
    let fixed =
        Operation::ALL.into_iter().map(|operation| (operation.name().to_owned(), operation.meters().all()));
    let statements = Statement::ALL.into_iter().map(|statement| (statement.operation(), statement.meter()));
    let single = statements.chain(routes::all()).map(|(name, meter)| (name, std::slice::from_ref(meter)));
    fixed.chain(single)
}
