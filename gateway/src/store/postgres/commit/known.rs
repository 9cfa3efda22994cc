//! The states in memory that a batch can be decided on.

use std::collections::{HashMap, HashSet};

use common::{Epoch, Seq, Stream, UserId};

use super::super::state_cache::{StateCache, Trust, UserState};
use crate::store::{
    DraftOp, Op, Write,
    plan::{Batch, Lookup, Plan, State},
};

/// What is known of the users whose drafts a batch changes, taken out of the cache.
pub(super) struct Known {
    states: HashMap<UserId, UserState>,
    /// Those of whom enough is known to decide all of their changes.
    usable: HashSet<UserId>,
}

impl Known {
    /// Takes the states of the batch's users out of the cache. They are usable where `trusted`.
    pub(super) fn take(cache: &StateCache, batch: &Batch<'_>, trusted: bool) -> Self {
        let mut states = HashMap::new();
        let mut asked = HashSet::new();
        let mut usable = HashSet::new();
        for (write, _) in draft_writes(batch) {
            if asked.insert(&write.user)
                && let Some(state) = cache.take(&write.user)
            {
                states.insert(write.user.clone(), state);
            }
        }
        if trusted {
            // A write is compared with one history.
            let epoch = states.values().next().map(|state| state.epoch.clone());
            let current = |(_, state): &(&UserId, &UserState)| {
                state.trust.is_given() && Some(&state.epoch) == epoch.as_ref()
            };
            usable = states.iter().filter(current).map(|(user, _)| user.clone()).collect();
            for (write, op) in draft_writes(batch) {
                let known =
                    states.get(&write.user).is_some_and(|state| state.drafts.contains_key(op.draft_id()));
                // Whether an id is free is not known.
                if !known || matches!(op, DraftOp::Create { .. }) {
                    usable.remove(&write.user);
                }
            }
        }
        Self { states, usable }
    }

    pub(super) fn is_used(&self) -> bool {
        !self.usable.is_empty()
    }

    /// How many changes of drafts are decided without a query, and how many are not.
    pub(super) fn hits_and_misses(&self, batch: &Batch<'_>) -> (usize, usize) {
        let (hits, misses): (Vec<_>, Vec<_>) =
            draft_writes(batch).partition(|(write, _)| self.usable.contains(&write.user));
        (hits.len(), misses.len())
    }

    /// Whether a write has to be looked up although its command is taken to be new.
    pub(super) fn must_read(&self, write: &Write) -> bool {
        matches!(write.op, Op::Draft(_)) && !self.usable.contains(&write.user)
    }

    /// Adds what is known to the state that the batch is decided on. Returns the history that it is of.
    pub(super) fn fill(&self, batch: &Batch<'_>, state: &mut State) -> Option<Epoch> {
        let mut epoch = None;
        for (write, op) in draft_writes(batch) {
            if !self.usable.contains(&write.user) {
                continue;
            }
            let Some(known) = self.states.get(&write.user) else { continue };
            epoch.get_or_insert(&known.epoch);
            state.heads.insert(write.stream(), known.head);
            if let Some(live) = known.live {
                state.live.insert(write.user.clone(), live);
            }
            if let Some(row) = known.drafts.get(op.draft_id()) {
                state.drafts.insert((write.user.clone(), op.draft_id().clone()), row.clone());
            }
        }
        epoch.cloned()
    }

    /// Returns whether a plan holds although only `lookups` were read. What was decided on memory must move the head
    /// that it was decided on, because nothing else is compared when it is written. And a command may only be
    /// refused by one who knows that it was not carried out before.
    pub(super) fn decides(&self, batch: &Batch<'_>, lookups: &[Lookup<'_>], plan: &Plan) -> bool {
        let moved = |user: &UserId| {
            plan.heads.iter().any(|(stream, _)| matches!(stream, Stream::User(of) if of == user))
        };
        let looked_up: HashSet<usize> =
            lookups.iter().filter(|lookup| lookup.id.is_some()).map(|lookup| lookup.index).collect();
        let is_certain = |(index, answer): (usize, &Result<_, _>)| {
            let has_id = batch.write(index).is_some_and(|write| write.id.is_some());
            answer.is_ok() || !has_id || looked_up.contains(&index)
        };
        self.usable.iter().all(moved) && plan.answers.iter().enumerate().all(is_certain)
    }

    /// Puts everything back as it was, for the next attempt.
    pub(super) fn put_back(self, cache: &StateCache) {
        for (user, state) in self.states {
            cache.put(user, state, |_| true);
        }
    }

    /// Puts in place what a batch has left, which was decided on `heads` and is committed.
    pub(super) fn replace(
        mut self,
        cache: &StateCache,
        batch: &Batch<'_>,
        epoch: &Epoch,
        heads: &HashMap<Stream, Seq>,
        after: State,
    ) {
        let users: HashSet<&UserId> = draft_writes(batch).map(|(write, _)| &write.user).collect();
        let mut drafts: HashMap<UserId, HashMap<_, _>> = HashMap::new();
        for ((user, id), row) in after.drafts {
            drafts.entry(user).or_default().insert(id, row);
        }
        for user in users {
            let stream = Stream::User(user.clone());
            let (Some(before), Some(head)) = (heads.get(&stream), after.heads.get(&stream)) else { continue };
            let changed = drafts.remove(user).unwrap_or_default();
            let live = after.live.get(user).copied();
            let trust = Trust::default();
            let mut state =
                UserState { epoch: epoch.clone(), head: *head, drafts: HashMap::new(), live, trust };
            if let Some(known) = self.states.remove(user) {
                if known.epoch == *epoch && known.head == *before {
                    state.trust = known.trust.confirmed();
                    state.drafts = known.drafts;
                } else {
                    state.trust = known.trust.overtaken();
                }
            }
            let in_use: HashSet<_> = changed.keys().cloned().collect();
            state.drafts.extend(changed);
            cache.put(user.clone(), state, |id| in_use.contains(id));
        }
    }
}

fn draft_writes<'a>(batch: &Batch<'a>) -> impl Iterator<Item = (&'a Write, &'a DraftOp)> {
    batch.writes().filter_map(|write| match &write.op {
        Op::Draft(op) => Some((write, op)),
        Op::Append(_) => None,
    })
}
