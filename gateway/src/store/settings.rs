//! What the store keeps of settings that were changed at run time.
//!
//! The table of changes is the truth. A change and its event on the stream `control` are one transaction: the event
//! tells all nodes to read the table again, and what retention removes of that stream is still in the table.

use std::sync::Arc;

use async_trait::async_trait;
use common::{DeviceId, Epoch, Event, Seq, Stream, UserId, protocol::NewEvent};
use serde::Serialize;

use super::{StoreError, rows};

/// Changes that are kept, besides the last one of each setting.
pub(super) const CHANGES_MAX: u32 = 1000;

/// A change of a setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SettingChange {
    /// Its number among the changes of all settings.
    pub version: u64,
    /// The setting, by its environment variable. It may be one that this version does not know.
    pub name: String,
    /// What it is since, written as in the environment; `None` where it is what the nodes were started with.
    pub value: Option<String>,
    /// What it is for those whom the roll-out leaves out; `None` stands for what the nodes were started with.
    pub otherwise: Option<String>,
    /// The part that has the value, 0 to 100.
    pub percent: u8,
    /// Of what: `user`, `connection` or `node`.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Who changed it.
    pub who: UserId,
    /// When, in Unix milliseconds by the clock of the node that was asked.
    pub at: u64,
}

/// A change that is to be made, with the event that tells the nodes.
#[derive(Debug)]
pub struct NewSettingChange {
    /// The change. Its version is one more than the last one's.
    pub change: SettingChange,
    /// The event for the stream `control`.
    pub event: NewEvent,
    /// The device that asks: the origin of the event.
    pub origin: DeviceId,
}

/// A change that was made.
#[derive(Debug)]
pub struct SettingChanged {
    /// The change.
    pub change: SettingChange,
    /// The history in which the event is numbered.
    pub epoch: Epoch,
    /// The event, committed.
    pub event: Arc<Event>,
}

/// Decides on the last change of each setting, in the order of their versions. `None` changes nothing.
pub type Decide<'a> = &'a mut (dyn FnMut(&[SettingChange]) -> Option<NewSettingChange> + Send);

/// Where settings are kept that were changed at run time.
#[async_trait]
pub trait SettingsStore: Send + Sync {
    /// The last change of each setting, in the order of their versions.
    async fn settings(&self) -> Result<Vec<SettingChange>, StoreError>;

    /// The changes of one setting or of all before a version, the newest first.
    async fn settings_history(
        &self,
        name: Option<&str>,
        before: u64,
        changes_max: u32,
    ) -> Result<Vec<SettingChange>, StoreError>;

    /// Makes a change and appends its event to the stream `control`, in one transaction. Of calls on all nodes each
    /// decides on what the one before has left. `decide` may be called before the call fails.
    async fn change_setting(&self, decide: Decide<'_>) -> Result<Option<SettingChanged>, StoreError>;
}

/// A row of the table.
#[derive(sqlx::FromRow)]
pub(super) struct ChangeRow {
    version: i64,
    name: String,
    value: Option<String>,
    otherwise: Option<String>,
    percent: i64,
    unit: String,
    reason: Option<String>,
    changed_by: String,
    changed_at: i64,
}

impl ChangeRow {
    pub(super) fn read(self) -> Result<SettingChange, StoreError> {
        let place = format!("the change of {}", self.name);
        let damaged = |what: &str| StoreError::Failed(format!("{place} has {what} that makes no sense"));
        Ok(SettingChange {
            version: rows::unsigned("the version", &place, self.version)?,
            percent: u8::try_from(self.percent).map_err(|_| damaged("a percentage"))?,
            who: self.changed_by.parse().map_err(|_| damaged("a user"))?,
            at: rows::unsigned("the time", &place, self.changed_at)?,
            name: self.name,
            value: self.value,
            otherwise: self.otherwise,
            by: self.unit,
            reason: self.reason,
        })
    }
}

/// The event of a change, once its number is known.
pub(super) fn event_of(new: &NewSettingChange, seq: u64) -> Event {
    let NewSettingChange { change, event, origin } = new;
    let data = event.data.clone().into_raw();
    Event::new(Stream::Control, Seq(seq), event.event.clone(), origin.clone(), change.at, data)
}
