//! The speed to reach: each target with what was measured. Pure.

use serde_json::Value;

use super::{
    page::{self, number},
    runs::Results,
};

/// A target and what was measured.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) limit: String,
    /// As said to people; why it is not known otherwise.
    pub(super) measured: Result<String, String>,
    pub(super) reached: Option<bool>,
    /// What stands in the way where it is missed, if that is known.
    pub(super) why_missed: Option<&'static str>,
}

impl Target {
    fn because(self, why: &'static str) -> Self {
        Self { why_missed: Some(why), ..self }
    }
}

/// On which side of its limit a figure has to be.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Most(f64),
    Least(f64),
}

fn target(
    name: &str,
    limit: Limit,
    found: Result<f64, String>,
    show: impl Fn(Option<f64>) -> String,
) -> Target {
    let (word, bound) = match limit {
        Limit::Most(bound) => ("at most", bound),
        Limit::Least(bound) => ("at least", bound),
    };
    let reached = found.as_ref().ok().map(|found| match limit {
        Limit::Most(bound) => *found <= bound,
        Limit::Least(bound) => *found >= bound,
    });
    Target {
        name: name.to_owned(),
        limit: format!("{word} {}", show(Some(bound))),
        measured: found.map(|found| show(Some(found))),
        reached,
        why_missed: None,
    }
}

/// A figure of a run.
fn of(results: &Results, key: &str, at: &str) -> Result<f64, String> {
    number(results.found(key)?, at).ok_or_else(|| format!("the run {key} gave no such figure"))
}

/// The level of `connections` with the most clients; of those with as many, the last.
pub(super) fn largest(json: &Value) -> Option<&Value> {
    page::all(json, "/levels").iter().max_by_key(|level| level["clients"].as_u64())
}

fn largest_of(results: &Results, key: &str, at: &str) -> Result<f64, String> {
    let level = largest(results.found(key)?).ok_or_else(|| format!("the run {key} has no levels"))?;
    number(level, at).ok_or_else(|| format!("the run {key} gave no such figure"))
}

fn ratio(one: Result<f64, String>, other: Result<f64, String>) -> Result<f64, String> {
    let (one, other) = (one?, other?);
    if other > 0.0 { Ok(one / other) } else { Err("there is nothing to compare with".to_owned()) }
}

/// All of them.
pub(super) fn all(results: &Results) -> Vec<Target> {
    let floor = |times: Option<f64>| format!("{} times the floor", page::times(times));
    let rate = |rate: Option<f64>| format!("{}/s", page::count(rate));
    let cpu = "/delivered/cpu_each/with_bus_us";
    let held = largest_of(results, "connections", "/connected").and_then(|connected| {
        let ended = largest_of(results, "connections", "/ended")?;
        Ok(connected - ended)
    });
    let devices = |key: &str| of(results, key, "/spent/each_delivery/all_us");
    let larger = |a: Result<f64, String>, b: Result<f64, String>| match (a, b) {
        (Ok(a), Ok(b)) => Ok(a.max(b)),
        (Err(why), _) | (_, Err(why)) => Err(why),
    };
    vec![
        target(
            "CPU of nodes and Redis for a delivery, 1,000 followers, 10 events/s",
            Limit::Most(1.3),
            of(results, "feed-10", "/floor_delivery_times_with_bus"),
            floor,
        )
        .because(
            "At ten events a second the caches are cold whenever one comes, and a session is more memory \
             to fetch than the floor's bare socket. To reach it, whoever commits would have to write to \
             the sockets itself, on one processor, while nobody else has a turn.",
        ),
        target(
            "The same at 50 events/s",
            Limit::Most(1.3),
            of(results, "feed-50", "/floor_delivery_times_with_bus"),
            floor,
        ),
        target(
            "Deliveries at the highest rate with p99 below 100 ms and nothing lost",
            Limit::Least(3_000_000.0),
            of(results, "saturate", "/saturated/highest/deliveries_per_second"),
            rate,
        )
        .because(
            "The load generator that reads all of it, and checks it, shares the processors. A pass over all \
             followers takes tens of milliseconds there, so one that is disturbed by anything else on the machine \
             is late for many of them at once: the steps in the chapter show how near to the limit the p99 is, and \
             how much more is delivered beyond it.",
        ),
        target(
            "Latency below saturation, 50 events/s: p99 from the event's time, of the floor's from intended sending",
            Limit::Most(1.0),
            ratio(
                of(results, "feed-50", "/delivered/from_commit/p99_us"),
                of(results, "feed-50", "/floor_delivery/from_send/p99_us"),
            ),
            |times| format!("{} times", page::times(times)),
        )
        .because(
            "The event's time is taken before it is committed, and the floor commits nothing. Both go through a \
             thousand sockets one after the other; the last of them has what its turn takes.",
        ),
        target(
            "Resident memory of an idle, authenticated connection",
            Limit::Most(6.0 * 1024.0),
            largest_of(results, "connections", "/bytes_each"),
            page::size,
        ),
        target("Connections held on one node", Limit::Least(15_000.0), held, page::count),
        target(
            "Memory after they have closed, of that before",
            Limit::Most(1.1),
            ratio(
                largest_of(results, "connections", "/resident_after"),
                largest_of(results, "connections", "/resident_idle"),
            ),
            |times| format!("{} times", page::times(times)),
        )
        .because(
            "Tokens that were verified stay remembered, in bounded room, until newer ones take their place; and each \
             thread of the allocator keeps a few pieces of each size for itself, with their pages.",
        ),
        target(
            "Server CPU for a connection with a token seen before",
            Limit::Most(120.0),
            largest_of(results, "connections-seen", "/cpu_us_each"),
            page::cpu,
        ),
        target(
            "Durable publishes of 100 writers to one topic, one event a request",
            Limit::Least(10.0),
            of(results, "writers-topic", "/floor_inserts_times"),
            floor,
        )
        .because(
            "The floor shares commits as well: Postgres lets writers that wait at the same time wait for \
             one write to the disk, and here that is quick. Ten times as many requests are more than the \
             processors can parse and answer, by the load generator and the node. Publishers that send \
             what they have in one request, as in the next line, pay that once.",
        ),
        target(
            "The same, 200 events a request",
            Limit::Least(10.0),
            of(results, "writers-arrays", "/floor_inserts_times"),
            floor,
        )
        .because(
            "Commits to one topic follow each other, since each numbers its events behind the last: while one is under \
             way, one process of Postgres works and the node waits for it, so not all of the processors are in use. \
             Each event costs what the chapter says: it is parsed, numbered, and inserted with its index entry; larger \
             commits (`WRITE_BATCH_MAX`) make it a little less.",
        ),
        target(
            "Durable changes of 100 writers to drafts of 1,000 users",
            Limit::Least(5.0),
            of(results, "writers-drafts", "/floor_inserts_times"),
            floor,
        )
        .because(
            "The floor inserts a row, and its commits are shared by Postgres. A change of a draft is a \
             request of its own, locks its stream, reads the draft and the command, merges, and writes \
             four rows and three entries of indexes: the chapter has what that takes of the processors.",
        ),
        target(
            "Commit to client, p99, at half of the highest rate",
            Limit::Most(3.0),
            of(results, "saturate", "/commit_to_client_times"),
            |times| format!("{} times the floor's commit", page::times(times)),
        )
        .because(
            "At that rate a node goes through a thousand sockets again and again, and the last of them \
             has its turn when the others have been written to. A commit waits for one write to the disk, \
             which is quick here.",
        ),
        target(
            "CPU of nodes, Redis and Postgres for a delivery of a draft, 2 and 3 devices, the larger",
            Limit::Most(100.0),
            larger(devices("drafts-2"), devices("drafts-3")),
            page::cpu,
        )
        .because(
            "Each change is a request, an answer, an event for each device, and four rows. The transaction comes on \
             top, and at this rate few changes share one: a longer `WRITE_WINDOW` makes it more of them, and each \
             waits longer.",
        ),
        target(
            "Queries of the log for each resumed connection in a storm",
            Limit::Most(1.0 / 50.0),
            of(results, "storm", "/storm/queries_each"),
            |each| each.map_or_else(String::new, |each| format!("{each:.4}")),
        ),
        target(
            "CPU of nodes and Redis for a delivery, 3 nodes against 1",
            Limit::Most(1.2),
            ratio(of(results, "feed-50-nodes-3", cpu), of(results, "feed-50", cpu)),
            |times| format!("{} times", page::times(times)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::runs::Ran, *};

    fn results(key: &str, json: Value) -> Results {
        let mut results = Results::default();
        results.now.insert(key.to_owned(), Ran { line: key.to_owned(), seconds: 1.0, found: Ok(json) });
        results
    }

    fn reached(results: &Results, name: &str) -> Option<bool> {
        all(results).into_iter().find(|target| target.name.contains(name)).expect("it is a target").reached
    }

    #[test]
    fn a_target_is_reached_up_to_its_limit_and_unknown_without_a_figure() {
        let feed = |times: f64| results("feed-10", json!({"floor_delivery_times_with_bus": times}));
        assert_eq!(reached(&feed(1.3), "10 events/s"), Some(true));
        assert_eq!(reached(&feed(1.31), "10 events/s"), Some(false));
        assert_eq!(reached(&feed(1.0), "50 events/s"), None, "another run");
        let unknown = &all(&Results::default())[0];
        assert!(unknown.measured.as_ref().is_err_and(|why| why.contains("not asked for")), "{unknown:?}");
    }

    #[test]
    fn the_largest_level_is_looked_at_and_of_equal_ones_the_last() {
        let level = |clients: u64, cpu: f64| json!({"clients": clients, "cpu_us_each": cpu});
        let json = json!({"levels": [level(10, 900.0), level(1000, 200.0), level(1000, 110.0)]});
        assert_eq!(reached(&results("connections-seen", json), "seen before"), Some(true));
    }
}
