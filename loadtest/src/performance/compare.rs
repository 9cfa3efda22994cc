//! An older server and the current one, in turn, in the same runs. Pure.

use super::{
    page::{self, Page, number},
    runs::Results,
};

/// A figure that is compared; smaller is better, or larger.
struct Figure {
    key: &'static str,
    name: &'static str,
    at: &'static str,
    show: fn(Option<f64>) -> String,
    larger: bool,
}

const fn smaller(
    key: &'static str,
    name: &'static str,
    at: &'static str,
    show: fn(Option<f64>) -> String,
) -> Figure {
    Figure { key, name, at, show, larger: false }
}

const fn larger(
    key: &'static str,
    name: &'static str,
    at: &'static str,
    show: fn(Option<f64>) -> String,
) -> Figure {
    Figure { key, name, at, show, larger: true }
}

const FIGURES: [Figure; 11] = [
    smaller("feed-50", "CPU of nodes and Redis for a delivery", "/delivered/cpu_each/with_bus_us", page::cpu),
    smaller("feed-50", "p99 from intended sending to client", "/delivered/from_send/p99_us", page::time),
    larger(
        "saturate",
        "highest deliveries a second",
        "/saturated/highest/deliveries_per_second",
        page::count,
    ),
    smaller("saturate", "p99 at half of it", "/saturated/half/from_send/p99_us", page::time),
    smaller(
        "connections-seen",
        "CPU for a connection with a token seen before",
        "/levels/1/cpu_us_each",
        page::cpu,
    ),
    smaller("connections-seen", "memory of a connection", "/levels/1/bytes_each", page::size),
    larger("writers-topic", "events committed a second, one topic", "/published/per_second", page::count),
    larger(
        "writers-arrays",
        "events committed a second, one topic, 200 a request",
        "/published/per_second",
        page::count,
    ),
    larger("writers-drafts", "changes committed a second, 1,000 drafts", "/written/per_second", page::count),
    smaller(
        "drafts-3",
        "CPU of the cluster for a delivery of a draft",
        "/spent/each_delivery/all_us",
        page::cpu,
    ),
    smaller("drafts-3", "p99 of a change on other devices", "/deliveries/from_intended/p99_us", page::time),
];

/// What was made faster, in the order in which it was found: what a profile or a count showed, what was done
/// about it, and which figure shows it.
const TRAIL: [&str; 13] = [
    "A session asked its socket, its commands and its clock at each event, and touched all of its state for that: a \
     profile of a node has shown it beside the kernel's write. Now these wake it through a waker of their own, and at \
     an event only the event is handed over (`feed-50`).",
    "A mailbox was a set on the heap and a notification with a list of waiters. It is one lock now (`feed-50`).",
    "A single frame goes out with `send` instead of `writev`, which cost a copy of the vector in the kernel \
     (`feed-50`).",
    "The task of a connection held room for joining, closing and waiting for a slow client, several kilobytes. That is \
     on the heap now, while it is needed (`connections-seen`).",
    "Nothing went back to the system after a crowd had left. The allocator is asked for it when a quarter of the \
     connections has gone. Another allocator, mimalloc, was tried and gave back no more (`connections`).",
    "In a storm of resumes a query was sent as soon as the last one was answered, so that each was for a few streams. \
     The pause between two follows what they take (`storm`).",
    "An append took four round trips while it held the row of its stream. Without a key it is one statement \
     (`writers-topic`, `writers-arrays`).",
    "At saturation each event was cloned and handed to the kernel for each follower by itself. Followers that are behind \
     share blocks of sixteen frames, and a stream keeps enough events that a burst does not send them to the log \
     (`saturate`).",
    "The load generator needed as much for a delivery as the server. It reads an event once for all clients that are \
     sent the same bytes (`saturate`, with both servers).",
    "Memory of a crowd whose clients had a token each did not go back all the same. A walk over the heap showed why: \
     what is remembered of a verified token was two small pieces, and each kept its page. It is one text for all of \
     them now (`connections`).",
    "A profile of Postgres at 1,000 changes of drafts a second showed no end of planning: it took the lengths of the \
     arrays that it was given for something to plan by, and never kept a plan. It is told to (`drafts-3`, \
     `writers-drafts`).",
    "A change of a draft took five round trips, three of them under the lock of its stream. It is read and, if its \
     stream still stands there, written: two (`drafts-3`, `writers-drafts`).",
    "A node committed in four shards, each by itself, and writes in company waited a millisecond for more. It is one \
     shard that begins a commit every 5 ms at most, or with 16 writes: larger batches, and no wait where they are \
     large (`writers-topic`, `drafts-3`).",
];

/// Both, and the ratio.
pub(super) fn render(results: &Results, page: &mut Page) {
    if results.before.is_empty() {
        return page.missing(
            "no older server was given to compare with. `report --before FILE` runs the same scenarios \
             alternately with it and with the current one",
        );
    }
    page.say(
        "The same scenarios, run one after the other with the older server and with the current one, on the same \
         machine. A ratio below 1 is a gain where less is better, above 1 where more is.",
    );
    let mut rows = Vec::new();
    for Figure { key, name, at, show, larger } in &FIGURES {
        let Some(before) = results.before.get(*key) else { continue };
        let was = match &before.found {
            Ok(json) => number(json, at),
            Err(why) => {
                rows.push(row(key, name, format!("not measured: {why}"), "see there", "unknown", *larger));
                continue;
            }
        };
        let is = results.found(key).ok().and_then(|json| number(json, at));
        let ratio = is.zip(was).filter(|(_, was)| *was > 0.0).map(|(is, was)| is / was);
        let ratio = ratio.map_or_else(|| "unknown".to_owned(), |ratio| format!("{ratio:.2}"));
        rows.push(row(key, name, show(was), &show(is), &ratio, *larger));
    }
    if rows.is_empty() {
        return page.missing("none of the runs that are compared was asked for");
    }
    page.table(&["run", "figure", "before", "now", "ratio", "better is"], &rows);
    page.say("What was changed, in the order in which it was found, with the run that shows it:");
    page.list(TRAIL.map(str::to_owned));
}

fn row(key: &str, name: &str, before: String, now: &str, ratio: &str, larger: bool) -> Vec<String> {
    let better = if larger { "more" } else { "less" };
    vec![key.to_owned(), name.to_owned(), before, now.to_owned(), ratio.to_owned(), better.to_owned()]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::runs::Ran, *};

    #[test]
    fn both_are_shown_with_their_ratio_and_failures_with_their_reason() {
        let ran = |found| Ran { line: "x".to_owned(), seconds: 1.0, found };
        let feed = |us: f64| Ok(json!({"delivered": {"cpu_each": {"with_bus_us": us}}}));
        let mut results = Results::default();
        results.now.insert("feed-50".to_owned(), ran(feed(3.0)));
        results.before.insert("feed-50".to_owned(), ran(feed(6.0)));
        results.before.insert("saturate".to_owned(), ran(Err("it fell over".to_owned())));
        let mut page = Page::new("report");
        render(&results, &mut page);
        assert!(page.text.contains("| 6.00 µs | 3.00 µs | 0.50 | less |"), "{}", page.text);
        assert!(page.text.contains("it fell over"), "{}", page.text);
        let mut page = Page::new("report");
        render(&Results::default(), &mut page);
        assert!(page.text.contains("no older server"), "{}", page.text);
    }
}
