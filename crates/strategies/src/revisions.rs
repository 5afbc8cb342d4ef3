//! One comparison, one revision of a model: answers that were bought for an earlier run count beside new ones only where the same
//! revision gave both.

use sipdo_domain::{Provenance, Role};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

/// A model as far as its provider tells: of many answers to one comparison nearly all share it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source {
    role: Role,
    endpoint: String,
    model: String,
    revision: String,
    fingerprint: String,
}

/// Who answered, or who graded.
#[derive(Debug, Clone)]
pub(crate) struct By {
    source: Arc<Source>,
    /// As [`Provenance::bought_ms`].
    bought_ms: u64,
}

/// The models of one comparison, each kept once.
#[derive(Debug, Default)]
pub(crate) struct Sources(Mutex<BTreeSet<Arc<Source>>>);

impl Sources {
    /// Who answered and who graded, in little memory.
    pub fn by(&self, by: Vec<(Role, Provenance)>) -> Box<[By]> {
        by.into_iter()
            .map(|(role, by)| {
                let bought_ms = by.bought_ms;
                let source = self.source(role, by);
                By { source, bought_ms }
            })
            .collect()
    }

    fn source(&self, role: Role, by: Provenance) -> Arc<Source> {
        let Provenance {
            endpoint,
            model,
            revision,
            fingerprint,
            ..
        } = by;
        let source = Source {
            role,
            endpoint,
            model,
            revision,
            fingerprint,
        };
        // It is whole after any panic: nothing is done with it but single inserts.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&source) {
            return known.clone();
        }
        let source = Arc::new(source);
        known.insert(source.clone());
        source
    }
}

impl By {
    fn is_reused(&self) -> bool {
        self.bought_ms > 0
    }
}

/// Which answers of a comparison are reused from a revision that does not answer now, by their places. A comparison of reused answers
/// alone counts those of the revision that answered last.
pub(crate) fn outdated(answers: &[&[By]]) -> BTreeSet<usize> {
    let mut fresh: BTreeMap<Role, BTreeSet<&Source>> = BTreeMap::new();
    let mut newest: BTreeMap<Role, &By> = BTreeMap::new();
    for by in answers.iter().copied().flatten() {
        let role = by.source.role;
        if !by.is_reused() {
            fresh.entry(role).or_default().insert(&by.source);
        } else if newest.get(&role).is_none_or(|known| by.bought_ms > known.bought_ms) {
            newest.insert(role, by);
        }
    }
    let counts = |by: &By| match fresh.get(&by.source.role) {
        Some(fresh) => fresh.contains(&*by.source),
        None => newest
            .get(&by.source.role)
            .is_none_or(|newest| newest.source == by.source),
    };
    let outdated = |by: &[By]| by.iter().any(|by| by.is_reused() && !counts(by));
    (0..)
        .zip(answers)
        .filter(|(_, by)| outdated(by))
        .map(|(at, _)| at)
        .collect()
}

/// Whether two answers to one example may be compared: the same model gave and graded both, as far as the provider tells. Fingerprints
/// are not asked: some providers tell another one with nearly every answer.
pub(crate) fn comparable(one: &[By], other: &[By]) -> bool {
    let model = |source: &Source| [source.endpoint.clone(), source.model.clone(), source.revision.clone()];
    one.iter().all(|by| {
        let same_role = |other: &&By| other.source.role == by.source.role;
        other
            .iter()
            .filter(same_role)
            .all(|other| Arc::ptr_eq(&by.source, &other.source) || model(&by.source) == model(&other.source))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(role: Role, revision: &str, bought_ms: u64) -> (Role, Provenance) {
        let by = Provenance {
            model: "m".into(),
            revision: revision.into(),
            bought_ms,
            ..Provenance::default()
        };
        (role, by)
    }

    fn by(revision: &str, bought_ms: u64) -> Box<[By]> {
        Sources::default().by(vec![given(Role::Learner, revision, bought_ms)])
    }

    fn graded(revision: &str, bought_ms: u64) -> Box<[By]> {
        let grader = given(Role::Verifier, revision, bought_ms);
        Sources::default().by(vec![given(Role::Learner, "same", 0), grader])
    }

    fn outdated_of(answers: &[Box<[By]>]) -> Vec<usize> {
        let answers: Vec<&[By]> = answers.iter().map(|by| &**by).collect();
        outdated(&answers).into_iter().collect()
    }

    #[test]
    fn answers_of_a_revision_that_does_not_answer_now_are_outdated() {
        assert_eq!(
            outdated_of(&[by("old", 5), by("new", 0), by("new", 7), by("old", 6)]),
            [0, 3]
        );
    }

    #[test]
    fn of_reused_answers_alone_those_of_the_newest_revision_count() {
        assert_eq!(outdated_of(&[by("old", 5), by("new", 9), by("old", 6)]), [0, 2]);
        assert_eq!(outdated_of(&[by("same", 5), by("same", 9)]), [] as [usize; 0]);
    }

    #[test]
    fn new_answers_are_never_outdated() {
        assert_eq!(outdated_of(&[by("a", 0), by("b", 0), Box::default()]), [] as [usize; 0]);
    }

    #[test]
    fn a_grader_that_changed_makes_an_answer_outdated_too() {
        assert_eq!(outdated_of(&[graded("old", 3), graded("new", 0)]), [0]);
        assert!(!comparable(&graded("old", 3), &graded("new", 0)));
        assert!(comparable(&graded("new", 3), &graded("new", 0)));
    }

    #[test]
    fn one_model_is_kept_once() {
        let sources = Sources::default();
        let one = sources.by(vec![given(Role::Learner, "a", 0)]);
        let other = sources.by(vec![given(Role::Learner, "a", 7)]);
        assert!(
            one.iter()
                .zip(&*other)
                .all(|(one, other)| Arc::ptr_eq(&one.source, &other.source))
        );
    }
}
