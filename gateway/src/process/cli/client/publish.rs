//! `draftwire publish`: events from arguments or from lines of the input.

use std::time::Duration;

use clap::{Arg, ArgAction, ArgGroup, ArgMatches, Command};
use common::{Code, TopicName, UserId, protocol::NewEvent};
use tokio::{sync::mpsc, time::timeout};

use super::{
    failure::{EXIT_CODES, Failure},
    input::{self, Line},
    interrupt::interrupted,
    output::Output,
    request::Publisher,
    server::Server,
};

/// The most events that the server takes in one request.
const EVENTS_MAX: usize = 1000;

/// About how large a request becomes, in bytes: half of what the server takes. An event that is larger is alone in one.
const REQUEST_BYTES: usize = 512 << 10;

/// How long the input may pause until what there is of a request is sent. Under a key it is not: only the same
/// requests are the same under the same key.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest key: behind it comes the number of the request, and the server takes 64 characters.
const KEY_CHARS_MAX: usize = 50;

/// Where to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Topic(TopicName),
    User(UserId),
    All,
}

/// What to publish, and where.
#[derive(Debug)]
pub(super) struct Options {
    target: Target,
    /// One event, as JSON; the lines of the input otherwise.
    event: Option<String>,
    key: Option<String>,
    events_max: usize,
}

/// The command line.
pub(super) fn command() -> Command {
    Command::new("publish")
        .about("Publish events from the input, one JSON object a line, or one from the arguments")
        .after_help(format!(
            "\
Each line is an event: {{\"event\":\"GOAL\",\"data\":{{\"minute\":61}},\"priority\":\"high\"}}; data and priority may \
be left out.
For each request that is committed, the output has the numbers of its first and its last event: \
{{\"first\":1,\"seq\":500}}.

With --key, a run that was interrupted can be repeated with the same input, and publishes each line once: requests are \
then always made of the same lines. Without, what there is of a request is sent when the input pauses.

Examples:
  draftwire publish --topic match:1 --event GOAL --data '{{\"minute\":61}}'
  draftwire publish --topic prices --key prices-2026-11-28 < prices.ndjson
  tail -f moves.ndjson | draftwire publish --topic match:1

{EXIT_CODES}"
        ))
        .args([
            Arg::new("topic")
                .long("topic")
                .value_name("TOPIC")
                .value_parser(|text: &str| text.parse::<TopicName>())
                .help("Publish to a topic (a token with the scope publish:<topic> or service)"),
            Arg::new("user")
                .long("user")
                .value_name("USER")
                .value_parser(|text: &str| text.parse::<UserId>())
                .help("Publish to all devices of a user (a token with the scope service)"),
            Arg::new("broadcast")
                .long("broadcast")
                .action(ArgAction::SetTrue)
                .help("Publish to everybody (a token with the scope service)"),
            Arg::new("event").long("event").value_name("NAME").help("Publish one event of this type"),
            Arg::new("data").long("data").value_name("JSON").requires("event").help("Its data"),
            Arg::new("priority")
                .long("priority")
                .value_name("PRIORITY")
                .requires("event")
                .value_parser(["normal", "high", "critical"])
                .help("Its priority"),
            Arg::new("key")
                .long("key")
                .value_name("KEY")
                .value_parser(key)
                .help("Makes it safe to repeat, for a day: 1 to 50 characters of A-Z a-z 0-9 : _ . -"),
            Arg::new("events-max")
                .long("events-max")
                .value_name("NUMBER")
                .value_parser(clap::value_parser!(u64).range(1..=EVENTS_MAX as u64))
                .default_value("500")
                .help("The most events in one request, which are committed together; with --key, repeat it as it was"),
        ])
        .group(ArgGroup::new("target").args(["topic", "user", "broadcast"]).required(true))
}

fn key(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":_.-".contains(&byte);
    if (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain) {
        return Ok(text.to_owned());
    }
    Err(format!("give 1 to {KEY_CHARS_MAX} characters of A-Z a-z 0-9 : _ . -"))
}

impl Options {
    pub(super) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let target = match (matches.get_one::<TopicName>("topic"), matches.get_one::<UserId>("user")) {
            (Some(topic), _) => Target::Topic(topic.clone()),
            (None, Some(user)) => Target::User(user.clone()),
            (None, None) => Target::All,
        };
        let given = |name: &str| matches.get_one::<String>(name);
        let event = given("event").map(|event| one_event(event, given("data"), given("priority")));
        let events_max = matches.get_one::<u64>("events-max").copied().unwrap_or_default();
        Ok(Self {
            target,
            event: event.transpose()?,
            key: given("key").cloned(),
            events_max: usize::try_from(events_max).unwrap_or(EVENTS_MAX),
        })
    }
}

/// The event that the arguments describe, as JSON.
fn one_event(event: &str, data: Option<&String>, priority: Option<&String>) -> Result<String, Failure> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut json = format!("{{\"event\":{}", quoted(event));
    if let Some(data) = data {
        // It must not add fields of its own.
        serde_json::from_str::<&serde_json::value::RawValue>(data)
            .map_err(|error| Failure::Usage(format!("--data is no JSON: {error}")))?;
        json += &format!(",\"data\":{data}");
    }
    if let Some(priority) = priority {
        json += &format!(",\"priority\":{}", quoted(priority));
    }
    json.push('}');
    check(&json).map_err(Failure::Usage)?;
    // In a request of lines it is one.
    Ok(json.replace(['\n', '\r'], " "))
}

/// Says what is wrong with an event, in the server's words.
fn check(json: &str) -> Result<(), String> {
    match NewEvent::from_json(json) {
        Ok(event) if event.signal => Err("signal: this command publishes events, no signals".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// Events of one request.
#[derive(Debug, Default)]
struct Chunk {
    body: String,
    events: usize,
    /// The numbers of the first and the last line.
    lines: (u64, u64),
}

impl Chunk {
    fn push(&mut self, line: &Line) {
        if self.events == 0 {
            self.lines.0 = line.number;
        }
        self.lines.1 = line.number;
        self.events += 1;
        self.body.push_str(&line.text);
        self.body.push('\n');
    }
}

/// Puts lines together to requests. The same lines give the same requests, unless the input may pause.
struct Chunks {
    lines: mpsc::Receiver<Result<Line, Failure>>,
    left_over: Option<Line>,
    events_max: usize,
    may_pause: bool,
}

impl Chunks {
    /// The events of the next request, none at the end.
    async fn next(&mut self) -> Result<Chunk, Failure> {
        let mut chunk = Chunk::default();
        while chunk.events < self.events_max {
            let line = match self.left_over.take() {
                Some(line) => line,
                None if chunk.events > 0 && self.may_pause => match timeout(PAUSE, self.lines.recv()).await {
                    Ok(Some(line)) => line?,
                    Ok(None) | Err(_) => break,
                },
                None => match self.lines.recv().await {
                    Some(line) => line?,
                    None => break,
                },
            };
            check(&line.text).map_err(|what| Failure::Usage(format!("line {}: {what}", line.number)))?;
            if chunk.events > 0 && chunk.body.len() + line.text.len() >= REQUEST_BYTES {
                self.left_over = Some(line);
                break;
            }
            chunk.push(&line);
        }
        Ok(chunk)
    }
}

/// Publishes.
pub(super) async fn run(server: &Server, options: Options, output: &Output) -> Result<(), Failure> {
    server.require_token()?;
    let publisher = match &options.target {
        Target::Topic(topic) => Publisher::new(server, &["v1", "topics", topic.as_str(), "events"])?,
        Target::User(user) => Publisher::new(server, &["v1", "users", user.as_str(), "events"])?,
        Target::All => Publisher::new(server, &["v1", "broadcast"])?,
    };
    let is_repeatable = options.key.is_some();
    let key = options.key.unwrap_or_else(|| format!("{:016x}", rand::random::<u64>()));
    if let Some(event) = options.event {
        let numbers = publisher.publish(&event, &format!("{key}-1")).await?;
        return output.print(&numbers).await;
    }
    let (lines, events_max) = (input::lines(), options.events_max);
    let mut chunks = Chunks { lines, left_over: None, events_max, may_pause: !is_repeatable };
    let mut published = 0;
    let ended = tokio::select! {
        ended = publish_all(&publisher, &mut chunks, &key, output, &mut published) => ended,
        interrupted = interrupted() => Err(interrupted),
    };
    ended.map_err(|failure| {
        let rest = match &failure {
            _ if !is_repeatable => "",
            // Each line was checked, so it is the key: repeating it would be refused again.
            Failure::Refused { code, .. } if code == Code::BadRequest.as_str() => {
                "; an earlier run with this key had another input here, or one that ended earlier: publish what it \
                 did not have with another key"
            }
            _ => "; repeat it with the same input and key for the rest",
        };
        match published {
            0 => failure.after(format!("no line is known to be published{rest}")),
            line => failure.after(format!("published up to line {line}{rest}")),
        }
    })
}

/// Publishes all that comes. `published` is the last line that is known to be committed.
async fn publish_all(
    publisher: &Publisher<'_>,
    chunks: &mut Chunks,
    key: &str,
    output: &Output,
    published: &mut u64,
) -> Result<(), Failure> {
    for number in 1_u64.. {
        let chunk = chunks.next().await?;
        if chunk.events == 0 {
            break;
        }
        let (first, last) = chunk.lines;
        let answer = publisher.publish(&chunk.body, &format!("{key}-{number}")).await;
        let numbers = answer.map_err(|failure| match failure {
            Failure::Refused { code, message } if first == last => {
                Failure::Refused { code, message: format!("line {first}: {message}") }
            }
            Failure::Refused { code, message } => {
                Failure::Refused { code, message: format!("lines {first} to {last}: {message}") }
            }
            other => other,
        })?;
        *published = last;
        match output.print(&numbers).await {
            // Whoever did not want to read all of the numbers still wants all of the lines published.
            Ok(()) | Err(Failure::OutputClosed) => {}
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn chunks(lines: &[&str], events_max: usize) -> Vec<(usize, (u64, u64))> {
        let (sender, receiver) = mpsc::channel(lines.len());
        for (number, text) in (1..).zip(lines) {
            sender.send(Ok(Line { number, text: (*text).to_owned() })).await.unwrap();
        }
        drop(sender);
        let mut chunks = Chunks { lines: receiver, left_over: None, events_max, may_pause: false };
        let mut made = Vec::new();
        loop {
            let chunk = chunks.next().await.unwrap();
            if chunk.events == 0 {
                return made;
            }
            made.push((chunk.events, chunk.lines));
        }
    }

    #[tokio::test]
    async fn requests_are_bounded_by_number_and_size() {
        let line = r#"{"event":"E"}"#;
        assert_eq!(chunks(&[line; 5], 2).await, [(2, (1, 2)), (2, (3, 4)), (1, (5, 5))]);
        let large = format!(r#"{{"event":"E","data":"{}"}}"#, "x".repeat(REQUEST_BYTES));
        let lines = [line, &large, line, line];
        assert_eq!(chunks(&lines, 100).await, [(1, (1, 1)), (1, (2, 2)), (2, (3, 4))]);
    }

    #[test]
    fn an_event_of_the_arguments_is_one_line_with_no_more_than_they_say() {
        let data = "{\n\"exact\": 1.50}".to_owned();
        let event = one_event("GOAL", Some(&data), Some(&"high".to_owned())).unwrap();
        assert_eq!(event, r#"{"event":"GOAL","data":{ "exact": 1.50},"priority":"high"}"#);
        for (event, data) in [("goal", "1"), ("ACK", "1"), ("GOAL", "1,\"signal\":true"), ("GOAL", "{")] {
            assert!(one_event(event, Some(&data.to_owned()), None).is_err(), "{event} {data}");
        }
        assert!(check(r#"{"event":"E","signal":true}"#).is_err());
    }
}
