//! What the backend has answered a moment ago, and what it is being asked. Pure: the time is an argument.

use std::{collections::HashMap, sync::Arc};

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
    young: HashMap<Key, Verdict>,
    old: HashMap<Key, Verdict>,
    /// Questions under way; whoever adds them bounds them.
    asking: HashMap<Key, Asking>,
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
    pub(super) fn find(&self, key: &Key, now: Instant) -> Found {
        let known = self.young.get(key).or_else(|| self.old.get(key)).filter(|verdict| now < verdict.until);
        if let Some(verdict) = known {
            return Found::Known(verdict.clone());
        }
        match self.asking.get(key) {
            // An error: the task that asked has panicked.
            Some(asking) if asking.has_changed().is_ok() => Found::Asking(asking.clone()),
            _ => Found::Unknown,
        }
    }

    /// Notes that the question is being asked.
    pub(super) fn begin(&mut self, key: Key, asking: Asking) {
        self.asking.insert(key, asking);
    }

    /// Takes the answer, or notes that there is none.
    pub(super) fn settle(&mut self, key: &Key, verdict: Option<Verdict>) {
        self.asking.remove(key);
        let Some(verdict) = verdict else { return };
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(*key, verdict);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_are_kept_until_they_end_and_up_to_a_bound() {
        let now = Instant::now();
        let mut answers = Answers::default();
        let key = |n: usize| std::array::from_fn(|at| n.to_be_bytes()[at % 8]);
        let verdict = Verdict { denied: None, until: now + Duration::from_secs(1) };
        for n in 0..3 * GENERATION_MAX {
            answers.settle(&key(n), Some(verdict.clone()));
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
        let (answered, asking) = watch::channel(None);
        answers.begin([0; 16], asking);
        assert!(matches!(answers.find(&[0; 16], now), Found::Asking(_)));
        drop(answered);
        assert!(matches!(answers.find(&[0; 16], now), Found::Unknown));
        answers.settle(&[0; 16], None);
        assert!(answers.asking.is_empty());
    }
}
