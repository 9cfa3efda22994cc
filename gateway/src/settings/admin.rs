//! What operators do with settings.

use common::{
    DeviceId, Priority, UserId,
    event::EventKind,
    json::{DEPTH_MAX, Field as _, Fields, Invalid},
    protocol::{Data, NewEvent},
    time::unix_ms,
};

use super::{RuntimeSettings, SettingView, SettingsView, overlay, sentences, setting, version_of};
use crate::{
    config::{By, Change, Declared, ROLLOUTS_MAX, checked_text, validate_overlays},
    control::{SETTING_CHANGED, SETTING_UNSET},
    store::{
        StoreError,
        settings::{NewSettingChange, SettingChange},
    },
};

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 512;

/// The longest value, in bytes.
const VALUE_BYTES_MAX: usize = 4096;

/// Who asks for a change.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// The operator.
    pub(crate) user: UserId,
    /// The origin of the event.
    pub(crate) device: DeviceId,
}

/// Why nothing was changed.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is no such setting.
    NotFound,
    /// The setting is at another version.
    Version(u64),
    /// What is asked for makes no sense.
    Invalid(Invalid),
    /// The store did not answer.
    Store(StoreError),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Invalid> for Refused {
    fn from(error: Invalid) -> Self {
        Self::Invalid(error)
    }
}

/// What a setting is to be.
struct Wanted {
    setting: &'static dyn Declared,
    value: String,
    /// What the others have: what the nodes were started with, or a value. `None` where that follows from before.
    otherwise: Option<Option<String>>,
    percent: u8,
    by: By,
    reason: Option<String>,
}

impl Wanted {
    /// Reads `{value, otherwise?, percent?, by?, guard?, reason?}`.
    fn read(setting: &'static dyn Declared, body: &str) -> Result<Self, Invalid> {
        let fields =
            Fields::of(body, &["value", "otherwise", "percent", "by", "guard", "reason"], DEPTH_MAX)?;
        let checked = |field: &'static str, text: String| {
            if text.len() > VALUE_BYTES_MAX {
                return Err(Invalid::new(format!("must be at most {VALUE_BYTES_MAX} bytes")).within(field));
            }
            checked_text(setting, &text).map_err(|wrong| Invalid::new(wrong).within(field))
        };
        let value = checked("value", fields.required("value")?)?;
        let otherwise = fields.optional::<String>("otherwise")?;
        let otherwise = otherwise.map(|text| checked("otherwise", text)).transpose()?;
        let otherwise = otherwise.map(|text| Some(text).filter(|text| !text.is_empty()));
        if value.is_empty() {
            let wrong = "must not be empty; DELETE sets a setting back to what the nodes were started with";
            return Err(Invalid::new(wrong).within("value"));
        }
        let percent = fields.optional::<u64>("percent")?.unwrap_or(100);
        let percent = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
        let percent = percent.ok_or_else(|| Invalid::new("must be 0 to 100").within("percent"))?;
        let is_of_node = setting.change() == Change::Node;
        let by = match fields.optional::<String>("by")? {
            None if is_of_node => By::Node,
            None => By::User,
            Some(word) => By::ALL
                .into_iter()
                .find(|by| by.as_str() == word)
                .ok_or_else(|| Invalid::new("must be user, connection or node").within("by"))?,
        };
        if is_of_node && by != By::Node {
            let wrong = format!("must be node: {} holds for a node as a whole", setting.env());
            return Err(Invalid::new(wrong).within("by"));
        }
        if fields.optional::<bool>("guard")? == Some(true) {
            let wrong = "must be false: no roll-out is taken back by itself in this version";
            return Err(Invalid::new(wrong).within("guard"));
        }
        let reason: Option<String> = fields.optional("reason")?;
        check_reason(reason.as_deref())?;
        Ok(Self { setting, value, otherwise, percent, by, reason })
    }
}

impl RuntimeSettings {
    /// Returns all settings: those of this version, and those that a newer node has changed.
    pub(crate) async fn list(&self) -> Result<SettingsView, Refused> {
        let changes = self.store.settings().await?;
        Ok(self.view_all(&changes))
    }

    /// Returns a setting.
    pub(crate) async fn get(&self, name: &str) -> Result<SettingView, Refused> {
        let changes = self.store.settings().await?;
        self.view(name, &changes).ok_or(Refused::NotFound)
    }

    /// Returns the changes of one setting or of all before a version, the newest first.
    pub(crate) async fn history(
        &self,
        name: Option<&str>,
        before: u64,
        changes_max: u32,
    ) -> Result<Vec<SettingChange>, Refused> {
        Ok(self.store.settings_history(name, before, changes_max).await?)
    }

    /// Changes a setting that is at one of these versions, or at any.
    pub(crate) async fn set(
        &self,
        name: &str,
        versions: Option<&[u64]>,
        body: &str,
        asker: Asker,
    ) -> Result<SettingView, Refused> {
        let setting = setting(name).ok_or(Refused::NotFound)?;
        if setting.change() == Change::Restart {
            let wrong = format!("{name} needs a restart: set it where the nodes are started");
            return Err(Refused::Invalid(Invalid::new(wrong)));
        }
        let wanted = Wanted::read(setting, body)?;
        let change = |before: Option<&SettingChange>| SettingChange {
            version: 0,
            name: name.to_owned(),
            otherwise: wanted.otherwise.clone().unwrap_or_else(|| {
                let before = before?;
                // Where the part alone changes, the others get back what they had, or keep it.
                let is_same = before.value.as_ref() == Some(&wanted.value);
                if before.percent == 100 && !is_same {
                    before.value.clone()
                } else {
                    before.otherwise.clone()
                }
            }),
            value: Some(wanted.value.clone()),
            percent: wanted.percent,
            by: wanted.by.as_str().to_owned(),
            reason: wanted.reason.clone(),
            who: asker.user.clone(),
            at: unix_ms(),
        };
        self.change(wanted.setting.env(), versions, &asker, SETTING_CHANGED, &change).await
    }

    /// Sets a setting back to what each node was started with.
    pub(crate) async fn unset(
        &self,
        name: &str,
        versions: Option<&[u64]>,
        reason: Option<String>,
        asker: Asker,
    ) -> Result<SettingView, Refused> {
        check_reason(reason.as_deref())?;
        let change = |_: Option<&SettingChange>| SettingChange {
            version: 0,
            name: name.to_owned(),
            value: None,
            otherwise: None,
            percent: 100,
            by: By::Node.as_str().to_owned(),
            reason: reason.clone(),
            who: asker.user.clone(),
            at: unix_ms(),
        };
        self.change(name, versions, &asker, SETTING_UNSET, &change).await
    }

    async fn change(
        &self,
        name: &str,
        versions: Option<&[u64]>,
        asker: &Asker,
        kind: &str,
        change: &(dyn Fn(Option<&SettingChange>) -> SettingChange + Sync),
    ) -> Result<SettingView, Refused> {
        let (mut refused, mut after) = (None, Vec::new());
        let mut decide = |last: &[SettingChange]| match self.decide(name, versions, kind, change, last) {
            Ok(Some((change, event))) => {
                after = with(last, change.clone());
                Some(NewSettingChange { change, event, origin: asker.device.clone() })
            }
            Ok(None) => {
                after = last.to_vec();
                None
            }
            Err(why) => {
                refused = Some(why);
                None
            }
        };
        let changed = self.store.change_setting(&mut decide).await?;
        if let Some(refused) = refused {
            return Err(refused);
        }
        if let Some(changed) = changed {
            self.hub.committed(&changed.epoch, &[changed.event]);
            // So that whoever has changed it finds it changed here. Where it fails, it is tried again.
            if let Err(error) = self.load().await {
                tracing::warn!(%error, "a setting was changed, and cannot be read yet");
                self.reread();
            }
        }
        self.view(name, &after).ok_or(Refused::NotFound)
    }

    /// Decides on the last change of each setting. `None` where nothing would change.
    fn decide(
        &self,
        name: &str,
        versions: Option<&[u64]>,
        kind: &str,
        change: &dyn Fn(Option<&SettingChange>) -> SettingChange,
        last: &[SettingChange],
    ) -> Result<Option<(SettingChange, NewEvent)>, Refused> {
        let before = last.iter().find(|change| change.name == name);
        if before.is_none() && setting(name).is_none() {
            return Err(Refused::NotFound);
        }
        let version = before.map_or(0, |before| before.version);
        if versions.is_some_and(|versions| !versions.contains(&version)) {
            return Err(Refused::Version(version));
        }
        let before = before.filter(|before| before.value.is_some());
        let change = SettingChange { version: version_of(last) + 1, ..change(before) };
        if change.value.is_none() && before.is_none() {
            return Ok(None);
        }
        let overlays = |changes: &[SettingChange]| changes.iter().filter_map(overlay).collect::<Vec<_>>();
        let (now, then) = (overlays(last), overlays(&with(last, change.clone())));
        if then.iter().filter(|overlay| (1..100).contains(&overlay.percent)).count() > ROLLOUTS_MAX {
            let wrong = format!("{ROLLOUTS_MAX} roll-outs are under way: end one first");
            return Err(Invalid::new(wrong).within("percent").into());
        }
        let given = self.given().clone();
        // Where something does not go together already, here alone perhaps, this change is not to blame.
        if let Err(errors) = validate_overlays(&given, &then)
            && validate_overlays(&given, &now).is_ok()
        {
            return Err(Invalid::new(sentences(&errors)).into());
        }
        let text = serde_json::to_string(&change).map_err(|error| Invalid::new(error.to_string()))?;
        let event: EventKind = kind.parse().map_err(Invalid::from)?;
        let event = NewEvent { event, data: Data::read(&text)?, priority: Priority::Normal, signal: false };
        Ok(Some((change, event)))
    }
}

/// The last change of each setting after one more.
fn with(last: &[SettingChange], change: SettingChange) -> Vec<SettingChange> {
    let mut changes: Vec<_> = last.iter().filter(|before| before.name != change.name).cloned().collect();
    changes.push(change);
    changes
}

fn check_reason(reason: Option<&str>) -> Result<(), Invalid> {
    let Some(reason) = reason else { return Ok(()) };
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        let rule = format!("must be 1 to {REASON_BYTES_MAX} bytes without control characters");
        return Err(Invalid::new(rule).within("reason"));
    }
    Ok(())
}
