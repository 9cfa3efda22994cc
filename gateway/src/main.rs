//! The `draftwire` binary: says what to do, and does it.

use std::{io::IsTerminal, process::ExitCode};

use gateway::{
    auth,
    cli::{self, Invocation, Migration},
    config::{Config, LogFormat},
    serve,
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
        Invocation::Token(request) => request.mint().map(|token| println!("{token}")).map_err(Into::into),
        Invocation::Serve(settings) => {
            log(&settings);
            run(serve::serve(*settings))
        }
        Invocation::Migrate(migration) => run(migrate(migration)),
        Invocation::Healthcheck(addr) => run(async move { Ok(cli::healthcheck(addr).await?) }),
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

async fn migrate(migration: Migration) -> anyhow::Result<()> {
    // The limits play no part in a migration.
    let limits = Limits { drafts_per_user_max: 0, draft_bytes_max: 0, event_bytes_max: 0 };
    let store = postgres::PostgresStore::new(&postgres::PostgresOptions {
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

fn log(settings: &Config) {
    let filter = EnvFilter::builder().parse_lossy(&settings.listen.log_level);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Colours are for people; a log file or a collector would keep their escapes.
        .with_ansi(std::io::stderr().is_terminal());
    match settings.listen.log_format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
