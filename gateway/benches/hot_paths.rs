//! What a change costs a node besides the system calls: deciding it, encoding its event, putting it in order, and
//! handing it to a thousand followers. `cargo bench -p gateway`
#![allow(clippy::unwrap_used, missing_docs)]

use std::{hint::black_box, sync::Arc, time::Instant};

use async_trait::async_trait;
use common::{
    DraftId, Epoch, Event, Seq, Stream, UserId, Version,
    event::Priority,
    json::own_object,
    merge::FieldVersions,
    message::Encoding,
    operations::{Moment, Operation, Outcome},
};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use fanout::{
    Hub, Mailbox, Settings, Step, StreamReader,
    bus::memory::MemoryBus,
    log::{Head, Heads, Log, LogError, Page, Read},
};
use gateway::store::{
    Base, DraftOp, Limits, Op, Write,
    plan::{Batch, Content, DraftRow, State, decide},
};
use serde_json::value::RawValue;
use tokio::runtime::Runtime;
use websocket::frame::{self, Kind};

const FOLLOWERS: u32 = 1000;
const LIMITS: Limits =
    Limits { drafts_per_user_max: 500, draft_bytes_max: 64 * 1024, event_bytes_max: 64 * 1024 };

fn decide_updates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    for updates in [1, 16, 256] {
        let writes: Vec<Write> = (0..updates).map(update).collect();
        group.throughput(Throughput::Elements(updates));
        group.bench_with_input(BenchmarkId::new("updates", updates), &writes, |bencher, writes| {
            bencher.iter_batched(
                || state(writes),
                |mut state| decide(&Batch::new(writes), &mut state, &LIMITS, 1),
                BatchSize::SmallInput,
            );
        });
    }
}

fn update(of: u64) -> Write {
    Write {
        user: format!("user-{of}").parse().unwrap(),
        device: "phone".parse().unwrap(),
        id: Some(format!("c{of}").parse().unwrap()),
        op: Op::Draft(DraftOp::Update {
            draft_id: "order".parse().unwrap(),
            base: Base::Merge(Version(7)),
            patch: own_object(r#"{"quantity":6,"note":"leave it at the door"}"#).unwrap(),
        }),
    }
}

/// What the writes depend on: a draft of a kilobyte for each user.
fn state(writes: &[Write]) -> State {
    let lines: Vec<String> =
        (0..20).map(|line| format!(r#""field{line}":"{}""#, "text ".repeat(8))).collect();
    let content = format!(r#"{{"quantity":5,"note":"",{}}}"#, lines.join(","));
    let mut state = State::default();
    for write in writes {
        let row = DraftRow {
            version: Version(7),
            kind: "order".parse().unwrap(),
            content: Some(Content::parse(content.clone()).unwrap()),
            fields: FieldVersions::default(),
            created_at: 0,
            updated_at: 0,
        };
        let key: (UserId, DraftId) = (write.user.clone(), "order".parse().unwrap());
        state.drafts.insert(key, Arc::new(row));
        state.heads.insert(write.stream(), Seq(7));
    }
    state
}

fn encode_events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    group.bench_function("json frame", |bencher| {
        bencher.iter_batched(
            || event(1),
            |event| frame::message(Kind::Text, event.json()),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("messagepack frame", |bencher| {
        bencher.iter_batched(
            || event(1),
            |event| frame::message(Kind::Binary, event.message().encoded(Encoding::MessagePack)),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("deflated frame of 4 KiB", |bencher| {
        let text = r#"{"title":"an order","quantity":6},"#.repeat(4096 / 34);
        bencher.iter(|| frame::deflated(Kind::Text, black_box(text.as_bytes())));
    });
}

fn put_in_order(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    // A gap starts a task that waits for it to close.
    let _runtime = runtime.enter();
    let mut group = criterion.benchmark_group("sequence");
    group.throughput(Throughput::Elements(64));
    group.bench_function("64 copies in reverse", |bencher| {
        let mut node = Node::new(&runtime, 1);
        let hub = node.hub.clone();
        bencher.iter_batched(
            || node.next(64),
            |events| {
                for event in events.iter().rev() {
                    hub.committed(&epoch(), std::slice::from_ref(event));
                }
            },
            BatchSize::PerIteration,
        );
    });
}

fn deliver_to_followers(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("deliver");
    group.throughput(Throughput::Elements(u64::from(FOLLOWERS)));
    group.bench_function(BenchmarkId::new("one event", FOLLOWERS), |bencher| {
        let mut node = Node::new(&runtime, FOLLOWERS);
        bencher.iter(|| {
            let events = node.next(1);
            node.hub.committed(&epoch(), &events);
            node.take_all();
        });
    });
}

/// A hub with followers of one topic, over a log that is never asked again.
struct Node {
    hub: Arc<Hub>,
    followers: Vec<(Arc<Mailbox>, StreamReader)>,
    seq: u64,
}

impl Node {
    fn new(runtime: &Runtime, followers: u32) -> Self {
        runtime.block_on(async {
            let settings =
                Settings { sweep_interval: std::time::Duration::from_secs(86_400), ..Settings::default() };
            let hub = Hub::start("node".parse().unwrap(), settings, Arc::new(EmptyLog), MemoryBus::new());
            let mut all = Vec::new();
            for _ in 0..followers {
                let mailbox = Arc::<Mailbox>::default();
                let reader = hub.follow(topic(), None, mailbox.clone(), 0).await.unwrap();
                all.push((mailbox, reader));
            }
            Self { hub, followers: all, seq: 0 }
        })
    }

    fn next(&mut self, count: u64) -> Vec<Arc<Event>> {
        let first = self.seq + 1;
        self.seq += count;
        (first..=self.seq).map(|seq| Arc::new(event(seq))).collect()
    }

    /// Has every follower read what it was woken for.
    fn take_all(&mut self) {
        for (mailbox, reader) in &mut self.followers {
            for _ in mailbox.take() {
                let step = reader.step(64 * 1024);
                assert!(matches!(step, Step::Send(_)), "nothing was delivered");
                black_box(step);
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.hub.stop();
    }
}

struct EmptyLog;

#[async_trait]
impl Log for EmptyLog {
    async fn heads(&self, streams: &[Stream]) -> Result<Heads, LogError> {
        Ok(Heads { epoch: epoch(), heads: vec![Head::default(); streams.len()] })
    }

    async fn read(&self, _reads: &[Read]) -> Result<Vec<Page>, LogError> {
        Err(LogError("it is empty".to_owned()))
    }
}

fn epoch() -> Epoch {
    "bench".parse().unwrap()
}

fn topic() -> Stream {
    "topic:match".parse().unwrap()
}

fn event(seq: u64) -> Event {
    let payload = RawValue::from_string(format!(r#"{{"minute":61,"text":"{}"}}"#, "x".repeat(170))).unwrap();
    let event = Event::new(topic(), Seq(seq), "GOAL".parse().unwrap(), "desk".parse().unwrap(), 0, payload);
    event.with_priority(Priority::Normal)
}

/// What measuring a delivery costs: a look at the clock, and a meter that all threads record into.
fn measure_deliveries(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("measure");
    let sequenced = Moment::now();
    for threads in [1, 2] {
        group.bench_function(BenchmarkId::new("a delivery, threads", threads), |bencher| {
            bencher.iter_custom(|iterations| {
                let began = Instant::now();
                std::thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            for _ in 0..iterations {
                                Operation::Deliver
                                    .meter()
                                    .record(Outcome::Ok, black_box(sequenced).elapsed());
                            }
                        });
                    }
                });
                began.elapsed()
            });
        });
    }
    group.bench_function("a look at the clock", |bencher| bencher.iter(|| black_box(sequenced).elapsed()));
}

criterion_group!(
    hot_paths,
    decide_updates,
    encode_events,
    put_in_order,
    deliver_to_followers,
    measure_deliveries
);
criterion_main!(hot_paths);
