//! Applications publish with SQL, in transactions that stay open for a while, while parts of the cluster fail:
//! every follower on every node sees what was committed, once and in order, and nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use sqlx::{Connection, PgConnection};
use testkit::{
    Cluster, ClusterOptions, Device, DeviceOptions, Publisher, Service, Target, Topic,
    device::{Observed, digest},
    wait,
};
use tokio::time::sleep;

use crate::{DEADLINE, bus_is_trusted, patient_cluster, turn};

const TOPICS: [&str; 10] = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"];

/// Transactions that are open at once.
const TRANSACTIONS: u64 = 200;

/// How long one holds what it has published to, at most.
const HOLD_MAX: Duration = Duration::from_millis(200);

/// The event that was committed under a number of a stream.
type Log = BTreeMap<(String, u64), u64>;

/// When a follower first saw an event of a topic.
type Seen = Arc<Mutex<HashMap<(String, u64), Instant>>>;

/// A cluster in which nothing but notices tells nodes of what others have committed: no sweep comes in time.
fn without_sweeps() -> ClusterOptions {
    patient_cluster()
        .env("SWEEP_INTERVAL", "10m")
        .env("SWEEP_INTERVAL_UNSURE", "10m")
        .postgres("max_connections", "300")
}

struct Scene {
    cluster: Cluster,
    followers: Vec<Device>,
    seen: Seen,
    committed: Arc<Mutex<Log>>,
}

impl Scene {
    /// A follower of all topics on each node.
    async fn new(options: ClusterOptions) -> Self {
        let cluster = options.nodes(3).start().await.unwrap();
        let mut sql = PgConnection::connect(&cluster.database_url).await.unwrap();
        sqlx::raw_sql("CREATE TABLE orders (id bigint PRIMARY KEY)").execute(&mut sql).await.unwrap();
        bus_is_trusted(&cluster).await;
        let seen = Seen::default();
        let mut followers = Vec::new();
        for node in 0..3 {
            let name = format!("follower{node}");
            let mut options = DeviceOptions::follower(cluster.ws_urls(node), &name, &name);
            for topic in TOPICS {
                options = options.topic(Topic::named(topic));
            }
            let seen = seen.clone();
            options.observer = Some(Arc::new(move |observed: &Observed<'_>| {
                if let Observed::Message(message) = observed
                    && let Some((stream, seq)) = message["stream"].as_str().zip(message["seq"].as_u64())
                {
                    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    seen.insert((stream.to_owned(), seq), Instant::now());
                }
            }));
            let device = Device::connect(options).await;
            device
                .wait_until("follow the topics", DEADLINE, |replica| {
                    TOPICS.iter().all(|topic| replica.topic(topic).is_some_and(|track| track.is_followed()))
                })
                .await;
            followers.push(device);
        }
        Self { cluster, followers, seen, committed: Arc::default() }
    }

    async fn application(&self) -> PgConnection {
        PgConnection::connect(&self.cluster.database_url).await.unwrap()
    }

    /// Publishes an event, and notes it as one that will be committed.
    async fn publish(&self, sql: &mut PgConnection, topic: &str, n: u64) {
        let seq = publish(sql, topic, n).await;
        self.note(topic, seq, n);
    }

    fn note(&self, topic: &str, seq: u64, n: u64) {
        note(&self.committed, topic, seq, n);
    }

    /// Waits until the followers have all that was committed; then checks that it is nothing else.
    async fn check(&self) {
        let committed = self.committed.lock().unwrap().clone();
        for topic in TOPICS {
            let stream = format!("topic:{topic}");
            let events: Vec<(u64, u64)> = committed
                .iter()
                .filter(|((of, _), _)| *of == stream)
                .map(|((_, seq), d)| (*seq, *d))
                .collect();
            let head = events.len() as u64;
            assert!(events.iter().map(|(seq, _)| *seq).eq(1..=head), "{topic}: {events:?}");
            for follower in &self.followers {
                follower
                    .wait_until("have all that was committed", DEADLINE, |replica| {
                        replica.topic(topic).is_some_and(|track| track.seq() >= head)
                    })
                    .await;
                follower.look(|replica| {
                    let track = replica.topic(topic).unwrap();
                    assert_eq!(track.seq(), head, "{} {topic}", follower.name());
                    for (seq, digest) in &events {
                        assert_eq!(track.digest(*seq), Some(*digest), "{} {topic} {seq}", follower.name());
                    }
                });
            }
        }
        for follower in &self.followers {
            assert!(follower.violations().is_empty(), "{:?}", follower.violations());
        }
    }
}

fn note(committed: &Mutex<Log>, topic: &str, seq: u64, n: u64) {
    let before = committed
        .lock()
        .unwrap()
        .insert((format!("topic:{topic}"), seq), digest("ORDER_PLACED", &json!({ "order": n })));
    assert_eq!(before, None, "{topic} {seq} was given twice");
}

async fn publish(sql: &mut PgConnection, topic: &str, n: u64) -> u64 {
    let publish = "SELECT draftwire.publish($1, 'ORDER_PLACED', json_build_object('order', $2::bigint))";
    let seq: i64 =
        sqlx::query_scalar(publish).bind(topic).bind(n.cast_signed()).fetch_one(sql).await.unwrap();
    seq.unsigned_abs()
}

async fn run(sql: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(sql).await.unwrap();
}

/// One order and its events, in a transaction that stays open for a while. Returns when it was committed.
async fn place_order(
    mut sql: PgConnection,
    n: u64,
    committed: Arc<Mutex<Log>>,
) -> Vec<((String, u64), Instant)> {
    let mut random = StdRng::seed_from_u64(n);
    run(&mut sql, "BEGIN").await;
    sqlx::query("INSERT INTO orders VALUES ($1)").bind(n.cast_signed()).execute(&mut sql).await.unwrap();
    let first = random.random_range(0..TOPICS.len());
    let mut seqs = Vec::new();
    // In the order of their names, as docs/sql.md advises.
    for topic in TOPICS.iter().skip(first).take(random.random_range(1..=2)) {
        seqs.push((*topic, publish(&mut sql, topic, n).await));
        // How long an application takes until it ends a transaction.
        sleep(HOLD_MAX.mul_f64(random.random_range(0.0..=1.0))).await;
    }
    if n.is_multiple_of(2) {
        run(&mut sql, "ROLLBACK").await;
        return Vec::new();
    }
    run(&mut sql, "COMMIT").await;
    let at = Instant::now();
    seqs.into_iter()
        .map(|(topic, seq)| {
            note(&committed, topic, seq, n);
            ((format!("topic:{topic}"), seq), at)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_the_committed_ones_arrive_in_order() {
    let _turn = turn().await;
    let scene = Scene::new(without_sweeps()).await;
    let mut orders = Vec::new();
    for n in 0..TRANSACTIONS {
        let sql = scene.application().await;
        orders.push(tokio::spawn(place_order(sql, n, scene.committed.clone())));
    }
    // Meanwhile others publish to the same topics through the nodes.
    let publisher = Publisher::new(scene.cluster.http_urls(0), "desk").unwrap();
    for n in TRANSACTIONS..TRANSACTIONS + 40 {
        let topic = TOPICS[usize::try_from(n).unwrap() % TOPICS.len()];
        let data = json!({ "order": n });
        let seq = publisher.publish(&Target::topic(topic), "ORDER_PLACED", &data).await.unwrap();
        scene.note(topic, seq, n);
    }
    let committed: Vec<_> =
        join_all(orders).await.into_iter().flat_map(|order| order.unwrap().into_iter()).collect();
    scene.check().await;
    let orders: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(&mut scene.application().await)
        .await
        .unwrap();
    assert_eq!(orders.unsigned_abs(), TRANSACTIONS / 2);

    let seen = scene.seen.lock().unwrap();
    let mut took: Vec<Duration> =
        committed.iter().map(|(event, at)| seen[event].saturating_duration_since(*at)).collect();
    took.sort_unstable();
    let quantile = |q: usize| took[(took.len() * q / 100).min(took.len() - 1)];
    println!("from commit to the last client: p50 {:.1?}, p99 {:.1?}", quantile(50), quantile(99));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_while_redis_is_gone() {
    let _turn = turn().await;
    let mut scene = Scene::new(without_sweeps()).await;
    scene.cluster.redis.stop().await.unwrap();
    let mut sql = scene.application().await;
    for n in 0..20 {
        scene.publish(&mut sql, TOPICS[n % 3], n as u64).await;
    }
    scene.check().await;
}

/// A node that was away, whatever of its notices are gone meanwhile, has everything when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_when_a_node_is_killed() {
    let _turn = turn().await;
    let mut scene = Scene::new(without_sweeps()).await;
    let (mut early, mut late) = (scene.application().await, scene.application().await);
    run(&mut early, "BEGIN").await;
    scene.publish(&mut early, "t0", 1).await;
    run(&mut late, "BEGIN").await;
    scene.publish(&mut late, "t1", 2).await;
    let name = scene.cluster.nodes[0].name().to_owned();
    scene.cluster.nodes[0].kill9();
    run(&mut late, "COMMIT").await;
    scene.followers[0].wait_connected(DEADLINE, |node| node != name).await;
    scene.cluster.nodes[0].start_again().await.unwrap();
    run(&mut early, "COMMIT").await;
    scene.publish(&mut late, "t0", 3).await;
    scene.check().await;
}

/// A crash of Postgres takes the notices with it, and no event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_when_postgres_crashes_behind_a_commit() {
    let _turn = turn().await;
    // No look comes before the crash, and none is needed.
    let mut scene = Scene::new(patient_cluster().env("NOTICES_INTERVAL", "1m")).await;
    for n in 0..3 {
        let mut sql = scene.application().await;
        scene.publish(&mut sql, "t0", n).await;
        run(&mut sql, "BEGIN").await;
        // Never committed.
        publish(&mut sql, "t0", 1000 + n).await;
        scene.cluster.postgres.kill9();
        scene.cluster.postgres.start_again().await.unwrap();
    }
    scene.check().await;
}

/// A node that stood still for longer than notices stay compares its streams with the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn also_when_a_node_stood_still() {
    let _turn = turn().await;
    let scene = Scene::new(without_sweeps()).await;
    scene.cluster.nodes[0].pause();
    let mut sql = scene.application().await;
    for n in 0..5 {
        scene.publish(&mut sql, "t0", n).await;
    }
    wait::until("the others have removed the notices", DEADLINE, || async {
        let mut sql = scene.application().await;
        let left: i64 =
            sqlx::query_scalar("SELECT count(*) FROM draftwire.notices").fetch_one(&mut sql).await.unwrap();
        if left == 0 { Ok(()) } else { Err(format!("{left} are left")) }
    })
    .await;
    scene.cluster.nodes[0].resume();
    scene.check().await;
}

/// Devices change a draft through the nodes while the backend changes it with SQL.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drafts_converge_under_both() {
    let _turn = turn().await;
    let cluster = without_sweeps().nodes(3).start().await.unwrap();
    bus_is_trusted(&cluster).await;
    let mut devices = Vec::new();
    for node in 0..3 {
        devices.push(cluster.device("ann", &format!("device{node}"), node).await);
    }
    let url = cluster.database_url.clone();
    let backend = tokio::spawn(async move {
        let mut sql = PgConnection::connect(&url).await.unwrap();
        for n in 0..40 {
            run(&mut sql, "BEGIN").await;
            let put = "SELECT version FROM draftwire.put_draft('ann', 'cart', json_build_object('backend', $1::int), key => $2)";
            let version: i64 =
                sqlx::query_scalar(put).bind(n).bind(format!("k{n}")).fetch_one(&mut sql).await.unwrap();
            assert!(version > 0);
            sleep(Duration::from_millis(5)).await;
            run(&mut sql, if n % 4 == 3 { "ROLLBACK" } else { "COMMIT" }).await;
        }
    });
    devices[0].wait_until("have the cart", DEADLINE, |replica| replica.version("cart") > 0).await;
    let edits = devices.iter().enumerate().map(|(number, device)| async move {
        device.wait_until("have the cart", DEADLINE, |replica| replica.version("cart") > 0).await;
        for n in 0..20 {
            device.edit("cart", json!({ format!("device{number}"): n })).await.unwrap();
        }
    });
    join_all(edits).await;
    backend.await.unwrap();
    cluster.assert_converged(&devices.iter().collect::<Vec<_>>(), DEADLINE).await;
    let drafts = devices[0].drafts();
    let expected = json!({ "backend": 38, "device0": 19, "device1": 19, "device2": 19 });
    assert_eq!(drafts["cart"].content, expected);
}
