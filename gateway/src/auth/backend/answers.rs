//! What the backend has answered a moment ago, and what it is being asked. Pure: the time is an argument.

use std::{collections::HashMap, sync::Arc};

use common::UserId;
use tokio::{sync::watch, time::Instant};

/// What the backend has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Why not; `None` where it is allowed. Empty where the backend gives no reason.
    pub(crate) denied: Option<Arc<str>>,
    /// Until when this holds.
    pub(crate) until: Instant,
}

/// The backend has given no answer that counts. Nothing is known of the user's rights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unanswered;

/// The most answers of one generation. There are two generations, so at most twice as many are remembered.
const GENERATION_MAX: usize = 16 * 1024;

/// Half of the SHA-256 of a question: users and scopes may be long.
type Key = [u8; 16];

/// Where an answer will stand; empty until it is there.
type Asking = watch::Receiver<Option<Result<Verdict, Unanswered>>>;

/// Answers by question, in two generations: when the young one is full, the old one is dropped and the young one
/// takes its place.
#[derive(Debug, Default)]
pub(super) struct Answers {
    young: HashMap<Key, (UserId, Verdict)>,
    old: HashMap<Key, (UserId, Verdict)>,
    /// Questions under way; whoever adds them bounds them.
    asking: HashMap<Key, Question>,
    /// Numbers the questions.
    asked: u64,
}

#[derive(Debug)]
struct Question {
    user: UserId,
    number: u64,
    answer: Asking,
}

/// What is known about a question.
pub(super) enum Found {
    /// Its answer.
    Known(Verdict),
    /// Somebody has asked already.
    Asking(Asking),
    /// Nothing.
    Unknown,
}

impl Answers {
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    pub(super) fn find(&self, key: &Key, now: Instant) -> Found {
        let known = self.young.get(key).or_else(|| self.old.get(key));
        if let Some((_, verdict)) = known.filter(|(_, verdict)| now < verdict.until) {
            return Found::Known(verdict.clone());
        }
        match self.asking.get(key) {
            // An error: the task that asked has panicked.
            Some(question) if question.answer.has_changed().is_ok() => Found::Asking(question.answer.clone()),
            _ => Found::Unknown,
        }
    }

    /// Notes that the question, about this user, is being asked. Returns its number.
    pub(super) fn begin(&mut self, key: Key, user: UserId, answer: Asking) -> u64 {
        self.asked += 1;
        let number = self.asked;
        self.asking.insert(key, Question { user, number, answer });
        number
    }

    /// Takes the answer to a question, or notes that there is none. That to one that was forgotten meanwhile is not
    /// remembered.
    pub(super) fn settle(&mut self, key: &Key, number: u64, verdict: Option<Verdict>) {
        if self.asking.get(key).is_none_or(|question| question.number != number) {
            return;
        }
        let question = self.asking.remove(key);
        let Some((Question { user, .. }, verdict)) = question.zip(verdict) else { return };
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(*key, (user, verdict));
    }

    /// Forgets all answers about a user, those included that are on their way.
    pub(super) fn forget(&mut self, user: &UserId) {
        for generation in [&mut self.young, &mut self.old] {
            generation.retain(|_, (of, _)| of != user);
        }
        self.asking.retain(|_, question| question.user != *user);
    }

    /// The same for all users.
    pub(super) fn forget_all(&mut self) {
        *self = Self { asked: self.asked, ..Self::default() };
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ask(
        answers: &mut Answers,
        key: Key,
        user: &str,
    ) -> (watch::Sender<Option<Result<Verdict, Unanswered>>>, u64) {
        let (answered, asking) = watch::channel(None);
        let number = answers.begin(key, user.parse().unwrap(), asking);
        (answered, number)
    }

    #[test]
    fn answers_are_kept_until_they_end_and_up_to_a_bound() {
        let now = Instant::now();
        let mut answers = Answers::default();
        let key = |n: usize| std::array::from_fn(|at| n.to_be_bytes()[at % 8]);
        let verdict = Verdict { denied: None, until: now + Duration::from_secs(1) };
        for n in 0..3 * GENERATION_MAX {
            let (_answered, number) = ask(&mut answers, key(n), "alice");
            answers.settle(&key(n), number, Some(verdict.clone()));
        }
        let last = key(3 * GENERATION_MAX - 1);
        assert!(answers.young.len() + answers.old.len() <= 2 * GENERATION_MAX);
        assert!(matches!(answers.find(&last, now), Found::Known(_)));
        assert!(matches!(answers.find(&key(0), now), Found::Unknown), "it was forgotten");
        assert!(matches!(answers.find(&last, verdict.until), Found::Unknown), "it has ended");
    }

    #[test]
    fn a_question_is_asked_once_at_a_time_and_again_where_its_task_has_gone() {
        let now = Instant::now();
        let mut answers = Answers::default();
        let (answered, number) = ask(&mut answers, [0; 16], "alice");
        assert!(matches!(answers.find(&[0; 16], now), Found::Asking(_)));
        drop(answered);
        assert!(matches!(answers.find(&[0; 16], now), Found::Unknown));
        answers.settle(&[0; 16], number, None);
        assert!(answers.asking.is_empty());
    }

    #[test]
    fn what_is_forgotten_of_a_user_is_asked_anew() {
        let now = Instant::now();
        let mut answers = Answers::default();
        let verdict = Verdict { denied: None, until: now + Duration::from_secs(1) };
        let keys = [([1; 16], "alice"), ([2; 16], "bob")];
        for (key, user) in keys {
            let (_answered, number) = ask(&mut answers, key, user);
            answers.settle(&key, number, Some(verdict.clone()));
        }
        let (_answered, late) = ask(&mut answers, [3; 16], "alice");
        answers.forget(&"alice".parse().unwrap());
        assert!(matches!(answers.find(&[1; 16], now), Found::Unknown));
        assert!(matches!(answers.find(&[2; 16], now), Found::Known(_)));
        assert!(matches!(answers.find(&[3; 16], now), Found::Unknown));
        // What was asked before says nothing about what holds since.
        let (_answered, number) = ask(&mut answers, [3; 16], "alice");
        answers.settle(&[3; 16], late, Some(verdict.clone()));
        assert!(matches!(answers.find(&[3; 16], now), Found::Asking(_)));
        answers.settle(&[3; 16], number, Some(verdict));
        assert!(matches!(answers.find(&[3; 16], now), Found::Known(_)));
        let (_answered, late) = ask(&mut answers, [4; 16], "bob");
        answers.forget_all();
        let (_answered, number) = ask(&mut answers, [4; 16], "bob");
        assert!(number > late);
        for key in [[2; 16], [3; 16]] {
            assert!(matches!(answers.find(&key, now), Found::Unknown));
        }
    }
}
