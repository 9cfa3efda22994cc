//! Commands on a running server: publishing, following topics, drafts, settings, and what operators ask.

mod admin;
mod drafts;
mod failure;
mod input;
mod interrupt;
mod operators;
mod output;
mod publish;
mod request;
mod server;
mod settings;
mod subscribe;

use std::process::ExitCode;

use clap::{ArgMatches, Command};

use self::{failure::Failure, output::Output, server::Server};

/// A command on a server.
#[derive(Debug)]
pub struct ClientCommand {
    server: Server,
    action: Action,
}

#[derive(Debug)]
enum Action {
    Publish(publish::Options),
    Subscribe(subscribe::Options),
    Drafts(drafts::Action),
    Settings(settings::Options),
    Operators(operators::Question),
}

/// Why the arguments make no sense; a sentence.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ArgumentError(Failure);

/// The commands.
pub(super) fn commands() -> Vec<Command> {
    let of_server = || server::arguments().map(|argument| argument.global(true));
    let first = [publish::command(), subscribe::command(), drafts::command(), settings::command()];
    let all = first.into_iter().chain(operators::commands());
    all.map(|command| command.args(of_server()).next_line_help(true)).collect()
}

/// Reads the arguments of one of them.
pub(super) fn read(
    name: &str,
    matches: &ArgMatches,
    env: impl Fn(&str) -> Option<String>,
) -> Result<ClientCommand, ArgumentError> {
    let read = || {
        let server = Server::read(matches, env)?;
        let action = match name {
            "publish" => Action::Publish(publish::Options::read(matches)?),
            "settings" => Action::Settings(settings::Options::read(matches)?),
            "subscribe" => Action::Subscribe(subscribe::Options::read(matches)?),
            "drafts" => Action::Drafts(drafts::Action::read(matches)),
            name => Action::Operators(operators::Question::read(name, matches)),
        };
        Ok(ClientCommand { server, action })
    };
    read().map_err(ArgumentError)
}

impl ClientCommand {
    /// Does it. Says on the standard error what goes wrong, and returns how the process ends.
    pub async fn run(self) -> ExitCode {
        let Self { server, action } = self;
        let output = Output::start();
        let done = match action {
            Action::Publish(options) => publish::run(&server, options, &output).await,
            Action::Subscribe(options) => subscribe::run(&server, options, &output).await,
            Action::Drafts(action) => drafts::run(&server, action, &output).await,
            Action::Settings(options) => settings::run(&server, options, &output).await,
            Action::Operators(question) => operators::run(&server, question, &output).await,
        };
        let Err(failure) = done else { return ExitCode::SUCCESS };
        if let Some(message) = failure.message() {
            eprintln!("draftwire: {message}");
        }
        ExitCode::from(failure.exit_code())
    }
}
