//! Questions to the other nodes, and their answers: over the bus, within a deadline.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use common::{ids::NodeId, operations::Window};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};

use super::connections::{ConnectionFacts, ConnectionQuery};

/// How long the others have.
pub(super) const DEADLINE: Duration = Duration::from_secs(1);

/// Questions of this node that wait for answers at a time.
pub(super) const ASKING_MAX: usize = 16;

/// What a node wants to know. A node that does not know a question, because it is older, is missing among those that have
/// answered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Question {
    /// Names it; chosen by chance, so that processes need not agree.
    pub(super) number: u64,
    /// Its connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connections: Option<ConnectionQuery>,
    /// How many follow a stream, by its key, through it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) followers: Option<String>,
    /// What its operations did.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) operations: bool,
}

/// What a node has answered.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Answer {
    /// The question.
    pub(super) number: u64,
    /// The name of the node that answers.
    pub(super) node: String,
    /// The first ones of its connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connections: Option<Vec<ConnectionFacts>>,
    /// How many follow the stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) followers: Option<u64>,
    /// Its operations in the last minute and in the last five.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operations: Option<Vec<(String, Window, Window)>>,
}

/// The questions that wait.
#[derive(Debug, Default)]
pub(super) struct Questions(Mutex<BTreeMap<u64, mpsc::Sender<(NodeId, Answer)>>>);

/// A question on its way. Dropped, it waits no more.
pub(super) struct Asked<'a> {
    questions: &'a Questions,
    number: u64,
    answers: mpsc::Receiver<(NodeId, Answer)>,
}

impl Questions {
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<u64, mpsc::Sender<(NodeId, Answer)>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the answers to a question that is about to be asked of so many nodes; `None` where [`ASKING_MAX`] wait
    /// already.
    pub(super) fn expect(&self, number: u64, nodes: usize) -> Option<Asked<'_>> {
        let (sender, answers) = mpsc::channel(nodes.max(1));
        let mut waiting = self.waiting();
        if waiting.len() >= ASKING_MAX {
            return None;
        }
        waiting.insert(number, sender);
        Some(Asked { questions: self, number, answers })
    }

    /// Takes an answer. One that nobody waits for any more is dropped.
    pub(super) fn take(&self, process: NodeId, answer: Answer) {
        let sender = self.waiting().get(&answer.number).cloned();
        if let Some(sender) = sender {
            // A node answers once; what it sends beyond that finds no room.
            let _ = sender.try_send((process, answer));
        }
    }
}

impl Asked<'_> {
    /// The answers of these processes, until all have answered or the deadline is over. Returns them, and who is missing.
    pub(super) async fn answers(&mut self, mut of: BTreeSet<NodeId>) -> (Vec<Answer>, BTreeSet<NodeId>) {
        let deadline = Instant::now() + DEADLINE;
        let mut answers = Vec::new();
        while !of.is_empty()
            && let Ok(Some((process, answer))) = timeout_at(deadline, self.answers.recv()).await
        {
            if of.remove(&process) {
                answers.push(answer);
            }
        }
        (answers, of)
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.questions.waiting().remove(&self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn process(name: &str) -> NodeId {
        name.parse().unwrap()
    }

    fn answer(number: u64, node: &str) -> Answer {
        Answer { number, node: node.to_owned(), ..Answer::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_in_time_is_missing() {
        let questions = Questions::default();
        let mut asked = questions.expect(7, 2).unwrap();
        questions.take(process("a"), answer(7, "n1"));
        questions.take(process("stranger"), answer(7, "n9"));
        questions.take(process("b"), answer(8, "of another question"));
        let began = Instant::now();
        let (answers, missing) = asked.answers([process("a"), process("b")].into()).await;
        assert_eq!((answers.len(), answers[0].node.as_str()), (1, "n1"));
        assert_eq!((missing, began.elapsed()), ([process("b")].into(), DEADLINE));
        drop(asked);
        assert!(questions.waiting().is_empty());
        questions.take(process("b"), answer(7, "too late"));
    }

    #[tokio::test(start_paused = true)]
    async fn it_waits_no_longer_than_for_the_last_one_and_there_is_a_bound() {
        let questions = Questions::default();
        let mut waiting: Vec<_> = (0..ASKING_MAX as u64).map(|n| questions.expect(n, 1).unwrap()).collect();
        assert!(questions.expect(99, 1).is_none());
        questions.take(process("a"), answer(0, "n1"));
        let began = Instant::now();
        let (answers, missing) = waiting[0].answers([process("a")].into()).await;
        assert_eq!((answers.len(), missing.len(), began.elapsed()), (1, 0, Duration::ZERO));
        drop(waiting);
        assert!(questions.expect(99, 0).is_some());
    }
}
