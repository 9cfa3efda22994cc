//! The first message of every connection.

use common::{
    ConnectionId, DeviceId, UserId,
    message::Message,
    protocol::{ServerMessage, Welcome},
    time::unix_ms,
};

use super::context::ConnectionContext;
use crate::{config, subscriptions::InitialStreams};

/// The `WELCOME` of a connection that has joined its first streams.
pub(super) fn welcome(
    context: &ConnectionContext,
    limits: &config::WebSocket,
    streams: &InitialStreams,
    user_id: Option<UserId>,
    connection_id: ConnectionId,
    device: DeviceId,
) -> Message {
    let all = streams.all();
    let payload = Welcome {
        connection_id,
        device,
        node: context.listen.node.clone(),
        epoch: all.epoch,
        seq: streams.user().map(|user| user.seq),
        all_seq: all.seq,
        heartbeat_ms: u64::try_from(limits.heartbeat.max.as_millis()).unwrap_or(u64::MAX),
        max_message_bytes: limits.connection_message_bytes_max(user_id.is_some()) as u64,
        server_time: unix_ms(),
        user_id,
    };
    ServerMessage::Welcome { payload }.message()
}
