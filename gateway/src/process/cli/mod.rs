//! The command line: what the process is asked to do.

mod client;
mod configuration;
mod doctor;
mod flags;
mod healthcheck;
mod profile;
mod token;
mod token_check;

pub use client::{ArgumentError, ClientCommand};
pub use configuration::ConfigRequest;
pub use doctor::DoctorRequest;
pub use healthcheck::{HealthError, healthcheck};
pub use profile::{ProfileError, ProfileRequest};
pub use token::{TokenError, TokenRequest};
pub use token_check::{TokenCheck, TokenCheckError};

use std::{ffi::OsString, net::SocketAddr, process::ExitCode};

use clap::{Arg, ArgAction, Command};
use common::{TopicName, UserId};

use self::flags::{argument, flag};
use crate::{
    auth::Secret,
    config::{self, Config, ConfigErrors, Declared, Store, text},
    store::postgres::SchemaName,
};

/// What the process is asked to do.
#[derive(Debug)]
pub enum Invocation {
    /// Run a node.
    Serve(Box<Config>),
    /// Say what a node would run with.
    Config(ConfigRequest),
    /// Print a token.
    Token(Box<TokenRequest>),
    /// Say what a node says of a token.
    TokenCheck(Box<TokenCheck>),
    /// Look at what a node would meet.
    Doctor(Box<DoctorRequest>),
    /// Bring the Postgres schema up to date and end.
    Migrate(Migration),
    /// Ask the node at this address whether it is ready.
    Healthcheck(SocketAddr),
    /// Collect a CPU profile of a running node.
    Profile(Box<ProfileRequest>),
    /// Publish, follow topics, do something with drafts or with settings, or show what operators ask, on a running server.
    Client(Box<ClientCommand>),
}

/// What to migrate.
#[derive(Debug)]
pub struct Migration {
    /// The Postgres database, with its password.
    pub url: Secret,
    /// The schema that holds the tables.
    pub schema: SchemaName,
}

/// Why the process cannot do it. Help and version count as such: they end it too.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// A flag or command that does not exist, or a plea for help.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// Settings that make no sense.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// Arguments of a command on a server that make no sense.
    #[error(transparent)]
    Arguments(#[from] ArgumentError),
}

impl CliError {
    /// Prints it and answers how the process ends: 0 after help, else 2.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                // Nothing is left to be done about a closed output.
                let _ = error.print();
                u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
            }
            Self::Config(errors) => {
                for sentence in &errors.0 {
                    eprintln!("draftwire: {sentence}");
                }
                ExitCode::from(2)
            }
            Self::Arguments(error) => {
                eprintln!("draftwire: {error}");
                ExitCode::from(2)
            }
        }
    }
}

/// Reads the command line; `args` begins with the program's name, `env` answers for the environment.
/// Reads the files that settings name, opens nothing else.
///
/// # Errors
/// Wrong usage, every wrong setting, or help.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<Invocation, CliError> {
    let mut matches = command().try_get_matches_from(with_default_command(args))?;
    let (name, matches) = matches.remove_subcommand().expect("clap demands a command");
    let lookup = |setting: &str| flag(&matches, setting).or_else(|| env(setting));
    Ok(match name.as_str() {
        "serve" => {
            let is_flag = |setting: &str| flag(&matches, setting).is_some();
            let ignores_run_time = matches.get_flag(ENVIRONMENT_ONLY);
            Invocation::Serve(Box::new(Config { ignores_run_time, ..Config::from_sources(lookup, is_flag)? }))
        }
        "doctor" => Invocation::Doctor(Box::new(DoctorRequest::read(&matches, Config::from_source(lookup)))),
        "token" if let Some(matches) = matches.subcommand_matches("check") => {
            let lookup = |setting: &str| flag(matches, setting).or_else(|| env(setting));
            let auth = config::read_auth(lookup)?;
            Invocation::TokenCheck(Box::new(TokenCheck::read(matches, env, auth)))
        }
        "config" => Invocation::Config(configuration::read(&matches, env)?),
        "token" => Invocation::Token(Box::new(TokenRequest {
            user: matches.get_one::<UserId>("user").cloned(),
            topic: matches.get_one::<TopicName>("topic").cloned(),
            scope: matches.get_one::<String>("scope").cloned().unwrap_or_default(),
            ttl: *matches.get_one("ttl").expect("it has a default"),
            auth: config::read_auth(lookup)?,
        })),
        "migrate" => Invocation::Migrate(migration(&config::read_store(lookup)?)?),
        "healthcheck" => Invocation::Healthcheck(healthcheck::target(config::read_listen_addr(lookup)?)),
        "profile" => Invocation::Profile(Box::new(ProfileRequest::read(&matches))),
        name => Invocation::Client(Box::new(client::read(name, &matches, env)?)),
    })
}

/// A lookup in the process's environment. What is not UTF-8 is passed on damaged, to be complained
/// about by the setting that it is for.
pub fn process_env(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn migration(store: &Store) -> Result<Migration, ConfigErrors> {
    match &store.database {
        config::Database::Postgres { url, schema, .. } => {
            Ok(Migration { url: url.clone(), schema: schema.clone() })
        }
        config::Database::Embedded { .. } => Err(ConfigErrors(vec![
            "DATABASE_URL (--database-url) is not set: give the database to migrate; an embedded one is \
             migrated whenever a node starts"
                .to_owned(),
        ])),
    }
}

/// The flag with which a node ignores what was changed at run time.
const ENVIRONMENT_ONLY: &str = "settings-from-environment-only";

/// `draftwire` and `draftwire --listen-addr …` mean `draftwire serve …`.
fn with_default_command(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let serve = match args.get(1).and_then(|first| first.to_str()) {
        None => args.len() <= 1,
        Some(first) => first.starts_with('-') && !["-h", "--help", "-V", "--version"].contains(&first),
    };
    if serve {
        args.insert(args.len().min(1), "serve".into());
    }
    args
}

/// The whole command line.
pub fn command() -> Command {
    let token = Command::new("token")
        .about("Print a token signed with JWT_SECRET, or with the secret of the embedded store")
        .args([
            Arg::new("user")
                .long("user")
                .required_unless_present("topic")
                .value_parser(|text: &str| text.parse::<UserId>())
                .help("The user; without one, the token of a topic is for whoever has it"),
            Arg::new("topic")
                .long("topic")
                .value_parser(|text: &str| text.parse::<TopicName>())
                .help("Makes a token of this topic alone, for SUBSCRIBE; with the scope publish:<topic> also for publishing to it"),
            Arg::new("scope").long("scope").help("Its rights, separated by spaces [default: none]"),
            Arg::new("ttl")
                .long("ttl")
                .default_value("1h")
                .value_parser(|given: &str| {
                    text::duration(given)
                        .filter(|ttl| ttl.as_secs() > 0)
                        .ok_or("give a duration of at least a second, such as 1h")
                })
                .help("How long it is valid"),
        ])
        .next_line_help(true)
        .args(arguments(&[
            &config::JWT_SECRET,
            &config::DATA_DIR,
            &config::DATABASE_URL,
            &config::JWT_AUDIENCE,
            &config::JWT_ISSUER,
            &config::JWT_USER_CLAIM,
            &config::JWT_SCOPE_CLAIM,
        ]))
        .subcommand_negates_reqs(true)
        .args_conflicts_with_subcommands(true)
        .subcommand(token_check::command().args(arguments(&[
            &config::JWT_SECRET,
            &config::JWT_PUBLIC_KEY,
            &config::JWT_JWKS_URL,
            &config::DATA_DIR,
            &config::DATABASE_URL,
            &config::JWT_AUDIENCE,
            &config::JWT_ISSUER,
            &config::JWT_USER_CLAIM,
            &config::JWT_SCOPE_CLAIM,
            &config::JWT_LEEWAY,
        ])));
    Command::new("draftwire")
        .about("A realtime sync server: every change reaches every device, all, once, in order")
        .after_help("Without a command, a node is started (serve). Its settings: draftwire serve --help")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .subcommand(
            Command::new("serve")
                .about("Start a node (the default)")
                .next_line_help(true)
                .after_help("A flag wins over its environment variable. Durations need a unit (500ms, 25s, 5m, 1h), sizes may have one (64KiB, 1MiB).")
                .args(config::declared().map(|(title, setting)| argument(title, setting)))
                .arg(
                    Arg::new(ENVIRONMENT_ONLY)
                        .long(ENVIRONMENT_ONLY)
                        .action(ArgAction::SetTrue)
                        .help("Keep to flags and environment, whatever was changed with draftwire settings"),
                ),
        )
        .subcommand(configuration::command())
        .subcommand(token)
        .subcommand(
            Command::new("migrate")
                .about("Bring the schema of DATABASE_URL up to date, and end")
                .args(arguments(&[&config::DATABASE_URL, &config::DATABASE_SCHEMA])),
        )
        .subcommand(
            Command::new("healthcheck")
                .about("Ask the node on this machine whether it is ready; ends with 0 if so, else with 1")
                .args(arguments(&[&config::LISTEN_ADDR])),
        )
        .subcommand(profile::command())
        .subcommand(doctor::command().args(config::declared().map(|(title, setting)| argument(title, setting))))
        .subcommands(client::commands())
}

/// The flags of these settings, and of the files that may hold them.
fn arguments(settings: &[&dyn Declared]) -> Vec<Arg> {
    let files = settings.iter().filter_map(|setting| setting.file()).map(|file| file.env());
    let envs: Vec<&str> = settings.iter().map(|setting| setting.env()).chain(files).collect();
    config::declared()
        .filter(|(_, setting)| envs.contains(&setting.env()))
        .map(|(title, setting)| argument(title, setting))
        .collect()
}

#[cfg(test)]
mod tests;
