//! What was used up first when there were ever more users. Pure.

use serde::Serialize;

use crate::{measure::latency, users::series::Point};

/// From here on, threads wait for a processor.
const FULL: f64 = 0.9;

/// Writes that wait for their commit: more than one batch, all the time.
const WRITE_QUEUE_FULL: f64 = 100.0;

/// How many times as long as at the first level a commit takes that waits for the database.
const COMMIT_TIMES: f64 = 3.0;

/// And how long at least, microseconds: twice nothing is nothing.
const COMMIT_US: f64 = 20_000.0;

/// What was in use at one level, on average; `None` where it is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct InUse {
    /// Processors.
    pub(super) generator_cpu: Option<f64>,
    pub(super) nodes_cpu: Option<f64>,
    pub(super) redis_cpu: Option<f64>,
    pub(super) postgres_cpu: Option<f64>,
    pub(super) write_queue: Option<f64>,
    pub(super) pool_waiting: Option<f64>,
    pub(super) commit_mean_us: Option<f64>,
}

impl InUse {
    /// The average of these points.
    pub(super) fn of<'a>(points: impl Iterator<Item = &'a Point> + Clone) -> Self {
        let mean = |number: fn(&Point) -> Option<f64>| {
            let numbers: Vec<f64> = points.clone().filter_map(number).collect();
            (!numbers.is_empty()).then(|| numbers.iter().sum::<f64>() / numbers.len() as f64)
        };
        Self {
            generator_cpu: mean(|point| point.generator_cpu),
            nodes_cpu: mean(|point| point.nodes_cpu),
            redis_cpu: mean(|point| point.redis_cpu),
            postgres_cpu: mean(|point| point.postgres_cpu),
            write_queue: mean(|point| point.write_queue),
            pool_waiting: mean(|point| point.pool_waiting),
            commit_mean_us: mean(|point| point.commit_mean_us),
        }
    }

    /// All that is known of this machine's processors, if everything runs on it.
    fn processors(&self) -> f64 {
        [self.generator_cpu, self.nodes_cpu, self.redis_cpu, self.postgres_cpu].into_iter().flatten().sum()
    }

    /// What is used up, compared with the first level.
    fn used_up(&self, first: &Self, processors: usize) -> Vec<String> {
        let full = FULL * processors as f64;
        let all = self.processors();
        let parts = [
            ("load generator", self.generator_cpu),
            ("nodes", self.nodes_cpu),
            ("Redis", self.redis_cpu),
            ("Postgres", self.postgres_cpu),
        ];
        let mut found = Vec::new();
        let alone = parts.iter().find(|(_, cpu)| cpu.is_some_and(|cpu| cpu >= full));
        if let Some((name, _)) = alone {
            found.push(format!("processors, all by the {name}"));
        } else if all >= full {
            let told: Vec<String> =
                parts.iter().filter_map(|(name, cpu)| Some(format!("{name} {:.2}", (*cpu)?))).collect();
            found.push(format!("this machine's processors: {}, of {processors}", told.join(", ")));
        }
        if let Some(redis) = self.redis_cpu.filter(|cpu| *cpu >= FULL) {
            found.push(format!("Redis, which has one thread: {redis:.2} of a processor"));
        }
        if let Some(queue) = self.write_queue.filter(|queue| *queue >= WRITE_QUEUE_FULL) {
            found.push(format!("commits: {queue:.0} writes wait"));
        }
        if let Some(waiting) = self.pool_waiting.filter(|waiting| *waiting >= 1.0) {
            found.push(format!("connections to the database: {waiting:.0} calls wait"));
        }
        if let Some((now, then)) = self.commit_mean_us.zip(first.commit_mean_us)
            && now >= COMMIT_US
            && now >= COMMIT_TIMES * then
        {
            let [now, then] = [now, then].map(|us| latency::time(us as u64));
            found.push(format!("the database: a commit takes {now}, at the first level {then}"));
        }
        found
    }
}

/// The first level at which anything was used up, and what; `None` when nothing that is watched was.
pub(super) fn first(levels: &[InUse], processors: usize) -> Option<(usize, Vec<String>)> {
    let begin = levels.first()?;
    let used_up = levels.iter().map(|level| level.used_up(begin, processors)).enumerate();
    used_up.into_iter().find(|(_, found)| !found.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(generator: f64, nodes: f64) -> InUse {
        InUse {
            generator_cpu: Some(generator),
            nodes_cpu: Some(nodes),
            commit_mean_us: Some(2_000.0),
            ..InUse::default()
        }
    }

    fn found(second: InUse) -> String {
        let found = first(&[level(0.1, 0.1), second, level(4.0, 4.0)], 4);
        let (at, found) = found.unwrap_or_default();
        format!("{at} {}", found.join("; "))
    }

    #[test]
    fn what_was_used_up_first_is_named() {
        assert!(found(level(1.0, 1.0)).starts_with("2 processors, all by the load generator"));
        assert!(found(level(3.7, 0.2)).starts_with("1 processors, all by the load generator"));
        assert!(found(level(0.2, 3.7)).starts_with("1 processors, all by the nodes"));
        assert!(
            found(level(1.8, 1.8))
                .starts_with("1 this machine's processors: load generator 1.80, nodes 1.80")
        );
        let quiet = level(0.5, 0.5);
        assert!(found(InUse { redis_cpu: Some(0.95), ..quiet }).starts_with("1 Redis"));
        assert!(found(InUse { write_queue: Some(500.0), ..quiet }).starts_with("1 commits: 500"));
        assert!(found(InUse { pool_waiting: Some(3.0), ..quiet }).starts_with("1 connections to the"));
        assert!(found(InUse { commit_mean_us: Some(30_000.0), ..quiet }).starts_with("1 the database"));
    }

    #[test]
    fn what_was_not_used_up_is_not_named() {
        assert_eq!(first(&[level(1.0, 1.0), level(1.5, 1.5)], 4), None);
        assert_eq!(first(&[], 4), None);
        assert_eq!(first(&[InUse::default()], 4), None, "nothing is known");
    }
}
