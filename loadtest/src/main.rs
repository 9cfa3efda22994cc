//! Finds out whether a Draftwire cluster is ready: drives it as many devices would, checks that it keeps
//! what it promises, and measures how fast and at what cost.

mod check;
mod cli;
mod cluster;
mod measure;
mod report;
mod run;
mod scenario;
mod swarm;
mod users;

use std::process::ExitCode;

use clap::Parser;

/// Every promise and every threshold held.
const HELD: u8 = 0;
/// One was broken.
const BROKEN: u8 = 1;
/// The run could not be made: wrong use, no connection, nothing to judge. clap exits with the same.
const NOT_RUN: u8 = 2;
/// After giving up: 128 and the signal's number, as shells count.
const GIVEN_UP: u8 = 130;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return not_run(&error.into()),
    };
    runtime.block_on(async {
        if let Some(assisted) = cli.assist().await {
            return assisted.map_or_else(|error| not_run(&error), |()| HELD.into());
        }
        let interrupt = run::interrupt::listen();
        let mut again = interrupt.clone();
        tokio::select! {
            ran = cli.run(interrupt) => match ran {
                Ok(true) => HELD.into(),
                Ok(false) => BROKEN.into(),
                Err(error) => not_run(&error),
            },
            // What was started for the run ends with it.
            () = again.pressed_again() => GIVEN_UP.into(),
        }
    })
}

fn not_run(error: &anyhow::Error) -> ExitCode {
    eprintln!("draftwire-loadtest: {error:#}");
    NOT_RUN.into()
}
