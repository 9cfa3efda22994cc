//! Settings that operators change while the nodes run.
//!
//! The store has the changes, in one order, and the stream `control` tells every node to read them again: with Redis
//! within a moment, without within the sweep's interval. A node reads them when it starts, before it takes
//! connections, after each of these events, and whenever events of that stream may be gone. So it never depends on
//! having seen every event, and what a newer node has changed is kept although this one does not know it.

mod admin;
mod view;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use common::ids::NodeId;
use fanout::{Hub, supervise::catch_panic};
use metrics::gauge;
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::sleep,
};
use tracing::{info, warn};

pub(crate) use self::{
    admin::{Asker, Refused},
    view::{SettingView, SettingsView},
};
use crate::{
    config::{By, Change, Changeable, Config, ConfigErrors, Declared, Given, Live, Overlay, declared},
    store::{Limits, Store, StoreError, settings::SettingChange},
};

/// The pause before the store is asked again that did not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Gives parts of the node what they do not look up themselves.
pub(crate) type OnChange = Box<dyn Fn(&Changeable) + Send + Sync>;

/// The settings of a node that were changed at run time. Dropping it ends its task.
pub struct RuntimeSettings {
    /// What the node was started with; a log level from a file may be read again.
    given: Mutex<Given>,
    node: NodeId,
    /// Whether changes are kept and shown, but not applied.
    ignored: bool,
    live: Arc<Live>,
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    on_change: OnChange,
    state: Mutex<State>,
    /// Held while the store is read and its answer applied, so that no older answer follows a newer one.
    turn: tokio::sync::Mutex<()>,
    wake: Notify,
    loaded: watch::Sender<bool>,
    task: Mutex<Option<AbortHandle>>,
}

/// What this node has applied.
#[derive(Default)]
struct State {
    /// The last change of each setting, in the order of their versions.
    changes: Vec<SettingChange>,
    /// Settings that do not go together with what this node was started with, and why.
    refused: Vec<(String, String)>,
}

impl RuntimeSettings {
    /// Starts to follow the changes. They are read once `followed` is true: no later change is missed then.
    pub(crate) fn start(
        settings: &Config,
        live: Arc<Live>,
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        on_change: OnChange,
    ) -> Arc<Self> {
        Arc::new(Self {
            given: Mutex::new(settings.given.clone()),
            node: settings.listen.node.clone(),
            ignored: settings.ignores_run_time,
            live,
            store,
            hub,
            on_change,
            state: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            wake: Notify::new(),
            loaded: watch::Sender::new(false),
            task: Mutex::default(),
        })
    }

    /// Begins to read the changes: once the control stream is followed, so that none is missed, and from then on
    /// whenever [`Self::reread`] is called.
    pub(crate) fn follow(self: &Arc<Self>, mut followed: watch::Receiver<bool>) {
        let settings = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            if followed.wait_for(|followed| *followed).await.is_err() {
                return;
            }
            while let Some(settings) = Weak::upgrade(&settings) {
                match catch_panic("settings", settings.load()).await {
                    Ok(Ok(())) => settings.wake.notified().await,
                    Ok(Err(error)) => {
                        warn!(%error, "the settings that were changed at run time cannot be read; trying again");
                        sleep(RETRY).await;
                    }
                    Err(_) => sleep(RETRY).await,
                }
            }
        });
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task.abort_handle());
    }

    /// Has the changes read again.
    pub(crate) fn reread(&self) {
        self.wake.notify_one();
    }

    /// Whether the changes are applied: true for good once they were.
    pub(crate) fn loaded(&self) -> watch::Receiver<bool> {
        self.loaded.subscribe()
    }

    /// The version of the settings that this node uses; zero while none was changed at run time.
    pub(crate) fn version(&self) -> u64 {
        version_of(&self.state().changes)
    }

    /// Ends the task.
    pub(crate) fn stop(&self) {
        if let Some(task) = self.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }

    /// Reads the changes and applies them.
    ///
    /// # Errors
    /// When the store does not answer. What was applied stays.
    pub(crate) async fn load(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let changes = self.store.settings().await?;
        let (before, cache_before) = (limits(&self.live.node()), self.live.node().state_cache_bytes_max);
        self.apply(changes);
        let now = limits(&self.live.node());
        let cache_now = self.live.node().state_cache_bytes_max;
        if cache_before != cache_now {
            self.store.set_state_cache_bytes(cache_now);
        }
        if before != now {
            self.store.set_limits(now).await?;
        }
        self.loaded.send_replace(true);
        Ok(())
    }

    /// Takes the log level from its file again, where nothing that was changed at run time wins over it.
    pub(crate) fn reread_given(&self, given: &Given, name: &'static str) {
        self.given().reread(given, name);
        let changes = self.state().changes.clone();
        self.apply(changes);
    }

    fn apply(&self, changes: Vec<SettingChange>) {
        let given = self.given().clone();
        let overlays: Vec<Overlay> =
            if self.ignored { Vec::new() } else { changes.iter().filter_map(overlay).collect() };
        let refused = self.apply_overlays(&given, &overlays);
        let before = std::mem::replace(&mut *self.state(), State { changes, refused });
        (self.on_change)(&self.live.node());
        self.report(&before);
    }

    /// Applies what can be. Of settings that do not go together here, those that were changed first hold.
    fn apply_overlays(&self, given: &Given, overlays: &[Overlay]) -> Vec<(String, String)> {
        if self.live.apply(given, overlays, &self.node).is_ok() {
            return Vec::new();
        }
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        for overlay in overlays {
            taken.push(overlay.clone());
            if let Err(errors) = self.live.apply(given, &taken, &self.node) {
                taken.pop();
                refused.push((overlay.name.to_owned(), sentences(&errors)));
            }
        }
        // The last attempt may have failed, and the one before may be from an earlier state.
        if let Err(errors) = self.live.apply(given, &taken, &self.node) {
            warn!(%errors, "settings that were changed at run time cannot be applied");
        }
        refused
    }

    /// Says what has changed, and brings the gauges up to date.
    fn report(&self, before: &State) {
        let state = self.state();
        let news = state.changes.iter().filter(|change| !before.changes.contains(change));
        for change in news {
            let is_known = setting(&change.name).is_some();
            let outcome = match (self.ignored, is_known) {
                (true, _) => "ignored: this node was started with --settings-from-environment-only",
                (_, false) => "unknown to this version",
                (false, true) => "applied",
            };
            info!(
                version = change.version,
                setting = change.name,
                value = change.value.as_deref().unwrap_or("(as started)"),
                percent = change.percent,
                by = change.by,
                who = %change.who,
                reason = change.reason.as_deref().unwrap_or_default(),
                outcome,
                "a setting was changed at run time"
            );
        }
        for (name, sentence) in &state.refused {
            if !before.refused.iter().any(|(before, _)| before == name) {
                warn!(
                    setting = name,
                    reason = sentence,
                    "a setting that was changed at run time does not hold on this node"
                );
            }
        }
        let changed = state.changes.iter().filter(|change| change.value.is_some()).count();
        #[allow(clippy::cast_precision_loss)]
        {
            gauge!("draftwire_settings_version").set(version_of(&state.changes) as f64);
            gauge!("draftwire_settings_changed").set(changed as f64);
            gauge!("draftwire_settings_refused").set(state.refused.len() as f64);
        }
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for RuntimeSettings {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The number of the last change.
fn version_of(changes: &[SettingChange]) -> u64 {
    changes.last().map_or(0, |change| change.version)
}

/// The setting of a name, if this version has it.
fn setting(name: &str) -> Option<&'static dyn Declared> {
    declared().map(|(_, setting)| setting).find(|setting| setting.env() == name)
}

/// What a change means here; `None` where this version cannot apply it, or nothing is changed any more.
fn overlay(change: &SettingChange) -> Option<Overlay> {
    let setting = setting(&change.name).filter(|setting| setting.change() != Change::Restart)?;
    Some(Overlay {
        name: setting.env(),
        value: change.value.clone()?,
        otherwise: change.otherwise.clone(),
        percent: change.percent.min(100),
        by: By::ALL.into_iter().find(|by| by.as_str() == change.by)?,
    })
}

fn sentences(errors: &ConfigErrors) -> String {
    errors.0.join("; ")
}

/// What the store may be given to keep.
fn limits(settings: &Changeable) -> Limits {
    Limits {
        drafts_per_user_max: settings.writes.drafts_per_user_max,
        draft_bytes_max: settings.writes.draft_bytes_max,
        event_bytes_max: settings.writes.event_bytes_max,
    }
}
