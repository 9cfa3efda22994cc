//! The process: command line, start and stop, metrics, memory.

pub mod cli;
mod memory;
pub mod metrics;
mod open_files;
mod os;
mod prometheus;
pub mod serve;
mod store_size;
mod threads;
