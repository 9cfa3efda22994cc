//! What a node would meet at its Redis.

use std::{collections::BTreeMap, time::Duration};

use common::time::unix_ms;
use fred::{
    error::Error,
    prelude::{Client, ClientLike, EventInterface, FredResult, PubsubInterface, Value},
    types::{ClusterHash, CustomCommand},
};
use tokio::time::timeout;

use super::{
    BusConfigError, RedisBus, RedisOptions,
    session::{Ended, Session, hint},
};
use crate::bus::Channel;

/// How long a message may take from one connection to the other.
const RETURN_TIMEOUT: Duration = Duration::from_secs(2);

/// What was found. What the user of the connection may not ask for is `None`: nodes do without.
#[derive(Debug)]
pub struct RedisInspection {
    /// The version that the server names.
    pub version: Option<String>,
    /// The server's clock minus this machine's, milliseconds.
    pub clock_difference_ms: Option<i64>,
    /// The limits of what may wait for a subscriber: hard, soft, and the seconds that the soft one may be exceeded.
    pub output_buffer: Option<[u64; 3]>,
    /// Whether a message came back that was sent over one connection and subscribed to over another; the reason why
    /// not, a sentence.
    pub delivers: Result<(), String>,
}

/// Connects as the bus does, twice, and sends a message from one connection to the other.
///
/// # Errors
/// Why there is no connection, a sentence.
pub async fn inspect(options: RedisOptions) -> Result<RedisInspection, String> {
    let bus = RedisBus::new(options).map_err(|error: BusConfigError| error.to_string())?;
    let connect = || async { Session::connect(&bus.shared).await.map_err(|ended: Ended| ended.to_string()) };
    let (listening, publishing) = (connect().await?, connect().await?);
    let channel = Channel::Canary(format!("doctor-{:016x}:0", rand::random::<u64>()).into());
    let delivers = deliver(&listening.client, &publishing.client, bus.shared.name(&channel)).await;
    let client = &publishing.client;
    Ok(RedisInspection {
        version: version(client).await,
        clock_difference_ms: clock_difference(client).await,
        output_buffer: output_buffer(client).await,
        delivers,
    })
}

async fn deliver(listening: &Client, publishing: &Client, channel: String) -> Result<(), String> {
    let refused = |what: &str, error: &Error| format!("Redis refuses {what}: {error}{}", hint(error));
    let mut messages = listening.message_rx();
    listening.ssubscribe(channel.clone()).await.map_err(|error| refused("subscriptions", &error))?;
    let sent: FredResult<()> = publishing.spublish(channel.clone(), "doctor").await;
    sent.map_err(|error| refused("messages", &error))?;
    let returned = async {
        while let Ok(message) = messages.recv().await {
            if *message.channel == *channel {
                return Ok(());
            }
        }
        Err("the connection was closed".to_owned())
    };
    let late = || format!("a message did not come back within {} s", RETURN_TIMEOUT.as_secs());
    timeout(RETURN_TIMEOUT, returned).await.unwrap_or_else(|_| Err(late()))
}

async fn ask(client: &Client, command: &'static str, arguments: &[&str]) -> Option<Value> {
    let command = CustomCommand::new_static(command, ClusterHash::FirstKey, false);
    let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
    client.custom(command, arguments).await.ok()
}

async fn version(client: &Client) -> Option<String> {
    let info = ask(client, "INFO", &["server"]).await?.into_string()?;
    let line = info.lines().find_map(|line| line.strip_prefix("redis_version:"))?;
    Some(line.trim().to_owned())
}

async fn clock_difference(client: &Client) -> Option<i64> {
    let before = unix_ms();
    let time: Vec<u64> = ask(client, "TIME", &[]).await?.convert().ok()?;
    // In the middle of the question, as far as can be told.
    let here = u64::midpoint(before, unix_ms());
    let [seconds, micros] = time[..] else { return None };
    let there = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    i64::try_from(there).ok()?.checked_sub(i64::try_from(here).ok()?)
}

async fn output_buffer(client: &Client) -> Option<[u64; 3]> {
    let answer = ask(client, "CONFIG", &["GET", "client-output-buffer-limit"]).await?;
    let limits: BTreeMap<String, String> = answer.convert().ok()?;
    let limits = limits.get("client-output-buffer-limit")?;
    let mut words = limits.split_whitespace().skip_while(|word| *word != "pubsub").skip(1);
    let mut number = || words.next()?.parse().ok();
    Some([number()?, number()?, number()?])
}
