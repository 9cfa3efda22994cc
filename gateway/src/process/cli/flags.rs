//! The flags of settings.

use clap::{Arg, ArgMatches};

use crate::config::Declared;

/// The flag of a setting, under this heading.
pub(super) fn argument(title: &'static str, setting: &dyn Declared) -> Arg {
    let (env, help, rule, default) =
        (setting.env(), setting.help(), setting.rule(), setting.default().text());
    let rule = if rule.is_empty() { rule } else { format!(" [takes: {rule}]") };
    Arg::new(env)
        .long(setting.flag())
        .value_name("VALUE")
        .help(format!("{help}\n[env: {env}] [default: {default}]{rule}"))
        .help_heading(title)
}

/// What a flag says; `None` also for settings that this command has no flag for.
pub(super) fn flag(matches: &ArgMatches, env: &str) -> Option<String> {
    matches.try_get_one::<String>(env).ok().flatten().cloned()
}
