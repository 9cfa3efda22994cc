//! Settings as operators see them.

use common::UserId;
use serde::Serialize;

use super::{RuntimeSettings, overlay, setting, version_of};
use crate::{
    config::{Declared, Fallback, Source, declared},
    store::settings::SettingChange,
};

/// All settings.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SettingsView {
    /// The number of the last change.
    version: u64,
    /// The settings of this version, in the order of docs/config.md, and then those that it does not know.
    settings: Vec<SettingView>,
}

/// A setting.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SettingView {
    name: String,
    /// What it is, written as in the environment; of a roll-out, what the chosen part has. It is missing where it may
    /// hold a secret, and where the default depends on other settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    source: &'static str,
    /// What it is without changes at run time, of which there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    started_with: Option<String>,
    /// When nothing is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    default: Option<&'static str>,
    /// When a change takes effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'static str>,
    state: State,
    /// Why it does not hold on this node.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// The number of its last change; 0 where it was never changed at run time.
    pub(crate) version: u64,
    #[serde(flatten)]
    rollout: Option<Rollout>,
    #[serde(flatten)]
    change: Option<LastChange>,
}

/// For whom a setting that was changed at run time holds.
#[derive(Debug, Serialize)]
struct Rollout {
    percent: u8,
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    otherwise: Option<String>,
}

/// Who changed it last.
#[derive(Debug, Serialize)]
struct LastChange {
    who: UserId,
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Whether this node does what is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// It does.
    Applied,
    /// It does not know the setting: a newer node does.
    Unknown,
    /// The value does not go together with what this node was started with.
    Refused,
    /// It was started with `--settings-from-environment-only`.
    Ignored,
}

impl RuntimeSettings {
    pub(super) fn view_all(&self, changes: &[SettingChange]) -> SettingsView {
        let known = declared().map(|(_, setting)| setting.env());
        let unknown = changes.iter().filter(|change| change.value.is_some());
        let unknown = unknown.map(|change| change.name.as_str()).filter(|name| setting(name).is_none());
        let settings = known.chain(unknown).filter_map(|name| self.view(name, changes)).collect();
        SettingsView { version: version_of(changes), settings }
    }

    /// A setting, by the last change of each; `None` for one that nobody knows.
    pub(super) fn view(&self, name: &str, changes: &[SettingChange]) -> Option<SettingView> {
        let (setting, last) = (setting(name), changes.iter().find(|change| change.name == name));
        if setting.is_none() && last.is_none() {
            return None;
        }
        let changed = last.filter(|change| change.value.is_some());
        let given = self.given();
        let default = setting.map(Declared::default);
        let started_with = given.text(name).map(str::to_owned).or_else(|| match default {
            Some(Fallback::Value(text)) if given.source(name) == Source::Default => Some(text.to_owned()),
            _ => None,
        });
        let refused =
            self.state().refused.iter().find(|(refused, _)| refused == name).map(|(_, why)| why.clone());
        let state = match changed {
            Some(_) if self.ignored => State::Ignored,
            Some(change) if overlay(change).is_none() => State::Unknown,
            Some(_) if refused.is_some() => State::Refused,
            None if setting.is_none() => State::Unknown,
            _ => State::Applied,
        };
        let is_changed = changed.is_some() && state == State::Applied;
        let source = if is_changed || setting.is_none() { Source::RunTime } else { given.source(name) };
        Some(SettingView {
            name: name.to_owned(),
            value: changed.and_then(|change| change.value.clone()).or_else(|| started_with.clone()),
            source: source.as_str(),
            started_with: changed.and(started_with),
            default: default.map(Fallback::text),
            changes: setting.map(|setting| setting.change().as_str()),
            state,
            problem: refused,
            version: last.map_or(0, |change| change.version),
            rollout: changed.map(|change| Rollout {
                percent: change.percent,
                by: change.by.clone(),
                otherwise: change.otherwise.clone(),
            }),
            change: last.map(|change| LastChange {
                who: change.who.clone(),
                at: change.at,
                reason: change.reason.clone(),
            }),
        })
    }
}
