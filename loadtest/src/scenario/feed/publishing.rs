//! The publishers of a feed.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    cluster::{Place, publisher::Publisher},
    measure::clock,
    run::{Shared, Stage},
    scenario::floor::server::data,
    swarm::Swarm,
};

/// Events of one run: what became of each is kept to the end.
pub(super) const EVENTS_MAX: f64 = 2_000_000.0;

/// The pause of a publisher that waits for its commits after one that failed: a node that is down must
/// not be asked without rest.
const FAILURE_PAUSE: Duration = Duration::from_millis(100);

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

/// The last event of each topic, as far as it was acknowledged.
pub(super) fn heads(sent: &[Sent], topics: usize) -> Vec<u64> {
    let mut heads = vec![0; topics];
    for Sent { topic, seq, .. } in sent {
        heads[*topic] = heads[*topic].max(seq.unwrap_or_default());
    }
    heads
}

/// All publishers, and what they have done.
#[derive(Debug)]
pub(super) struct Load {
    publishers: Vec<Publisher>,
    paths: Arc<[String]>,
    bytes: usize,
    /// Events in one request.
    together: u64,
    /// The number of the next event.
    next: Arc<AtomicU64>,
    pub(super) sent: Vec<Sent>,
}

/// How it is published for a while.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// Events a second; `None` waits for answers instead.
    pub(super) rate: Option<f64>,
    pub(super) duration: Duration,
    /// Whether followers are to measure the events.
    pub(super) measured: bool,
    /// How long after the end events are sent that are behind. Of a cluster that is further behind, the rest
    /// is not waited for.
    pub(super) behind_max: Duration,
}

/// What one publisher is to do.
struct Turn {
    paths: Arc<[String]>,
    bytes: usize,
    together: u64,
    round: Round,
    /// Its first request of the round, and the distance to its next one; of all publishers together.
    first: u64,
    step: u64,
    base: u64,
    begun: Instant,
    begun_us: u64,
    end: Instant,
    next: Arc<AtomicU64>,
    shared: Shared,
}

impl Load {
    pub(super) fn new(
        place: &Place,
        token: &str,
        count: usize,
        topics: &[String],
        bytes: usize,
        together: u64,
    ) -> Self {
        let nodes = &place.entrances;
        let publishers = (0..count)
            .map(|number| Publisher::new(&nodes[number % nodes.len()].http, token.to_owned()))
            .collect();
        let paths = topics.iter().map(|topic| format!("/v1/topics/{topic}/events")).collect();
        Self { publishers, paths, bytes, together, next: Arc::default(), sent: Vec::new() }
    }

    /// Publishes at a rate, or as fast as commits are, until the time is over or Ctrl-C; and waits for
    /// the answers. Returns how long that was.
    pub(super) async fn publish(
        &mut self,
        stage: &mut Stage,
        followers: Option<&Swarm>,
        round: Round,
    ) -> Duration {
        let (begun, begun_us) = (Instant::now(), clock::now_us());
        let shared = Shared::default();
        let step = self.publishers.len() as u64;
        let base = self.next.load(Ordering::Relaxed);
        let mut under_way = JoinSet::new();
        for (first, publisher) in (0..).zip(std::mem::take(&mut self.publishers)) {
            let turn = Turn {
                paths: Arc::clone(&self.paths),
                bytes: self.bytes,
                together: self.together,
                round,
                first,
                step,
                base,
                begun,
                begun_us,
                end: begun + round.duration,
                next: Arc::clone(&self.next),
                shared: shared.clone(),
            };
            under_way.spawn(turn.take(publisher));
        }
        let received = || followers.map_or(0, |swarm| swarm.status().received);
        let done = stage.finish(under_way, &shared, || format!("  received {}", received())).await;
        for (publisher, sent) in done {
            self.publishers.push(publisher);
            self.sent.extend(sent);
        }
        begun.elapsed().max(Duration::from_millis(1))
    }
}

impl Turn {
    async fn take(self, mut publisher: Publisher) -> (Publisher, Vec<Sent>) {
        let mut sent = Vec::new();
        let mut turn = self.first;
        while !self.shared.is_stopped() {
            let (first, begun) = match self.round.rate {
                Some(rate) => {
                    // A request is made when the last of its events is due.
                    let last = (turn + 1) * self.together - 1;
                    let intended = self.begun + Duration::from_secs_f64(last as f64 / rate);
                    if intended >= self.end {
                        break;
                    }
                    sleep_until(intended).await;
                    self.next.fetch_max(self.base + last + 1, Ordering::Relaxed);
                    (self.base + turn * self.together, self.begun_us)
                }
                None if Instant::now() >= self.end => break,
                None if self.next.load(Ordering::Relaxed) as f64 >= EVENTS_MAX => break,
                None => (self.next.fetch_add(self.together, Ordering::Relaxed), clock::now_us()),
            };
            let events: Vec<(u64, u64)> = (first..first + self.together)
                .map(|number| {
                    let after = self.round.rate.map_or(0.0, |rate| (number - self.base) as f64 / rate);
                    (number, begun + (after * 1e6) as u64)
                })
                .collect();
            turn += self.step;
            let behind = self.round.rate.is_some() && Instant::now() > self.end + self.round.behind_max;
            let seqs = if behind {
                Err("not sent: too far behind".to_owned())
            } else {
                self.request(&mut publisher, turn_topic(first, self.together, self.paths.len()), &events)
                    .await
            };
            if seqs.is_err() && self.round.rate.is_none() {
                tokio::time::sleep(FAILURE_PAUSE).await;
            }
            self.note(&events, &seqs, &mut sent);
        }
        (publisher, sent)
    }

    /// Publishes events, each with its number and the moment at which it was to be sent. Returns the number
    /// of the first of them in the topic.
    async fn request(
        &self,
        publisher: &mut Publisher,
        topic: usize,
        events: &[(u64, u64)],
    ) -> Result<u64, String> {
        // Followers measure what says when it was to be sent.
        let event = |(number, intended_us): &(u64, u64)| {
            let data = data(if self.round.measured { *intended_us } else { 0 }, *number, self.bytes);
            format!("{{\"event\":\"COMMENT\",\"data\":{data}}}")
        };
        let body = match events {
            [one] => event(one),
            several => format!("[{}]", several.iter().map(event).collect::<Vec<_>>().join(",")),
        };
        let (status, json) =
            publisher.post(&self.paths[topic], body).await.map_err(|error| format!("{error:#}"))?;
        if status != 201 {
            return Err(format!("{status} {}", json["code"].as_str().unwrap_or_default()));
        }
        let (first, last) = (json["first"].as_u64(), json["seq"].as_u64());
        match first.zip(last) {
            Some((first, last)) if (first..=last).count() == events.len() => Ok(first),
            _ => Err("201 without numbers, or with others".to_owned()),
        }
    }

    fn note(&self, events: &[(u64, u64)], answer: &Result<u64, String>, sent: &mut Vec<Sent>) {
        let now = clock::now_us();
        for (at, (number, intended_us)) in (0..).zip(events) {
            let seq = answer.as_ref().ok().map(|first| first + at);
            self.shared.acknowledged(u64::from(seq.is_some()));
            sent.push(Sent {
                number: *number,
                topic: turn_topic(*number, self.together, self.paths.len()),
                measured: self.round.measured,
                seq,
                answered_us: now.saturating_sub(*intended_us),
                failure: answer.as_ref().err().cloned(),
            });
        }
    }
}

/// Topics are taken in turn, one for each request.
fn turn_topic(number: u64, together: u64, topics: usize) -> usize {
    usize::try_from(number / together).unwrap_or(0) % topics
}
