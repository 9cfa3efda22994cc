//! The console: what operators are promised.

mod cluster;
mod page;
mod settings;
mod sign_in;
