//! Asks the other nodes, and answers them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{Stream, ids::NodeId, operations::Window, time::unix_ms};
use tokio::time::sleep;
use tracing::debug;

use super::{
    Cluster,
    connections::{ConnectionFacts, ConnectionPage, ConnectionQuery},
    profiles::Profiles,
    questions::{Answer, Question},
    report::Message,
};
use crate::operations;

/// This node waits for answers as often as it may.
#[derive(Debug)]
pub(crate) struct TooMany;

/// Who follows a stream.
#[derive(Debug)]
pub(crate) struct StreamFollowers {
    /// How many through each node, by its name.
    pub(crate) by_node: Vec<(String, u64)>,
    /// Nodes that have not answered in time.
    pub(crate) missing: Vec<String>,
    /// Whether all nodes are known.
    pub(crate) complete: bool,
}

/// What the nodes have answered.
struct Answers {
    answers: Vec<Answer>,
    missing: Vec<String>,
    complete: bool,
}

/// A session that runs is asked again after this pause, so often.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
const BUSY_ATTEMPTS: usize = 4;

impl Cluster {
    /// The connections of all nodes, or of one, page by page. Takes a second where a node does not answer.
    ///
    /// # Errors
    /// When too many ask.
    pub(crate) async fn connections(
        &self,
        query: ConnectionQuery,
        node: Option<&NodeId>,
    ) -> Result<ConnectionPage, TooMany> {
        let limit = query.limit;
        let question = Question { connections: Some(query), ..Question::default() };
        let Answers { answers, missing, complete } = self.ask(question, node).await?;
        let pages = answers.into_iter().map(|answer| answer.connections.unwrap_or_default());
        Ok(ConnectionPage::of(pages, limit, missing, complete))
    }

    /// How many follow a stream through each node. Where somebody attends it, the node counts as one more.
    ///
    /// # Errors
    /// When too many ask.
    pub(crate) async fn followers(&self, stream: &Stream) -> Result<StreamFollowers, TooMany> {
        let question = Question { followers: Some(stream.to_string()), ..Question::default() };
        let Answers { answers, missing, complete } = self.ask(question, None).await?;
        let counts = answers.into_iter().map(|answer| (answer.node, answer.followers.unwrap_or(0)));
        let mut by_node: Vec<_> = counts.filter(|(_, followers)| *followers > 0).collect();
        by_node.sort_unstable();
        Ok(StreamFollowers { by_node, missing, complete })
    }

    /// What the operations of all nodes did, each by itself and together.
    ///
    /// # Errors
    /// When too many ask.
    pub(crate) async fn profiles(&self) -> Result<Profiles, TooMany> {
        let question = Question { operations: true, ..Question::default() };
        let Answers { answers, missing, complete } = self.ask(question, None).await?;
        let of_nodes = answers.into_iter().filter_map(|answer| Some((answer.node, answer.operations?)));
        Ok(Profiles::of(of_nodes, unix_ms(), operations::threshold(), missing, complete))
    }

    /// Asks all nodes that can be heard, or one, this one included.
    async fn ask(&self, question: Question, node: Option<&NodeId>) -> Result<Answers, TooMany> {
        let question = Question { number: rand::random(), ..question };
        let is_meant = |name: &str| node.is_none_or(|node| node.as_str() == name);
        let (others, complete) = self.living(is_meant);
        let mut asked = self.questions.expect(question.number, others.len()).ok_or(TooMany)?;
        if !others.is_empty() {
            self.say(&Message::of_question(question.clone()));
        }
        let mut answers = Vec::new();
        if is_meant(self.sources.name.as_str()) {
            answers.push(self.answer(&question).await);
        }
        let (of_others, silent) = asked.answers(others.keys().cloned().collect()).await;
        answers.extend(of_others);
        let mut missing: Vec<String> =
            silent.iter().filter_map(|process| others.get(process).cloned()).collect();
        missing.sort_unstable();
        Ok(Answers { answers, missing, complete })
    }

    /// Answers what another node asks, unless so many ask that this one has more to do.
    pub(super) fn asked(self: &Arc<Self>, question: Question) {
        let Ok(place) = self.answering.clone().try_acquire_owned() else { return };
        let this = self.clone();
        tokio::spawn(async move {
            let answer = this.answer(&question).await;
            this.say(&Message::of_answer(answer));
            drop(place);
        });
    }

    async fn answer(&self, question: &Question) -> Answer {
        let mut answer =
            Answer { number: question.number, node: self.sources.name.to_string(), ..Answer::default() };
        if let Some(query) = &question.connections {
            answer.connections = Some(self.list(query).await);
        }
        if let Some(stream) = &question.followers {
            let followers = stream.parse().map(|stream: Stream| {
                self.sources.hub.followed(&stream).map_or(0, |(_, followers)| followers)
            });
            answer.followers = followers.ok().map(|followers| followers as u64);
        }
        if question.operations {
            let measured = operations::profile().operations.into_iter();
            let windows =
                measured.map(|own| -> (String, Window, Window) { (own.name, own.minute, own.five_minutes) });
            answer.operations = Some(windows.collect());
        }
        answer
    }

    /// Lists connections; those whose sessions run just now are looked at again.
    async fn list(&self, query: &ConnectionQuery) -> Vec<ConnectionFacts> {
        let mut found: BTreeMap<String, ConnectionFacts> = BTreeMap::new();
        for attempt in 1.. {
            let mut is_busy = false;
            for facts in self.sources.here.list(query) {
                is_busy |= facts.cursors.is_none();
                let is_seen = found.get(&facts.connection).is_some_and(|found| found.cursors.is_some());
                if !is_seen {
                    found.insert(facts.connection.clone(), facts);
                }
            }
            if !is_busy || attempt == BUSY_ATTEMPTS {
                break;
            }
            sleep(BUSY_PAUSE).await;
        }
        found.into_values().take(query.limit).collect()
    }

    fn say(&self, message: &Message) {
        match message.encode() {
            Ok(bytes) => self.sources.hub.say_to_nodes(&bytes),
            Err(error) => debug!(%error, "a message to other nodes cannot be written"),
        }
    }
}
