//! The `draftwire` binary: says what to do, and does it.

use std::{io::IsTerminal, process::ExitCode};

use gateway::{
    auth,
    config::{Config, ConfigErrors, LogFormat},
    process::{
        cli::{self, CliError, ClientCommand, Invocation, Migration},
        serve::{self, Rereading},
    },
    store::{Limits, postgres},
};
use tracing_subscriber::EnvFilter;

/// How long a migration waits for the database: it may have to wait for another node's.
const MIGRATION_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

fn main() -> ExitCode {
    let invocation = match cli::parse(std::env::args_os(), cli::process_env) {
        Ok(invocation) => invocation,
        Err(error) => return error.report(),
    };
    auth::install_crypto();
    let outcome = match invocation {
        Invocation::Config(request) => {
            request.lines().iter().for_each(|line| println!("{line}"));
            Ok(())
        }
        Invocation::Token(request) => request.mint().map(|token| println!("{token}")).map_err(Into::into),
        Invocation::Serve(settings) => {
            let set_log_level = log(&settings);
            run(serve::serve(*settings, Rereading { settings: Box::new(settings_again), set_log_level }))
        }
        Invocation::Migrate(migration) => run(migrate(migration)),
        Invocation::Healthcheck(addr) => run(async move { Ok(cli::healthcheck(addr).await?) }),
        Invocation::Profile(request) => run(async move {
            println!("{}", request.collect().await?.display());
            Ok(())
        }),
        Invocation::Doctor(request) => return run_check(async move { Ok(request.run().await) }),
        Invocation::TokenCheck(check) => return run_check(async move { Ok(check.run().await?) }),
        Invocation::Client(command) => return run_client(*command),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("draftwire: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Ends with 0 where all is well, with 1 where it is not.
fn run_check(check: impl Future<Output = anyhow::Result<bool>>) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match outcome.map_err(Into::into).and_then(|runtime| runtime.block_on(check)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("draftwire: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_client(command: ClientCommand) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(command.run());
            // Nobody waits for a name that is still being resolved.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            eprintln!("draftwire: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn migrate(migration: Migration) -> anyhow::Result<()> {
    // The limits play no part in a migration.
    let limits = Limits { drafts_per_user_max: 0, draft_bytes_max: 0, event_bytes_max: 0 };
    let store = postgres::PostgresStore::new(&postgres::PostgresOptions {
        state_cache_bytes_max: 0,
        url: migration.url.reveal().to_owned(),
        schema: migration.schema,
        // Which role the nodes have, and what it may do, shows when they start.
        history: postgres::HistorySource::default(),
        connections_max: 1,
        timeout: MIGRATION_TIMEOUT,
        limits,
    })?;
    store.migrate().await?;
    println!("the schema is up to date");
    Ok(())
}

/// The settings of this process, read again.
fn settings_again() -> Result<Config, ConfigErrors> {
    match cli::parse(std::env::args_os(), cli::process_env) {
        Ok(Invocation::Serve(settings)) => Ok(*settings),
        Err(CliError::Config(errors)) => Err(errors),
        // Neither flags nor the command can have changed.
        Ok(_) | Err(CliError::Usage(_) | CliError::Arguments(_)) => Err(ConfigErrors(Vec::new())),
    }
}

/// Begins to log; what is returned sets another level.
fn log(settings: &Config) -> Box<dyn Fn(&str) + Send + Sync> {
    let filter = |directives: &str| EnvFilter::builder().parse_lossy(directives);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&settings.listen.log_level))
        .with_writer(std::io::stderr)
        // Where a line cannot be written, the words about that cannot either, and would end the task that
        // logged: a full disk under the log must not stop the commits.
        .log_internal_errors(false)
        // Colours are for people; a log file or a collector would keep their escapes.
        .with_ansi(std::io::stderr().is_terminal());
    match settings.listen.log_format {
        LogFormat::Text => {
            let subscriber = subscriber.with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            // It fails only when the subscriber is gone, which lasts as long as the process.
            Box::new(move |directives| drop(handle.reload(filter(directives))))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().with_filter_reloading();
            let handle = subscriber.reload_handle();
            subscriber.init();
            Box::new(move |directives| drop(handle.reload(filter(directives))))
        }
    }
}
