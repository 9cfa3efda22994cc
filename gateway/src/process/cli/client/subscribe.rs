//! `draftwire subscribe`: the events of topics as lines.

use std::collections::BTreeMap;

use clap::{Arg, ArgAction, ArgMatches, Command};
use common::TopicName;
use draftwire_client::{Client, ConnectionState, Cursor, Json, Topic, TopicError, TopicItem};
use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use serde::Serialize;

use super::{
    failure::{EXIT_CODES, Failure},
    interrupt::interrupted,
    output::{Output, push_line},
    server::Server,
};

/// Topics in one command; the server's own bound is smaller unless it is told otherwise.
const TOPICS_MAX: usize = 1000;

/// Lines that are written together when that many are there.
const LINES_AT_ONCE: usize = 256;

/// Where to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
enum From {
    /// The oldest event that is kept.
    Start,
    /// The next event.
    Now,
    /// Behind this one.
    Cursor(Cursor),
}

/// What to follow.
#[derive(Debug)]
pub(super) struct Options {
    topics: BTreeMap<String, From>,
    follow: bool,
    presence: bool,
}

/// The command line.
pub(super) fn command() -> Command {
    Command::new("subscribe")
        .about("Print the events of topics, one JSON object a line, each with its cursor")
        .after_help(format!(
            "\
Each line is a message as docs/protocol.md describes it, with the cursor behind it as its last field:
{{\"type\":\"GOAL\",\"stream\":\"topic:match:1\",\"seq\":17,…,\"payload\":{{\"minute\":61}},\"cursor\":\"7f3a:17\"}}

Without --follow it ends at the last event that there is. Lost connections are taken up where they broke. When events \
are gone that were asked for, a line {{\"type\":\"SYNCED\",…,\"missedBefore\":501,…}} stands in their place. What ends a \
command early says on the standard error where to go on.

Examples:
  draftwire subscribe match:1                         # all that is kept
  draftwire subscribe match:1 --from 7f3a:17 --follow # behind that event, and on
  draftwire subscribe room:1 room:2 --from room:1=7f3a:9,room:2=7f3a:4

{EXIT_CODES}"
        ))
        .args([
            Arg::new("topics")
                .value_name("TOPIC")
                .required(true)
                .num_args(1..)
                .value_parser(|text: &str| text.parse::<TopicName>())
                .help("The topics to print (a token with the scope subscribe:<topic>, unless they are public)"),
            Arg::new("from")
                .long("from")
                .value_name("CURSOR")
                .action(ArgAction::Append)
                .value_delimiter(',')
                .help(
                    "Where to begin: start, now, or behind a cursor; with several topics <topic>=<cursor> of each \
                     [default: start, with --follow now]",
                ),
            Arg::new("follow")
                .long("follow")
                .short('f')
                .action(ArgAction::SetTrue)
                .help("Go on with what comes; signals are printed as well"),
            Arg::new("presence")
                .long("presence")
                .action(ArgAction::SetTrue)
                .requires("follow")
                .help("Be present in the topics, and print who else is: PRESENCE, JOIN, LEAVE"),
        ])
}

impl Options {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let follow = matches.get_flag("follow");
        let default = if follow { From::Now } else { From::Start };
        let names = matches.get_many::<TopicName>("topics").into_iter().flatten();
        let mut topics: BTreeMap<String, From> =
            names.map(|name| (name.to_string(), default.clone())).collect();
        if topics.len() > TOPICS_MAX {
            return Err(Failure::Usage(format!("more than {TOPICS_MAX} topics")));
        }
        let several = topics.len() > 1;
        for given in matches.get_many::<String>("from").into_iter().flatten() {
            let (topic, place) = match given.split_once('=') {
                Some((topic, place)) => (Some(topic), place),
                None => (None, given.as_str()),
            };
            let from =
                match place {
                    "start" => From::Start,
                    "now" => From::Now,
                    cursor => From::Cursor(cursor.parse().map_err(|error| {
                        Failure::Usage(format!("--from {given}: {error}; or start, or now"))
                    })?),
                };
            match topic {
                None if several && matches!(from, From::Cursor(_)) => {
                    let what = format!("--from {given}: say of which topic, as in match:1={given}");
                    return Err(Failure::Usage(what));
                }
                None => topics.values_mut().for_each(|place| *place = from.clone()),
                Some(topic) => match topics.get_mut(topic) {
                    Some(place) => *place = from,
                    None => {
                        return Err(Failure::Usage(format!(
                            "--from {given}: {topic} is not among the topics"
                        )));
                    }
                },
            }
        }
        Ok(Self { topics, follow, presence: matches.get_flag("presence") })
    }
}

/// What was received of a topic, and where the topic stands with it.
struct Received {
    topic: String,
    item: Result<TopicItem, TopicError>,
    cursor: Option<Cursor>,
}

/// Where the topics stand, as far as has been written.
type Positions = BTreeMap<String, Cursor>;

/// What goes on there, for people, where so many topics are followed; `None` while nothing is known.
fn advice(positions: &Positions, topics: usize) -> Option<String> {
    // Also where only one of several is known: a bare cursor is taken for one topic alone.
    let places = positions.iter().map(|(topic, cursor)| match topics {
        1 => cursor.to_string(),
        _ => format!("{topic}={cursor}"),
    });
    let places = places.collect::<Vec<_>>().join(",");
    (!places.is_empty()).then(|| format!("go on with --from {places}"))
}

/// Prints the events.
pub(super) async fn run(server: &Server, options: Options, output: &Output) -> Result<(), Failure> {
    let client = server.connect(server.client()).await?;
    let watching = tokio::spawn(report_connection(client.clone()));
    let mut positions = Positions::default();
    let ended = tokio::select! {
        ended = print_all(server, &client, &options, output, &mut positions) => ended,
        interrupted = interrupted() => Err(interrupted),
        closed = output.closed() => Err(closed),
    };
    watching.abort();
    client.close();
    ended.map_err(|failure| match advice(&positions, options.topics.len()) {
        Some(advice) => failure.after(advice),
        None => failure,
    })
}

async fn print_all(
    server: &Server,
    client: &Client,
    options: &Options,
    output: &Output,
    positions: &mut Positions,
) -> Result<(), Failure> {
    let mut followed = Vec::new();
    for (name, from) in &options.topics {
        let topic = server.in_time("no answer", subscribe(client, name, from, options.presence)).await?;
        let topic = topic.map_err(|error| Failure::of_topic(server.url(), name, &error))?;
        positions.extend(topic.cursor().map(|cursor| (name.clone(), cursor.clone())));
        if options.follow || *from != From::Now {
            followed.push(items(topic, options.follow).boxed());
        }
    }
    let mut coming = stream::select_all(followed);
    loop {
        // Without --follow, everything that is waited for is there already.
        let next = if options.follow {
            coming.next().await
        } else {
            server.in_time("no event", coming.next()).await?
        };
        let Some(first) = next else { return Ok(()) };
        let (mut text, mut passed, mut failed) = (String::new(), Positions::default(), None);
        let (mut received, mut lines) = (Some(first), 0);
        while let Some(Received { topic, item, cursor }) = received {
            match item {
                Ok(item) => print(&mut text, &topic, &item, cursor.as_ref())?,
                Err(error) => failed = Some(Failure::of_topic(server.url(), &topic, &error)),
            }
            passed.extend(cursor.map(|cursor| (topic, cursor)));
            lines += 1;
            let goes_on = failed.is_none() && lines < LINES_AT_ONCE;
            received = if goes_on { coming.next().now_or_never().flatten() } else { None };
        }
        output.write(text).await?;
        positions.extend(passed);
        if let Some(failure) = failed {
            return Err(failure);
        }
    }
}

/// Follows a topic from a place.
async fn subscribe(client: &Client, name: &str, from: &From, presence: bool) -> Result<Topic, TopicError> {
    let request = || {
        let request = client.topic(name);
        if presence { request.presence() } else { request }
    };
    match from {
        From::Now => request().subscribe().await,
        From::Cursor(cursor) => request().from(cursor.clone()).subscribe().await,
        From::Start => {
            // The answer names the history; before its first event everything is missed, and what is left comes.
            let head = client.topic(name).subscribe().await?.cursor().cloned();
            let Some(Cursor { epoch, .. }) = head else { return request().subscribe().await };
            request().from(Cursor::new(epoch, 0)).subscribe().await
        }
    }
}

/// What comes of a topic; without `follow` until it is live.
fn items(topic: Topic, follow: bool) -> impl Stream<Item = Received> + Send {
    stream::unfold(Some(topic), move |topic| async move {
        let mut topic = topic?;
        let item = topic.next().await;
        let received = Received { topic: topic.name().to_owned(), cursor: topic.cursor().cloned(), item };
        let is_over = received.item.is_err() || (!follow && matches!(received.item, Ok(TopicItem::Synced)));
        Some((received, (!is_over).then_some(topic)))
    })
}

/// Adds the line of an item, where it has one.
fn print(text: &mut String, topic: &str, item: &TopicItem, cursor: Option<&Cursor>) -> Result<(), Failure> {
    /// A message of a topic that is no event.
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Message<'a, P> {
        #[serde(rename = "type")]
        kind: &'static str,
        stream: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        event: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        origin: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        missed_before: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<P>,
    }
    let stream = &format!("topic:{topic}");
    fn message<'a, P>(kind: &'static str, stream: &'a str, payload: Option<P>) -> Message<'a, P> {
        Message { kind, stream, event: None, origin: None, missed_before: None, payload }
    }
    match item {
        TopicItem::Event(event) => push_line(text, event, cursor),
        TopicItem::Missed { before } => {
            eprintln!("draftwire: {topic}: events before {before} are gone");
            let missed = message::<()>("SYNCED", stream, None);
            push_line(text, &Message { missed_before: Some(*before), ..missed }, cursor)
        }
        TopicItem::Signal(signal) => {
            let message = message::<&Json>("SIGNAL", stream, Some(&signal.data));
            let (event, origin) = (Some(signal.event.as_str()), Some(signal.origin.as_str()));
            push_line(text, &Message { event, origin, ..message }, cursor)
        }
        TopicItem::Presence(presence) => {
            push_line(text, &message("PRESENCE", stream, Some(presence)), cursor)
        }
        TopicItem::Join(change) => push_line(text, &message("JOIN", stream, Some(change)), cursor),
        TopicItem::Leave(change) => push_line(text, &message("LEAVE", stream, Some(change)), cursor),
        _ => Ok(()),
    }
}

/// Says when the connection is lost, and when there is one again.
async fn report_connection(client: Client) {
    let (mut state, mut is_lost) = (client.state(), false);
    drop(client);
    while state.changed().await.is_ok() {
        match &*state.borrow_and_update() {
            ConnectionState::Waiting { error, .. } if !is_lost => {
                is_lost = true;
                eprintln!("draftwire: {error}; coming back");
            }
            ConnectionState::Connected { node, .. } if is_lost => {
                is_lost = false;
                eprintln!("draftwire: connected again, with node {node}");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        let args = std::iter::once("subscribe").chain(line.split_whitespace());
        let matches = command().try_get_matches_from(args).map_err(|error| error.to_string())?;
        Options::read(&matches).map_err(|error| error.to_string())
    }

    #[test]
    fn places_are_said_for_one_topic_or_for_each() {
        let one = |line| read(line).unwrap().topics["a"].clone();
        assert_eq!(one("a"), From::Start);
        assert_eq!(one("a --follow"), From::Now);
        assert_eq!(one("a --follow --from start"), From::Start);
        assert_eq!(one("a --from e:4"), From::Cursor(Cursor::new("e", 4)));
        let several = read("a b:1 --from b:1=e:4,a=now").unwrap().topics;
        assert_eq!(several["a"], From::Now);
        assert_eq!(several["b:1"], From::Cursor(Cursor::new("e", 4)));
        assert_eq!(read("a b --from now").unwrap().topics["b"], From::Now);
        for (line, what) in [
            ("", "required"),
            ("a*", "1 to 128"),
            ("a --from 4", "a cursor is"),
            ("a b --from e:4", "of which topic"),
            ("a --from b=e:4", "not among the topics"),
            ("a --presence", "--follow"),
        ] {
            let refused = read(line).unwrap_err();
            assert!(refused.contains(what), "{line}: {refused}");
        }
    }

    #[test]
    fn the_advice_is_what_the_command_takes() {
        let mut positions = Positions::default();
        assert_eq!(advice(&positions, 1), None);
        positions.insert("a".to_owned(), Cursor::new("e", 4));
        let takes = |topics: &str, advice: &str| {
            read(&format!("{topics} {}", advice.trim_start_matches("go on with "))).unwrap();
        };
        for (topics, count, expected) in [("a", 1, "e:4"), ("a b:1", 2, "a=e:4")] {
            let advice = advice(&positions, count).unwrap();
            assert_eq!(advice, format!("go on with --from {expected}"));
            takes(topics, &advice);
        }
        positions.insert("b:1".to_owned(), Cursor::new("e", 5));
        let advice = advice(&positions, 2).unwrap();
        assert_eq!(advice, "go on with --from a=e:4,b:1=e:5");
        takes("a b:1", &advice);
    }
}
