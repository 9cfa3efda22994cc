//! The publishers of a feed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{clock, floor::server::data, place::Place, publish::Publisher, stage::Stage, swarm::Swarm};

/// The pause of a publisher that waits for its commits after one that failed: a node that is down must
/// not be asked without rest.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

/// How long after the end events are sent that are behind. Of a cluster that is further behind, the rest
/// is not waited for.
const BEHIND_MAX: Duration = Duration::from_secs(10);

/// What became of one event.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    /// Told in its data.
    pub(super) number: u64,
    pub(super) topic: usize,
    pub(super) measured: bool,
    /// Its number in the topic, when it was acknowledged.
    pub(super) seq: Option<u64>,
    /// From its intended moment to the answer.
    pub(super) answered_us: u64,
    /// What was answered otherwise.
    pub(super) failure: Option<String>,
}

/// Failures by what was answered.
pub(super) fn failures(sent: &[Sent]) -> BTreeMap<String, u64> {
    let mut failures = BTreeMap::new();
    for failure in sent.iter().filter_map(|sent| sent.failure.as_ref()) {
        *failures.entry(failure.clone()).or_default() += 1;
    }
    failures
}

/// All publishers, and what they have done.
#[derive(Debug)]
pub(super) struct Load {
    publishers: Vec<Publisher>,
    paths: Arc<[String]>,
    bytes: usize,
    /// The number of the next event.
    next: Arc<AtomicU64>,
    pub(super) sent: Vec<Sent>,
}

/// What one publisher is to do.
struct Turn {
    paths: Arc<[String]>,
    bytes: usize,
    measured: bool,
    /// Its first event of the round, and the distance to its next one; of all publishers together.
    first: u64,
    step: u64,
    base: u64,
    /// `None` waits for answers instead.
    rate: Option<f64>,
    begun: Instant,
    begun_us: u64,
    end: Instant,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicU64>,
}

impl Load {
    pub(super) fn new(place: &Place, token: &str, count: usize, topics: &[String], bytes: usize) -> Self {
        let nodes = &place.entrances;
        let publishers = (0..count)
            .map(|number| Publisher::new(&nodes[number % nodes.len()].http, token.to_owned()))
            .collect();
        let paths = topics.iter().map(|topic| format!("/v1/topics/{topic}/events")).collect();
        Self { publishers, paths, bytes, next: Arc::default(), sent: Vec::new() }
    }

    /// Publishes at a rate, or as fast as commits are, until the time is over or Ctrl-C; and waits for
    /// the answers. Answers how long that was.
    pub(super) async fn publish(
        &mut self,
        stage: &mut Stage,
        followers: Option<&Swarm>,
        rate: Option<f64>,
        duration: Duration,
        measured: bool,
    ) -> Duration {
        let (begun, begun_us) = (Instant::now(), clock::now_us());
        let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let step = self.publishers.len() as u64;
        let base = self.next.load(Ordering::Relaxed);
        let mut under_way = JoinSet::new();
        for (first, publisher) in (0..).zip(std::mem::take(&mut self.publishers)) {
            let turn = Turn {
                paths: Arc::clone(&self.paths),
                bytes: self.bytes,
                measured,
                first,
                step,
                base,
                rate,
                begun,
                begun_us,
                end: begun + duration,
                next: Arc::clone(&self.next),
                stop: Arc::clone(&stop),
                acked: Arc::clone(&acked),
            };
            under_way.spawn(turn.take(publisher));
        }
        let mut shown = tokio::time::interval(stage.progress.every());
        loop {
            tokio::select! {
                done = under_way.join_next() => match done {
                    Some(Ok((publisher, sent))) => {
                        self.publishers.push(publisher);
                        self.sent.extend(sent);
                    }
                    // Aborted or panicked: neither happens to these.
                    Some(Err(_)) => {}
                    None => break,
                },
                () = stage.interrupt.pressed(), if !stop.load(Ordering::Relaxed) => {
                    stop.store(true, Ordering::Relaxed);
                }
                _ = shown.tick() => stage.progress.show(|| {
                    let received = followers.map_or(0, |swarm| swarm.status().received);
                    let acked = acked.load(Ordering::Relaxed);
                    format!("{:>4.0}s  acknowledged {acked}  received {received}", begun.elapsed().as_secs_f64())
                }),
            }
        }
        begun.elapsed().max(Duration::from_millis(1))
    }
}

impl Turn {
    async fn take(self, mut publisher: Publisher) -> (Publisher, Vec<Sent>) {
        let mut sent = Vec::new();
        let mut turn = self.first;
        while !self.stop.load(Ordering::Relaxed) {
            let (number, intended_us) = match self.rate {
                Some(rate) => {
                    let after = turn as f64 / rate;
                    let intended = self.begun + Duration::from_secs_f64(after);
                    if intended >= self.end {
                        break;
                    }
                    sleep_until(intended).await;
                    (self.base + turn, self.begun_us + (after * 1e6) as u64)
                }
                None if Instant::now() >= self.end => break,
                None => (self.next.fetch_add(1, Ordering::Relaxed), clock::now_us()),
            };
            turn += self.step;
            let result = if self.rate.is_some() && Instant::now() > self.end + BEHIND_MAX {
                self.unsent(number)
            } else {
                self.one(&mut publisher, number, intended_us).await
            };
            if self.rate.is_some() {
                self.next.fetch_max(number + 1, Ordering::Relaxed);
            } else if result.failure.is_some() {
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
            sent.push(result);
        }
        (publisher, sent)
    }

    fn unsent(&self, number: u64) -> Sent {
        let failure = Some("not sent: too far behind".to_owned());
        Sent { number, topic: 0, measured: self.measured, seq: None, answered_us: 0, failure }
    }

    async fn one(&self, publisher: &mut Publisher, number: u64, intended_us: u64) -> Sent {
        let topic = usize::try_from(number).unwrap_or(0) % self.paths.len();
        // Followers measure what says when it was to be sent.
        let data = data(if self.measured { intended_us } else { 0 }, number, self.bytes);
        let body = format!("{{\"event\":\"COMMENT\",\"data\":{data}}}");
        let answer = publisher.post(&self.paths[topic], &body).await;
        let answered_us = clock::now_us().saturating_sub(intended_us);
        let (seq, failure) = match answer {
            Ok((201, json)) => match json["seq"].as_u64() {
                Some(seq) => (Some(seq), None),
                None => (None, Some("201 without a number".to_owned())),
            },
            Ok((status, json)) => {
                (None, Some(format!("{status} {}", json["code"].as_str().unwrap_or_default())))
            }
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        self.acked.fetch_add(u64::from(seq.is_some()), Ordering::Relaxed);
        Sent { number, topic, measured: self.measured, seq, answered_us, failure }
    }
}
