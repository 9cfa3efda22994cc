//! The highest rate that a feed holds: rates are tried, each for a moment, until it is known within a tenth.
//!
//! A rate holds when everything that was published is acknowledged and reaches everybody, and the 99th
//! percentile from intended sending stays below the limit. One that does not is tried a second time: what
//! else the machine does for a moment is not the server's.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;
use serde_json::json;

use super::{
    Options, history,
    publishing::{self, Load, Round},
};
use crate::{
    cluster::Place,
    measure::{
        effort::{Costs, Effort, Mark},
        latency::{Percentiles, time},
        summary::{Check, Summary, micros, times},
    },
    run::Stage,
    scenario::floor::{bare, inserts},
    swarm::{Swarm, orders::Judged},
};

/// Rates that are tried.
const STEPS_MAX: usize = 16;

/// How often a rate is tried before it counts as not held.
const ATTEMPTS: usize = 2;

/// How near the highest rate that held is to the lowest that did not.
const NEAR: f64 = 1.1;

/// How far behind publishers may fall before a rate is given up.
const BEHIND_MAX: Duration = Duration::from_secs(1);

/// The limit of the 99th percentile, unless another is given.
const P99_MAX: Duration = Duration::from_millis(100);

/// One rate, tried.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    /// Events a second.
    rate: f64,
    deliveries: u64,
    deliveries_per_second: f64,
    from_send: Percentiles,
    from_commit: Percentiles,
    costs: Costs,
    effort: Effort,
    /// Why it does not hold.
    broken: Option<String>,
}

/// Which rate comes next.
#[derive(Debug)]
struct Search {
    held: Option<f64>,
    broken: Option<f64>,
    first: f64,
    highest: f64,
}

impl Search {
    /// `None` once it is known.
    fn next(&self) -> Option<f64> {
        match (self.held, self.broken) {
            (None, None) => Some(self.first),
            (Some(held), None) if held >= self.highest => None,
            (Some(held), None) => Some((held * 2.0).min(self.highest)),
            (None, Some(broken)) if broken <= 1.0 => None,
            (None, Some(broken)) => Some(broken / 2.0),
            (Some(held), Some(broken)) if broken / held <= NEAR => None,
            (Some(held), Some(broken)) => Some((held * broken).sqrt()),
        }
    }

    fn tried(&mut self, rate: f64, held: bool) {
        *(if held { &mut self.held } else { &mut self.broken }) = Some(rate);
    }
}

/// The followers, and what was known of them at the last step.
struct Feed<'a> {
    options: &'a Options,
    place: &'a Place,
    load: Load,
    swarm: Swarm,
    judged: Judged,
    steps: Vec<Step>,
}

impl Options {
    /// Finds the highest rate, and looks closer at half of it.
    pub(super) async fn saturate(&self, place: &Place, stage: &mut Stage) -> Result<Summary> {
        let ready = self.prepare(place, stage).await?;
        let Some(swarm) = ready.followers else { anyhow::bail!("nobody follows: --followers 1 or more") };
        // From here on Ctrl-C ends what is being done, and nothing else.
        stage.verifying = true;
        let mut feed = Feed {
            options: self,
            place,
            load: ready.load,
            swarm,
            judged: Judged::default(),
            steps: Vec::new(),
        };
        let warm_up =
            Round { rate: Some(self.rate), duration: self.warmup, measured: false, behind_max: BEHIND_MAX };
        feed.load.publish(stage, Some(&feed.swarm), warm_up).await;
        feed.settle(stage).await?;
        let highest = feed.search(stage).await?;
        let mut half = None;
        if let Some(highest) = &highest
            && !stage.interrupt.was_pressed()
        {
            stage.progress.part("publishing at half of the highest rate");
            half = Some(feed.step(highest.rate / 2.0, self.duration, stage).await?.0);
        }
        stage.progress.part("reading the history");
        let acked =
            feed.load.sent.iter().filter_map(|sent| Some((sent.topic, sent.seq?, sent.number))).collect();
        let history = history::compare(place, &ready.service, &ready.topics, acked).await?;
        let judged = feed.swarm.judge(&history.heads).await?;
        let ended = feed.swarm.status().ended as u64;
        feed.swarm.close(false).await?;
        drop(feed.swarm);
        let mut summary = self.saturated(&feed.steps, highest.as_ref(), half.as_ref());
        for told in judged.told.iter().chain(&history.told) {
            summary.note(told.clone());
        }
        summary.check(Check::none("events that the history has otherwise", history.wrong));
        summary.check(Check::none("connections that ended", ended));
        summary.check_all(judged.tally.checks());
        if let Some(half) = half
            && !self.no_floor
            && !stage.interrupt.was_pressed()
        {
            self.commit_floor(&mut summary, half.from_commit, place, stage).await?;
            let (sockets, bytes) = (self.followers as usize, self.bytes as usize);
            stage.progress.part("measuring what the machine alone needs for the same");
            let duration = self.duration.min(super::FLOOR_WAIT);
            let batched =
                bare::delivery(stage, self.wire, sockets, bytes, bare::RATE_MAX, duration, bare::BATCH)
                    .await?;
            let alone = Some(batched.cpu_us_per_delivery);
            summary.row(
                "floor, for each delivery",
                format!(
                    "{} with {} in each write; the nodes need {} at the highest rate",
                    micros(alone),
                    bare::BATCH,
                    times(highest.as_ref().and_then(|step| step.costs.nodes_us), alone)
                ),
            );
            summary.put("floor_delivery_batched", batched);
        }
        Ok(summary)
    }

    fn p99_limit_us(&self) -> u64 {
        u64::try_from(self.p99_max.unwrap_or(P99_MAX).as_micros()).unwrap_or(u64::MAX)
    }

    fn saturated(&self, steps: &[Step], highest: Option<&Step>, half: Option<&Step>) -> Summary {
        let heading = format!(
            "the highest rate to {} followers, {} publishers, {} events a request",
            self.followers, self.publishers, self.together
        );
        let mut summary = Summary::new("feed", heading);
        for step in steps {
            let end =
                step.broken.as_ref().map_or_else(|| "holds".to_owned(), |why| format!("does not: {why}"));
            summary.row(
                format!("{:.0} events a second", step.rate),
                format!(
                    "{:.2} M deliveries/s, p99 {}, {end}",
                    step.deliveries_per_second / 1e6,
                    time(step.from_send.p99_us)
                ),
            );
        }
        for (name, step) in [("highest", highest), ("half of it", half)] {
            let Some(step) = step else { continue };
            summary.row(
                name,
                format!(
                    "{:.0} events, {:.3} M deliveries a second",
                    step.rate,
                    step.deliveries_per_second / 1e6
                ),
            );
            summary.row("  from intended sending", step.from_send.to_string());
            summary.row("  from the event's time", step.from_commit.to_string());
            summary.row("  processor, each delivery", step.costs.text());
        }
        if let Some(highest) = highest {
            highest.effort.tell(&mut summary);
        }
        let nothing = crate::measure::latency::Latency::new().percentiles();
        let found = highest.map_or(nothing, |step| step.from_send);
        summary.check(Check::p99(
            "99% from intended sending at the highest rate",
            &found,
            self.p99_limit_us(),
        ));
        summary.put("settings", self.settings());
        summary.put("saturated", json!({"steps": steps, "highest": highest, "half": half}));
        summary
    }

    /// Compares commit-to-client with what a commit alone needs.
    pub(super) async fn commit_floor(
        &self,
        summary: &mut Summary,
        from_commit: Percentiles,
        place: &Place,
        stage: &mut Stage,
    ) -> Result<()> {
        let Some(database) = &place.database else { return Ok(()) };
        stage.progress.part("measuring what a commit alone needs");
        let writers = self.publishers.min(inserts::WRITERS_MAX);
        let duration = self.duration.min(super::FLOOR_WAIT);
        let floor = inserts::inserts(database, writers, self.bytes as usize, duration).await?;
        let ratio = (floor.commit.p99_us > 0 && from_commit.count > 0)
            .then(|| from_commit.p99_us as f64 / floor.commit.p99_us as f64);
        summary.row(
            "floor, a commit for each event",
            format!(
                "p99 {} with {writers} writers; from the event's time to the client it is {}",
                time(floor.commit.p99_us),
                times(Some(from_commit.p99_us as f64), Some(floor.commit.p99_us as f64))
            ),
        );
        summary.put("floor_commit", &floor);
        summary.put("commit_to_client_times", ratio);
        Ok(())
    }
}

impl Feed<'_> {
    /// Returns the highest rate that held.
    async fn search(&mut self, stage: &mut Stage) -> Result<Option<Step>> {
        let mut search = Search {
            held: None,
            broken: None,
            first: self.options.rate,
            highest: self.options.rate_max.max(self.options.rate),
        };
        let mut highest = None;
        while let Some(rate) = search.next() {
            let mut drained = true;
            for attempt in 1..=ATTEMPTS {
                if self.steps.len() >= STEPS_MAX || stage.interrupt.was_pressed() || !drained {
                    return Ok(highest);
                }
                stage.progress.part(&format!("publishing {rate:.0} events a second"));
                let (step, all) = self.step(rate, self.options.step, stage).await?;
                if stage.interrupt.was_pressed() {
                    // Cut short, it shows nothing.
                    return Ok(highest);
                }
                drained = all;
                let held = step.broken.is_none();
                self.steps.push(step.clone());
                if held {
                    highest = Some(step);
                }
                if held || attempt == ATTEMPTS {
                    search.tried(rate, held);
                    break;
                }
            }
        }
        Ok(highest)
    }

    /// Tries a rate. Returns also whether all that was published has arrived: otherwise the next would be
    /// measured with what is left of this one.
    async fn step(&mut self, rate: f64, duration: Duration, stage: &mut Stage) -> Result<(Step, bool)> {
        let planned = rate * duration.as_secs_f64() + self.load.sent.len() as f64;
        ensure!(planned <= super::EVENTS_MAX, "{planned:.0} events are too many for one run");
        let from = self.load.sent.len();
        let before = Mark::now(&self.place.nodes, self.swarm.helping()).await?;
        let round = Round { rate: Some(rate), duration, measured: true, behind_max: BEHIND_MAX };
        let seconds = self.load.publish(stage, Some(&self.swarm), round).await.as_secs_f64();
        let drained = self.settle(stage).await?;
        let effort = Mark::now(&self.place.nodes, self.swarm.helping()).await?.since(&before);
        let earlier = std::mem::take(&mut self.judged);
        self.judged = self.swarm.judge(&self.heads()).await?;
        let from_send = self.judged.from_send.since(&earlier.from_send).percentiles();
        let deliveries = self.judged.measured - earlier.measured;
        let failures = publishing::failures(&self.load.sent[from..]);
        let lost = self.judged.tally.lost;
        let broken = if !failures.is_empty() {
            Some(format!("not acknowledged {failures:?}"))
        } else if !drained || lost > 0 {
            Some(format!("{lost} events were missing after {:?}", self.options.settle))
        } else if deliveries == 0 {
            Some("nothing was delivered".to_owned())
        } else if from_send.p99_us > self.options.p99_limit_us() {
            Some("too late".to_owned())
        } else {
            None
        };
        let step = Step {
            rate,
            deliveries,
            deliveries_per_second: deliveries as f64 / seconds,
            from_send,
            from_commit: self.judged.from_commit.since(&earlier.from_commit).percentiles(),
            costs: effort.costs(deliveries),
            effort,
            broken,
        };
        Ok((step, drained))
    }

    /// Waits until everybody has what was acknowledged; returns whether it was in time.
    async fn settle(&mut self, stage: &mut Stage) -> Result<bool> {
        let heads = self.heads();
        self.options.settle(&mut self.swarm, &heads, stage).await
    }

    /// The last event of each topic, as far as it was acknowledged.
    fn heads(&self) -> Vec<u64> {
        publishing::heads(&self.load.sent, self.options.topics as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rates that are tried when `limit` is the highest that holds.
    fn tries(first: f64, highest: f64, limit: f64) -> Vec<f64> {
        let mut search = Search { held: None, broken: None, first, highest };
        let mut tries = Vec::new();
        while let Some(rate) = search.next() {
            tries.push(rate);
            search.tried(rate, rate <= limit);
            assert!(tries.len() < STEPS_MAX, "{tries:?}");
        }
        assert!(search.held.is_none_or(|held| held <= limit && (held == highest || held * NEAR >= limit)));
        tries
    }

    #[test]
    fn the_highest_rate_is_found_from_both_sides() {
        assert_eq!(tries(1000.0, 100_000.0, 1900.0)[..3], [1000.0, 2000.0, 1000.0 * 2.0_f64.sqrt()]);
        assert_eq!(tries(1000.0, 100_000.0, 300.0)[..3], [1000.0, 500.0, 250.0]);
        assert_eq!(tries(1000.0, 4000.0, 1e9), [1000.0, 2000.0, 4000.0]);
        assert!(tries(1000.0, 4000.0, 0.0).iter().all(|rate| *rate >= 0.9), "it ends");
        tries(10.0, 100_000.0, 5432.1);
    }
}
