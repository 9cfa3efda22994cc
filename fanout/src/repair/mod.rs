//! Keeps the streams of this node complete although the bus may lose anything.
//!
//! [`canary`] notices that the bus delivers nothing, and [`BusTrust`] is what follows from that. The
//! [`Sweep`] compares heads with the log, [`HeadCheck`] applies them, and [`GapFill`] reads what is missing.
//! [`LossReport`] has the history renamed when the log lacks what it had.
//! All of them read the log through the [`LogReader`], which also notices a change of epoch.

pub mod canary;
mod gap_fill;
mod head_check;
mod histories;
mod log_batcher;
mod log_reader;
mod loss;
mod sweep;
mod trust;

pub(crate) use gap_fill::GapFill;
pub(crate) use head_check::HeadCheck;
pub(crate) use histories::Origin;
pub(crate) use log_reader::LogReader;
pub(crate) use loss::{Loss, LossReport};
pub(crate) use sweep::Sweep;
pub(crate) use trust::{BusTrust, Trust};
