//! What a run of the strategy asks: as expected, at least and at most.

use super::{
    options::{Analysis, Confirmation, Options},
    repair::LONGEST,
};
use crate::forecast::{AT_THE_END, Calls, Forecast, add_answers, conclusion_answers};
use sipdo_domain::{Role, Task};

/// Expected: every level accepts nearly all drafts, and every other one needs a repair. Least: baselines, one example, one repair.
pub fn forecast(task: &Task, options: &Options) -> Forecast {
    let train = task.train.len() as u64;
    let drafts =
        u64::from(options.levels) * u64::from(options.examples_per_level) * u64::from(options.candidates_per_level);
    let sample = u64::from(options.confirm_seed_sample).min(train);
    let repairs = if options.repairs_per_level == 0 {
        0
    } else {
        3 + u64::from(options.levels) / 2
    };
    let history = u64::from(options.levels) * u64::from(options.examples_per_level) / 2;
    let steps = if options.analysis == Analysis::Full { 3 } else { 1 };
    let confirmed = match options.confirmation {
        Confirmation::LocalGlobal => sample + history + 3,
        Confirmation::Local => 3,
        Confirmation::None => 0,
    };
    let calls = |drafts: u64, repairs: u64, answers: u64| {
        let mut calls = Calls::new();
        add_answers(&mut calls, task, answers);
        *calls.entry(Role::Generator).or_default() += drafts;
        if options.voters {
            *calls.entry(Role::Checker).or_default() += drafts * u64::from(options.checkers());
            *calls.entry(Role::Verifier).or_default() += drafts;
        }
        *calls.entry(Role::Optimizer).or_default() += repairs * steps;
        calls
    };
    let conclusion = conclusion_answers(task);
    let redrafted = drafts + drafts.div_ceil(5);
    Forecast {
        most: most(task, options),
        expected: calls(redrafted, repairs, train + drafts + repairs * confirmed + conclusion),
        least: calls(1, 1, 2 * train + 2 + conclusion),
        conclusion_answers: conclusion,
    }
}

/// Asks that a run cannot pass. Each is asked once more if it is not measured; a trial is repeated in the same way, and looked at twice.
///
/// Every round uses all its attempts at drafts, every repair phase all its revisions, and every revision is tried on every example.
fn most(task: &Task, options: &Options) -> Calls {
    const TWICE: u64 = 2;
    let of = u64::from;
    let product = |factors: &[u64]| factors.iter().fold(1, |all: u64, factor| all.saturating_mul(*factor));
    let (rounds, train) = (of(options.levels), task.train.len() as u64);
    let places = product(&[rounds, of(options.examples_per_level)]);
    let drafts = product(&[places, of(options.candidates_per_level), of(options.attempts_per_level)]);
    let phases = rounds + u64::from(options.repair_seed_errors);
    let revisions = product(&[phases, of(LONGEST), of(options.repairs_per_level)]);
    // A first trial and one after it was not measured, each with a repeat, and a second look with its repeat.
    let trial = TWICE * if options.second_look { 3 } else { 2 };
    let rivals = if options.candidates_per_level > 1 { drafts } else { 0 };
    let tried = product(&[revisions + 1, train + places]).saturating_add(rivals);
    let answers = product(&[trial, tried]).saturating_add(AT_THE_END * conclusion_answers(task));
    let steps = if options.analysis == Analysis::Full { 3 } else { 1 };
    let studied = u64::from(!options.repair_seed_errors);
    let mut calls = Calls::new();
    add_answers(&mut calls, task, answers);
    calls.insert(Role::Generator, drafts);
    calls.insert(
        Role::Optimizer,
        TWICE * (product(&[revisions, steps]).saturating_add(studied)),
    );
    if options.voters {
        // Accepted examples are voted on again once.
        let votes = TWICE * drafts.saturating_add(places);
        let solved = product(&[votes, of(options.checkers())]);
        calls.insert(Role::Checker, solved);
        let graded = if task.metric.needs_judge() { solved } else { 0 };
        let verified = calls.entry(Role::Verifier).or_default();
        *verified = verified.saturating_add(votes).saturating_add(graded);
    }
    calls
}
