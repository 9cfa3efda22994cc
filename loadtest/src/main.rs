//! Drives a Draftwire cluster as the devices of many users would, and checks what it promises: every
//! change reaches every other device once and in order, whatever fails meanwhile.

mod checks;
mod cli;
mod fleet;
mod interrupt;
mod latency;
mod progress;
mod report;
mod scenario;
mod settle;
mod tokens;
mod urls;

use std::process::ExitCode;

use clap::Parser;

/// Every promise held.
const HELD: u8 = 0;
/// A promise was broken.
const BROKEN: u8 = 1;
/// The run could not be made: wrong use, no connection, nothing to judge. clap exits with the same.
const NOT_RUN: u8 = 2;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return not_run(&error.into()),
    };
    match runtime.block_on(cli.run()) {
        Ok(true) => HELD.into(),
        Ok(false) => BROKEN.into(),
        Err(error) => not_run(&error),
    }
}

fn not_run(error: &anyhow::Error) -> ExitCode {
    eprintln!("draftwire-loadtest: {error:#}");
    NOT_RUN.into()
}
