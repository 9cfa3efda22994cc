//! `draftwire settings`: what operators change while the nodes run.

use clap::{Arg, ArgAction, ArgMatches, Command};
use common::text::printable;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::{
    admin::AdminClient,
    failure::{EXIT_CODES, Failure},
    output::Output,
    server::Server,
};

/// What to do with them.
#[derive(Debug)]
pub(super) struct Options {
    action: Action,
    /// Print what the server says, a JSON object a line.
    json: bool,
}

#[derive(Debug)]
enum Action {
    Set { name: String, value: String, percent: Option<u8>, by: Option<String>, reason: Option<String> },
    Unset { name: String, reason: Option<String> },
    List { changed: bool },
    History { name: Option<String>, limit: u32 },
    Undo { name: Option<String> },
}

/// The command line.
pub(super) fn command() -> Command {
    let reason =
        || Arg::new("reason").long("reason").value_name("TEXT").help("Why, for the history and the log");
    let name = |help: &'static str| Arg::new("name").value_name("NAME").help(help);
    Command::new("settings")
        .about("Change settings of all nodes while they run; needs a token with the scope admin")
        .after_help(format!(
            "\
Examples:
  draftwire settings set DEFLATE=false --percent 25 --by user --reason 'compression under suspicion'
  draftwire settings unset DEFLATE
  draftwire settings list --changed
  draftwire settings undo

docs/config.md says which settings can change at run time.

{EXIT_CODES}"
        ))
        .subcommand_required(true)
        .arg(
            Arg::new("json")
                .long("json")
                .global(true)
                .action(ArgAction::SetTrue)
                .help("Print JSON objects, one a line"),
        )
        .subcommands([
            Command::new("set").about("Change a setting, for all or for a part").args([
                Arg::new("setting")
                    .value_name("NAME=VALUE")
                    .required(true)
                    .help("The setting, by its environment variable, and its value as in the environment"),
                Arg::new("percent")
                    .long("percent")
                    .value_name("NUMBER")
                    .value_parser(clap::value_parser!(u8).range(0..=100))
                    .help("The part that gets it [default: 100]; raising it moves nobody back"),
                Arg::new("by")
                    .long("by")
                    .value_name("UNIT")
                    .value_parser(["user", "connection", "node"])
                    .help("What it is a part of [default: user; node for settings of whole nodes]"),
                reason(),
            ]),
            Command::new("unset")
                .about("Set a setting back to what each node was started with")
                .args([name("The setting").required(true), reason()]),
            Command::new("list").about("Print the settings as they are on the node that answers").arg(
                Arg::new("changed")
                    .long("changed")
                    .action(ArgAction::SetTrue)
                    .help("Those alone that were changed at run time"),
            ),
            Command::new("history").about("Print what was changed, the newest first").args([
                name("The changes of this setting alone"),
                Arg::new("limit")
                    .long("limit")
                    .value_name("NUMBER")
                    .default_value("20")
                    .value_parser(clap::value_parser!(u32).range(1..=1000))
                    .help("How many"),
            ]),
            Command::new("undo")
                .about(
                    "Take the last change back, of all settings or of one; a second time, it is made again",
                )
                .arg(name("The setting [default: the one that was changed last]")),
        ])
}

impl Options {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let (command, matches) = matches.subcommand().expect("clap demands one");
        let text = |name: &str| matches.get_one::<String>(name).cloned();
        let name = || text("name").expect("it is required");
        let action = match command {
            "set" => {
                let setting = text("setting").expect("it is required");
                let Some((name, value)) = setting.split_once('=') else {
                    return Err(Failure::Usage("give the setting as NAME=VALUE".to_owned()));
                };
                Action::Set {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    percent: matches.get_one("percent").copied(),
                    by: text("by"),
                    reason: text("reason"),
                }
            }
            "unset" => Action::Unset { name: name(), reason: text("reason") },
            "list" => Action::List { changed: matches.get_flag("changed") },
            "history" => Action::History {
                name: text("name"),
                limit: *matches.get_one("limit").expect("it has a default"),
            },
            _ => Action::Undo { name: text("name") },
        };
        Ok(Self { action, json: matches.get_flag("json") })
    }
}

/// Does it.
pub(super) async fn run(server: &Server, options: Options, output: &Output) -> Result<(), Failure> {
    let settings = Settings { client: AdminClient::new(server)?, server };
    let show = |value: &Value, line: fn(&Value) -> String| match options.json {
        true => format!("{value}\n"),
        false => line(value) + "\n",
    };
    match options.action {
        Action::Set { name, value, percent, by, reason } => {
            let body = json!({ "value": value, "percent": percent, "by": by, "reason": reason });
            let set = settings.set(&name, None, &body).await?;
            output.write(show(&set, setting_line)).await
        }
        Action::Unset { name, reason } => {
            let unset = settings.unset(&name, None, reason.as_deref()).await?;
            output.write(show(&unset, setting_line)).await
        }
        Action::List { changed } => {
            let list = settings.client.request(Method::GET, settings.url(&[]), None, None).await?;
            let is_wanted = |setting: &&Value| !changed || setting.get("percent").is_some();
            let lines = items(&list, "settings").iter().filter(is_wanted);
            output.write(lines.map(|setting| show(setting, setting_line)).collect()).await
        }
        Action::History { name, limit } => {
            let changes = settings.history(name.as_deref(), None, limit).await?;
            output.write(changes.iter().map(|change| show(change, change_line)).collect()).await
        }
        Action::Undo { name } => {
            let undone = settings.undo(name.as_deref()).await?;
            output.write(show(&undone, setting_line)).await
        }
    }
}

/// The settings of a server.
struct Settings<'a> {
    client: AdminClient<'a>,
    server: &'a Server,
}

impl Settings<'_> {
    fn url(&self, below: &[&str]) -> Url {
        self.server.plain_url(&[&["v1", "admin", "settings"], below].concat())
    }

    async fn set(&self, name: &str, version: Option<u64>, body: &Value) -> Result<Value, Failure> {
        self.client.request(Method::PUT, self.url(&[name]), version, Some(body)).await
    }

    async fn unset(&self, name: &str, version: Option<u64>, reason: Option<&str>) -> Result<Value, Failure> {
        let mut url = self.url(&[name]);
        if let Some(reason) = reason {
            url.query_pairs_mut().append_pair("reason", reason);
        }
        self.client.request(Method::DELETE, url, version, None).await
    }

    async fn history(
        &self,
        name: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Value>, Failure> {
        let mut url = self.url(&["history"]);
        url.query_pairs_mut().append_pair("limit", &limit.to_string());
        if let Some(name) = name {
            url.query_pairs_mut().append_pair("name", name);
        }
        if let Some(before) = before {
            url.query_pairs_mut().append_pair("before", &before.to_string());
        }
        let history = self.client.request(Method::GET, url, None, None).await?;
        Ok(items(&history, "changes").to_vec())
    }

    /// Makes the last change but one hold again. Where somebody changes the setting meanwhile, nothing is done.
    async fn undo(&self, name: Option<&str>) -> Result<Value, Failure> {
        let last = self.history(name, None, 1).await?;
        let last = last.first().ok_or_else(|| {
            let what = name.map_or_else(|| "no setting".to_owned(), |name| format!("{name} never"));
            Failure::refused("not_found", format!("{what} was changed at run time"))
        })?;
        let (name, version) = (text(last, "name"), last["version"].as_u64());
        let before = self.history(Some(name), version, 1).await?;
        let reason = format!("takes back change {}", version.unwrap_or_default());
        match before.first().filter(|before| before["value"].is_string()) {
            Some(before) => {
                let (value, percent, by) = (&before["value"], &before["percent"], &before["by"]);
                // Empty stands for what the nodes were started with.
                let otherwise = before["otherwise"].as_str().unwrap_or_default();
                let body = json!({
                    "value": value, "otherwise": otherwise, "percent": percent, "by": by, "reason": reason,
                });
                self.set(name, version, &body).await
            }
            None => self.unset(name, version, Some(&reason)).await,
        }
    }
}

fn items<'a>(answer: &'a Value, name: &str) -> &'a [Value] {
    answer[name].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// A setting, for people.
fn setting_line(setting: &Value) -> String {
    let mut line = match setting["value"].as_str() {
        Some(value) => {
            format!("{}={}  [{}", text(setting, "name"), printable(value), text(setting, "source"))
        }
        None => format!("{}  [{}", text(setting, "name"), text(setting, "source")),
    };
    line += &part(setting);
    if text(setting, "state") != "applied" {
        line += &format!("; {} on this node", text(setting, "state"));
    }
    line + "]" + &who(setting)
}

/// A change, for people.
fn change_line(change: &Value) -> String {
    let value = change["value"].as_str().map_or("(as started)".to_owned(), printable);
    let part = part(change);
    let part = part.strip_prefix("; ").map(|part| format!("  [{part}]")).unwrap_or_default();
    format!("{}={value}{part}{}", text(change, "name"), who(change))
}

/// For whom a value holds, where that is a part.
fn part(value: &Value) -> String {
    match value["percent"].as_u64() {
        Some(percent) if percent < 100 => {
            let otherwise = value["otherwise"].as_str().map_or("as started".to_owned(), printable);
            format!("; {percent} % by {}, otherwise {otherwise}", text(value, "by"))
        }
        _ => String::new(),
    }
}

/// Who made a change, and why.
fn who(value: &Value) -> String {
    if value["who"].is_null() {
        return String::new();
    }
    let reason =
        value["reason"].as_str().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
    let at = value["at"].as_u64().unwrap_or_default();
    let when = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_millis(at));
    format!("  change {} by {}, {when}{reason}", value["version"], printable(text(value, "who")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_for_people_and_for_terminals() {
        let change = json!({
            "version": 3, "name": "DEFLATE", "value": "false", "otherwise": null, "percent": 25, "by": "user",
            "reason": "\u{1b}[2J", "who": "operator", "at": 0,
        });
        let line = change_line(&change);
        assert!(
            line.starts_with(
                "DEFLATE=false  [25 % by user, otherwise as started]  change 3 by operator, Thu"
            )
        );
        assert!(!line.contains('\u{1b}'), "{line:?}");
        let setting = json!({
            "name": "LINGER", "value": "9s", "source": "flag", "state": "refused", "version": 0,
        });
        assert_eq!(setting_line(&setting), "LINGER=9s  [flag; refused on this node]");
    }
}
