//! The connections of this node, for the cluster's picture.

use std::sync::Arc;

use common::time::unix_ms;
use fanout::Hub;

use super::{
    connections::{Connections, Described, Standing},
    drain::Drain,
};
use crate::cluster::{self, ConnectionCounts, ConnectionFacts, ConnectionQuery, CursorFacts};

/// What the edge of this node tells of its connections.
pub(crate) struct Here {
    pub(crate) node: String,
    pub(crate) hub: Arc<Hub>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) drain: Arc<Drain>,
}

impl Here {
    fn facts(&self, client: &Described, heard_ms_ago: u64, standing: Option<Standing>) -> ConnectionFacts {
        let mut facts = ConnectionFacts {
            connection: client.connection.to_string(),
            user: client.user.as_ref().map(ToString::to_string),
            device: client.device.to_string(),
            node: self.node.clone(),
            since: client.since,
            transport: client.transport.label().to_owned(),
            encoding: client.encoding.to_owned(),
            heard_at: unix_ms().saturating_sub(heard_ms_ago),
            ..ConnectionFacts::default()
        };
        if let Some(Standing { round_trip, bytes_waiting, cursors, more_cursors }) = standing {
            let cursors = cursors.into_iter().map(|(stream, seq)| {
                let head = self.hub.followed(&stream).and_then(|(head, _)| head).unwrap_or(seq).max(seq);
                let behind = head.0 - seq.0;
                CursorFacts { stream: stream.to_string(), seq: seq.0, head: head.0, behind }
            });
            facts.round_trip_ms = round_trip.map(|round_trip| round_trip.as_secs_f64() * 1000.0);
            facts.bytes_waiting = bytes_waiting.map(|bytes| bytes as u64);
            facts.cursors = Some(cursors.collect());
            facts.more_cursors = more_cursors as u64;
        }
        facts
    }
}

impl cluster::Here for Here {
    fn connections(&self) -> ConnectionCounts {
        self.connections.by_kind()
    }

    fn users(&self) -> usize {
        self.connections.users()
    }

    fn is_stopping(&self) -> bool {
        self.drain.is_stopping()
    }

    fn list(&self, query: &ConnectionQuery) -> Vec<ConnectionFacts> {
        let listed = self.connections.list(query.user.as_ref(), query.after.as_ref(), query.limit);
        let facts = listed.into_iter().filter_map(|(place, heard_ago)| {
            let heard_ms_ago = u64::try_from(heard_ago.as_millis()).unwrap_or(u64::MAX);
            Some(self.facts(place.client.get()?, heard_ms_ago, place.standing()))
        });
        facts.collect()
    }
}
