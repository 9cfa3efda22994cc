//! The process: command line, start and stop, metrics, profiles, memory.

pub mod cli;
mod control_group;
mod cpu_profile;
mod memory;
mod memory_limit;
pub mod metrics;
mod open_files;
mod os;
mod prometheus;
pub mod serve;
mod store_size;
mod threads;
