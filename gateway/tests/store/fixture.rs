//! What the tests of both stores share: a database under test, and short words for writes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use common::{
    DraftId, Event, Seq, Stream, UserId, Version,
    merge::Object,
    protocol::{Draft, NewEvent},
};
use fanout::log::Read;
use gateway::store::{
    Append, Base, Committed, Done, DraftOp, Limits, Op, Refusal, RetentionStore, Store, Write,
};
use serde_json::Value;

/// Not what is being tested, unless a test says so.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

pub(crate) const LIMITS: Limits =
    Limits { drafts_per_user_max: 100, draft_bytes_max: 100_000, event_bytes_max: 100_000 };

/// A database that stores are opened on. Each test has one of its own.
#[async_trait::async_trait]
pub(crate) trait Database: Send + Sync {
    /// A new handle, as after a restart.
    async fn open(&self, limits: Limits) -> Arc<dyn Store>;

    /// A handle of another node that runs at the same time.
    async fn node(&self) -> Arc<dyn Store>;

    /// Does what only an operator or retention would.
    async fn execute(&self, sql: &'static str);
}

pub(crate) fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub(crate) fn draft_id(name: &str) -> DraftId {
    name.parse().unwrap()
}

pub(crate) fn stream(name: &str) -> Stream {
    Stream::User(user(name))
}

pub(crate) fn object(value: Value) -> Object {
    common::json::own_object(&value.to_string()).unwrap()
}

fn write(name: &str, op: DraftOp) -> Write {
    Write { user: user(name), device: "phone".parse().unwrap(), id: None, op: Op::Draft(op) }
}

/// The backend `svc` appends these to a stream, by its key. Each is `KIND` or `KIND data`.
pub(crate) fn append(stream: &str, events: &[&str]) -> Write {
    let event = |text: &&str| {
        let (kind, data) = text.split_once(' ').unwrap_or((text, "null"));
        NewEvent::from_json(&format!(r#"{{"event":"{kind}","data":{data}}}"#)).unwrap()
    };
    append_events(stream, events.iter().map(event).collect())
}

pub(crate) fn append_events(stream: &str, events: Vec<NewEvent>) -> Write {
    let op = Op::Append(Append { stream: stream.parse().unwrap(), events });
    Write { user: user("svc"), device: "backend".parse().unwrap(), id: None, op }
}

pub(crate) fn create(name: &str, draft: &str, content: Value) -> Write {
    let (draft_id, kind) = (draft_id(draft), "note".parse().unwrap());
    write(name, DraftOp::Create { draft_id, kind, content: object(content) })
}

pub(crate) fn update(name: &str, draft: &str, base: u64, patch: Value) -> Write {
    let base = Base::Merge(Version(base));
    write(name, DraftOp::Update { draft_id: draft_id(draft), base, patch: object(patch) })
}

pub(crate) fn delete(name: &str, draft: &str, base: Option<u64>) -> Write {
    let base = base.map(|version| Base::Merge(Version(version)));
    write(name, DraftOp::Delete { draft_id: draft_id(draft), base })
}

/// The same write on exactly its base.
pub(crate) fn exactly(mut write: Write) -> Write {
    if let Op::Draft(DraftOp::Update { base, .. } | DraftOp::Delete { base: Some(base), .. }) = &mut write.op
        && let Base::Merge(version) = *base
    {
        *base = Base::OneOf(vec![version]);
    }
    write
}

/// The same write under an idempotency key.
pub(crate) fn with_id(id: &str, mut write: Write) -> Write {
    write.id = Some(id.parse().unwrap());
    write
}

/// Claims the leadership of retention, which the leader before has just given up.
pub(crate) async fn retention(store: &Arc<dyn Store>) -> Box<dyn RetentionStore> {
    let deadline = Instant::now() + PATIENT;
    loop {
        if let Some(retention) = store.claim_retention().await.unwrap() {
            return retention;
        }
        assert!(Instant::now() < deadline, "somebody keeps the leadership of retention");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Commits one write.
pub(crate) async fn one(store: &Arc<dyn Store>, write: Write) -> Result<Done, Refusal> {
    answer(store.commit(&[write]).await.unwrap())
}

fn answer(committed: Committed) -> Result<Done, Refusal> {
    let [answer] = <[_; 1]>::try_from(committed.answers).unwrap();
    answer
}

/// The answer as (version, seq).
pub(crate) fn numbers(done: &Done) -> (u64, Option<u64>) {
    (done.draft().unwrap().version.0, done.seq().map(|seq| seq.0))
}

/// The first and the last event of an append.
pub(crate) fn appended(done: &Done) -> (u64, u64) {
    let Done::Appended { first, seq } = done else { panic!("{done:?}") };
    (first.0, seq.0)
}

pub(crate) async fn events(store: &Arc<dyn Store>, name: &str, after: u64, limit: u32) -> Vec<Arc<Event>> {
    let read = Read { stream: stream(name), after: Seq(after), limit };
    store.read(&[read]).await.unwrap().remove(0).events
}

/// A user's whole log, checked to have no gaps: one line of text per event.
pub(crate) async fn log(store: &Arc<dyn Store>, name: &str) -> Vec<String> {
    log_of(store, &stream(name)).await
}

/// A stream's whole log, read page by page and checked to have no gaps.
pub(crate) async fn log_of(store: &Arc<dyn Store>, stream: &Stream) -> Vec<String> {
    let mut events: Vec<Arc<Event>> = Vec::new();
    loop {
        let after = Seq(events.len() as u64);
        let read = Read { stream: stream.clone(), after, limit: 100_000 };
        let page = store.read(&[read]).await.unwrap().remove(0);
        if page.events.is_empty() {
            break;
        }
        events.extend(page.events);
    }
    for (event, seq) in events.iter().zip(1..) {
        assert_eq!(event.seq, Seq(seq));
    }
    let head = store.heads(std::slice::from_ref(stream)).await.unwrap().heads[0].head;
    assert_eq!(head, Seq(events.len() as u64), "the head is the last event");
    events.iter().map(|event| format!("{} {}", event.kind.as_str(), event.payload)).collect()
}

pub(crate) fn content(draft: &Draft) -> Value {
    serde_json::from_str(draft.content.get()).unwrap()
}
