//! A device's commands on its connection: sent, sent again, given up.

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use super::{Asker, LIST_ID, Link, Pending, SEND_WAIT};
use crate::device::wire::{Gone, Wire};

impl Link {
    /// Asks for the topics, then sends every command without an answer, in the order in which they were
    /// given.
    pub(super) async fn resend(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        self.ask_for_topics(wire).await?;
        let needs_list = self.options.drafts && !self.shared.state().replica.is_complete();
        if needs_list && !self.pending.iter().any(|pending| pending.id == LIST_ID) {
            let message = json!({ "type": "DRAFT_LIST", "id": LIST_ID });
            self.pending.insert(0, Pending::new(LIST_ID.to_owned(), message, Asker::List));
        }
        for pending in self.pending.iter_mut().filter(|pending| !pending.asker.is_of_connection()) {
            if pending.sent {
                self.shared.change(|state| state.counters.resent += 1);
            }
            pending.sent = true;
            pending.waits = false;
            send(wire, &pending.message).await?;
        }
        Ok(())
    }

    /// Sends a command and notes that it waits for its answer.
    pub(super) async fn ask(
        &mut self,
        wire: &mut Wire,
        id: String,
        message: Value,
        asker: Asker,
    ) -> Result<(), Gone> {
        let mut pending = Pending::new(id, message.clone(), asker);
        pending.sent = true;
        self.pending.push(pending);
        send(wire, &message).await
    }

    pub(super) async fn repeat_due(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        let now = Instant::now();
        if self.topics_at.is_some_and(|at| at <= now) {
            self.ask_for_topics(wire).await?;
        }
        if self.repeat_at.is_some_and(|at| at <= now) {
            self.repeat_at = None;
            for pending in self.pending.iter_mut().filter(|pending| pending.waits) {
                pending.waits = false;
                pending.sent = true;
                send(wire, &pending.message).await?;
            }
        }
        Ok(())
    }

    /// Says which refused commands will not come again.
    pub(super) async fn give_up(&mut self, wire: &mut Wire) -> Result<(), Gone> {
        for id in std::mem::take(&mut self.given_up) {
            send(wire, &json!({ "type": "PING", "id": id })).await?;
        }
        Ok(())
    }
}

async fn send(wire: &mut Wire, message: &Value) -> Result<(), Gone> {
    timeout(SEND_WAIT, wire.send(message)).await.unwrap_or(Err(Gone))
}
