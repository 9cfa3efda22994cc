//! A store that is down, or slow, when a test wants it so.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use common::{DraftId, Stream, UserId, protocol::Draft};
use fanout::log::{Heads, Log, LogError, Page, Read};
use gateway::store::{
    Committed, DraftList, DraftOp, History, Lock, Op, Refusal, RetentionStore, SettingsStore, Store,
    StoreError, Write,
    occupancy::{Asked, Noted, OccupancyLease, OccupancyStore},
    settings::{Decide, SettingChange, SettingChanged},
    webhooks::{NameRange, WebhookStore},
};
use tokio::sync::watch;

use crate::harness::Disk;

/// How the outcome of a call is lost that was carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It fails.
    Answer,
    /// It panics.
    Caller,
}

/// Passes everything on to a real store, unless told otherwise.
pub(crate) struct FailingStore {
    store: Arc<dyn Store>,
    down: AtomicBool,
    panics: AtomicBool,
    panicked: AtomicUsize,
    locked: AtomicBool,
    lists_hang: AtomicBool,
    rejects: AtomicBool,
    lost: Mutex<Option<Lost>>,
    /// What decides about the next commit while they fail by chance; zero while they do not.
    chance: AtomicU64,
    held: watch::Sender<bool>,
    batches: Mutex<Vec<usize>>,
    lists: AtomicUsize,
}

impl FailingStore {
    pub(crate) fn over(disk: &Disk) -> Arc<Self> {
        Arc::new(Self {
            store: disk.store.clone(),
            down: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            panicked: AtomicUsize::new(0),
            locked: AtomicBool::new(false),
            lists_hang: AtomicBool::new(false),
            rejects: AtomicBool::new(false),
            lost: Mutex::default(),
            chance: AtomicU64::new(0),
            held: watch::Sender::new(false),
            batches: Mutex::default(),
            lists: AtomicUsize::new(0),
        })
    }

    /// While down, every call fails at once.
    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::Release);
    }

    /// While it panics, every call does.
    pub(crate) fn set_panics(&self, panics: bool) {
        self.panics.store(panics, Ordering::Release);
    }

    /// How many calls have panicked.
    pub(crate) fn panicked(&self) -> usize {
        self.panicked.load(Ordering::Acquire)
    }

    /// While it is locked, another transaction holds every stream, as commits see it.
    pub(crate) fn set_locked(&self, locked: bool) {
        self.locked.store(locked, Ordering::Release);
    }

    /// While these hang, lists of drafts are never answered.
    pub(crate) fn set_lists_hang(&self, hang: bool) {
        self.lists_hang.store(hang, Ordering::Release);
    }

    /// How many lists of drafts it was asked for.
    pub(crate) fn lists(&self) -> usize {
        self.lists.load(Ordering::Acquire)
    }

    /// While it rejects, it cannot keep drafts with the content `{"poison": true}`, and fails at those with
    /// `{"damaged": true}`.
    pub(crate) fn set_rejects(&self, rejects: bool) {
        self.rejects.store(rejects, Ordering::Release);
    }

    /// Lets commits fail by chance, as the seed has it: an eighth without effect, an eighth although they
    /// were carried out. Zero ends it.
    pub(crate) fn set_chance(&self, seed: u64) {
        self.chance.store(seed, Ordering::Release);
    }

    /// While they are lost, the outcomes of writing who attends are.
    pub(crate) fn set_lost(&self, lost: Option<Lost>) {
        *self.lost.lock().unwrap() = lost;
    }

    pub(crate) fn hold_commits(&self) {
        self.held.send_replace(true);
    }

    /// Whether a commit waits to be let go.
    pub(crate) fn holds_a_commit(&self) -> bool {
        self.held.receiver_count() > 0
    }

    pub(crate) fn let_commits_go(&self) {
        self.held.send_replace(false);
    }

    /// How many writes each commit had so far.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }

    /// The next of eight equally likely numbers; `None` when nothing fails by chance.
    fn draw(&self) -> Option<u64> {
        let step = |seed: u64| {
            let seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed != 0).then_some(seed)
        };
        let next = |seed: u64| if seed == 0 { None } else { step(seed) };
        let before = self.chance.fetch_update(Ordering::AcqRel, Ordering::Acquire, next).ok()?;
        Some(step(before)? >> 61)
    }

    fn answers(&self) -> Result<(), StoreError> {
        if self.panics.load(Ordering::Acquire) {
            self.panicked.fetch_add(1, Ordering::AcqRel);
            panic!("a test wants it so");
        }
        if self.down.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("a test has stopped it".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Log for FailingStore {
    async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError> {
        self.answers()?;
        self.store.heads(streams).await
    }

    async fn read(&self, reads: &[Read]) -> Result<Vec<Page>, LogError> {
        self.answers()?;
        self.store.read(reads).await
    }
}

#[async_trait]
impl SettingsStore for FailingStore {
    async fn settings(&self) -> Result<Vec<SettingChange>, StoreError> {
        self.answers()?;
        self.store.settings().await
    }

    async fn settings_history(
        &self,
        name: Option<&str>,
        before: u64,
        changes_max: u32,
    ) -> Result<Vec<SettingChange>, StoreError> {
        self.answers()?;
        self.store.settings_history(name, before, changes_max).await
    }

    async fn change_setting(&self, decide: Decide<'_>) -> Result<Option<SettingChanged>, StoreError> {
        self.answers()?;
        self.store.change_setting(decide).await
    }
}

#[async_trait]
impl Store for FailingStore {
    async fn commit(&self, writes: &[Write]) -> Result<Committed, StoreError> {
        self.batches.lock().unwrap().push(writes.len());
        let _ = self.held.subscribe().wait_for(|held| !held).await.is_ok();
        self.answers()?;
        if self.locked.load(Ordering::Acquire) {
            let epoch = self.store.heads(&[]).await.map_err(|error| StoreError::Unavailable(error.0))?.epoch;
            let answers = writes.iter().map(|_| Err(Refusal::Locked(Lock::Stream))).collect();
            return Ok(Committed { epoch, events: Vec::new(), answers });
        }
        let holds = |word: &str| {
            writes.iter().any(|write| match &write.op {
                Op::Draft(DraftOp::Create { content, .. }) => content.contains_key(word),
                _ => false,
            })
        };
        if self.rejects.load(Ordering::Acquire) && holds("damaged") {
            return Err(StoreError::Failed("a test has damaged it".to_owned()));
        }
        if self.rejects.load(Ordering::Acquire) && holds("poison") {
            return Err(StoreError::Rejected("a test does not like it".to_owned()));
        }
        let chance = self.draw();
        if chance == Some(0) {
            return Err(StoreError::Unavailable("a test loses the commit".to_owned()));
        }
        let committed = self.store.commit(writes).await;
        if chance == Some(1) {
            return Err(StoreError::Unavailable("a test loses the answer".to_owned()));
        }
        committed
    }

    async fn drafts(&self, user: &UserId) -> Result<DraftList, StoreError> {
        self.lists.fetch_add(1, Ordering::AcqRel);
        if self.lists_hang.load(Ordering::Acquire) {
            return std::future::pending().await;
        }
        self.answers()?;
        self.store.drafts(user).await
    }

    async fn draft(&self, user: &UserId, id: &DraftId) -> Result<Option<Draft>, StoreError> {
        self.answers()?;
        self.store.draft(user, id).await
    }

    async fn history(&self, read: &Read) -> Result<History, StoreError> {
        self.answers()?;
        self.store.history(read).await
    }

    async fn claim_retention(&self) -> Result<Option<Box<dyn RetentionStore>>, StoreError> {
        self.answers()?;
        self.store.claim_retention().await
    }

    fn webhooks(&self) -> Option<&dyn WebhookStore> {
        self.store.webhooks()
    }

    fn occupancy(&self) -> Option<&dyn OccupancyStore> {
        self.store.occupancy().map(|_| self as &dyn OccupancyStore)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.answers()?;
        self.store.ping().await
    }

    async fn close(&self) {
        self.store.close().await;
    }
}

impl FailingStore {
    fn kept(&self) -> &dyn OccupancyStore {
        self.store.occupancy().unwrap()
    }
}

#[async_trait]
impl OccupancyStore for FailingStore {
    async fn asked(&self) -> Result<Asked, StoreError> {
        self.kept().asked().await
    }

    async fn attend(
        &self,
        lease: &OccupancyLease<'_>,
        came: &[String],
        left: &[String],
    ) -> Result<bool, StoreError> {
        let was_running = self.kept().attend(lease, came, left).await?;
        let lost = *self.lost.lock().unwrap();
        match lost {
            None => Ok(was_running),
            Some(Lost::Answer) => Err(StoreError::Unavailable("a test loses the answer".to_owned())),
            Some(Lost::Caller) => panic!("a test wants it so"),
        }
    }

    async fn leave(&self, names: &[String]) -> Result<(), StoreError> {
        self.kept().leave(names).await
    }

    async fn differences(
        &self,
        webhook: &str,
        ranges: &[NameRange],
        name: &str,
    ) -> Result<Noted, StoreError> {
        self.kept().differences(webhook, ranges, name).await
    }
}
