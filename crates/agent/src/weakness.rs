//! Whether a model is too weak for its role: most of its last answers were cut off or malformed.
//!
//! Retries do not help such a model, and minutes may pass before a run shows that nothing comes of it. So the agent says it after a few
//! answers.

use sipdo_domain::Reason;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Answers that are looked at: the last ones.
const LOOKED_AT: usize = 20;
/// Answers before anything is said.
const LEAST: usize = 8;

/// How one answer came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Whole,
    CutOff,
    Malformed,
}

/// The last answers of one model in this agent's role.
#[derive(Debug, Default)]
pub(crate) struct LastAnswers {
    last: Mutex<VecDeque<Came>>,
    /// The log has said that the model looks too weak.
    said: AtomicBool,
    /// A gateway has told what an answer cost, where the operator has set no price.
    by_gateway: AtomicBool,
}

impl LastAnswers {
    /// Notes how a job came out: with an answer, or with the reason why there is none. What says nothing about the model is not noted.
    pub fn note(&self, missing: Option<&Reason>) {
        let came = match missing {
            None => Came::Whole,
            Some(Reason::Truncated) => Came::CutOff,
            Some(Reason::Malformed | Reason::Empty) => Came::Malformed,
            Some(_) => return,
        };
        {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == LOOKED_AT {
                last.pop_front();
            }
            last.push_back(came);
        }
        if let Some(words) = self.words()
            && !self.said.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(words, "many answers of the model are of no use");
        }
    }

    /// Notes that a cost is what the endpoint says.
    pub fn priced_by_gateway(&self) {
        self.by_gateway.store(true, Ordering::Relaxed);
    }

    /// Whose costs these are, where they are not the operator's.
    pub fn price_words(&self) -> Option<&'static str> {
        let by_gateway = self.by_gateway.load(Ordering::Relaxed);
        by_gateway.then_some("no price is set for it: its cost is what the endpoint itself says")
    }

    /// What is to be said, if more than half of the last answers were of no use.
    pub fn words(&self) -> Option<String> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |wanted: Came| last.iter().filter(|came| **came == wanted).count();
        let (cut, malformed, all) = (count(Came::CutOff), count(Came::Malformed), last.len());
        if all < LEAST || 2 * (cut + malformed) <= all {
            return None;
        }
        let advice = match cut > malformed {
            true => "raise its max_tokens, give it a larger context, or use a stronger model",
            false => "use a stronger model",
        };
        Some(format!(
            "this model may be too weak for its role: of its last {all} answers {cut} were cut off and {malformed} malformed; {advice}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_model_is_named_after_a_few_answers_and_a_good_one_never() {
        let answers = LastAnswers::default();
        for _ in 0..LEAST - 1 {
            answers.note(Some(&Reason::Truncated));
        }
        assert_eq!(answers.words(), None, "too few to tell");
        answers.note(Some(&Reason::Unavailable));
        assert_eq!(answers.words(), None, "an outage says nothing about the model");
        answers.note(Some(&Reason::Malformed));
        let words = answers.words().unwrap();
        assert!(
            words.contains("last 8 answers 7 were cut off and 1 malformed") && words.contains("max_tokens"),
            "{words}"
        );
        for _ in 0..LOOKED_AT {
            answers.note(None);
        }
        assert_eq!(answers.words(), None, "old answers are forgotten");
    }

    #[test]
    fn a_gateways_cost_is_named_as_the_gateways() {
        let answers = LastAnswers::default();
        assert_eq!(answers.price_words(), None);
        answers.priced_by_gateway();
        assert!(
            answers
                .price_words()
                .is_some_and(|words| words.contains("the endpoint itself says"))
        );
    }

    #[test]
    fn half_is_not_most() {
        let answers = LastAnswers::default();
        for number in 0..LOOKED_AT {
            answers.note((number % 2 == 0).then_some(&Reason::Malformed));
        }
        assert_eq!(answers.words(), None);
    }
}
