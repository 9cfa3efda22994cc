//! The lean clients of a scenario: who they are, and where they connect.

use anyhow::Result;

use crate::{
    cluster::Place,
    swarm::{
        self, Swarm,
        orders::{Setup, To, Wire},
    },
};

/// Who is to connect.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) count: usize,
    /// How many of them are devices of one user.
    pub(super) per_user: usize,
    pub(super) scope: &'static str,
    pub(super) wire: Wire,
    pub(super) batch: bool,
    /// Topics, which clients follow in turn. Without any, each follows its user's stream.
    pub(super) topics: Vec<String>,
}

/// Clients that are not connected yet.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) swarm: Swarm,
    /// Where they may connect.
    pub(super) to: Vec<To>,
    pub(super) users: Vec<String>,
}

/// A name that no other run has used: streams and devices of theirs are still there.
pub(super) fn run_name() -> String {
    format!("load-{:08x}", rand::random::<u32>())
}

impl Clients {
    /// Makes their tokens, and starts the helpers.
    pub(super) async fn prepare(self, place: &Place, run: &str) -> Result<Prepared> {
        let mut to = Vec::new();
        for entrance in &place.entrances {
            to.push(swarm::to(entrance).await?);
        }
        let local = swarm::all_local(&to);
        let users: Vec<String> =
            (0..self.count.div_ceil(self.per_user)).map(|user| format!("{run}-{user}")).collect();
        let tokens = place.signer.tokens(&users, self.scope).await?;
        let own = self.topics.is_empty();
        let clients = (0..self.count)
            .map(|number| {
                let user = number / self.per_user;
                let stream = if own { user } else { number % self.topics.len() };
                swarm::client(number, format!("d{number}"), tokens[user].clone(), stream, local)
            })
            .collect();
        let streams = if own { vec![None; users.len()] } else { self.topics.into_iter().map(Some).collect() };
        let setup = Setup { wire: self.wire, batch: self.batch, streams, clients };
        Ok(Prepared { swarm: Swarm::start(setup).await?, to, users })
    }
}
