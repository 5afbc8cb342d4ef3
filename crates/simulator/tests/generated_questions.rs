//! Generated questions: solved by the exact rule at every level, found again inside a prompt, and apt to show each mistake.

use proptest::prelude::*;
use rand::SeedableRng as _;
use sipdo_simulator::draw::Rng;
use sipdo_simulator::families::{ALL, Known, Level, Shape, SkillSet, exact_answer};

const SIZES: &[usize] = &[3, 5, 7];

/// A question whose size the family shall imitate.
fn like(known: &Known, size: usize) -> String {
    let options: String = ('A'..).take(size).map(|letter| format!("\n({letter}) x")).collect();
    if known.shape() == Shape::Choice {
        format!("?\nOptions:{options}")
    } else {
        String::new()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_question_can_be_solved_and_found(which in 0..10usize, level in 1..=25u32, seed: u64, size in 0..3usize) {
        let known = &ALL[which];
        let question = known.generate(&mut Rng::seed_from_u64(seed), Level::new(level, 25), &like(known, SIZES[size]));
        let answer = known.solve(&question);
        prop_assert!(answer.is_some(), "{} cannot solve {question}", known.name());
        let framed = format!("Some rules.\n\nQuestion: {question}\n\nAnswer:");
        let found = exact_answer(&framed);
        prop_assert_eq!(&found, &answer, "{} in {}", known.name(), framed);
        if known.shape() == Shape::Choice {
            prop_assert_eq!(question.matches("\n(").count(), SIZES[size]);
        }
        let untaught = known.weak_solve(&question, SkillSet::NONE);
        prop_assert!(untaught.is_some());
        prop_assert_eq!(known.weak_solve(&question, SkillSet::ALL), answer);
    }

    #[test]
    fn no_text_makes_a_family_fail(text in "(?s).{0,200}", which in 0..10usize, seed: u64, cut in 0.0..1.0f64) {
        let known = &ALL[which];
        let question = known.generate(&mut Rng::seed_from_u64(seed), Level::new(5, 10), "");
        let at = question.char_indices().map(|(at, _)| at).nth((question.chars().count() as f64 * cut) as usize).unwrap_or(0);
        for broken in [format!("{}{text}{}", &question[..at], &question[at..]), question[..at].to_owned(), text] {
            if let Some((known, range)) = sipdo_simulator::families::find(&broken) {
                let _ = known.weak_solve(&broken[range], SkillSet::NONE);
            }
            let _ = known.taught(&broken);
        }
    }
}

#[test]
fn every_skill_is_called_for_and_harder_levels_call_for_more() {
    for known in ALL.iter() {
        let right = |level: u32, skills: SkillSet, size: usize| {
            let mut rng = Rng::seed_from_u64(u64::from(level));
            let hits = (0..300)
                .map(|_| known.generate(&mut rng, Level::new(level, 10), &like(known, size)))
                .filter(|question| known.weak_solve(question, skills) == known.solve(question))
                .count();
            hits as f64 / 300.0
        };
        for (index, skill) in known.skills().iter().enumerate() {
            let share = right(10, SkillSet::ALL.without(index), 5);
            assert!(
                share < 0.97,
                "{} / {}: {share} right without it at the hardest level",
                known.name(),
                skill.name
            );
        }
        let (easy, hard) = (right(1, SkillSet::NONE, 5), right(10, SkillSet::NONE, 5));
        println!(
            "{:28} untaught: {easy:.2} at level 1, {hard:.2} at level 10",
            known.name()
        );
        assert!(
            hard < easy + 0.12,
            "{}: level 10 is easier ({hard}) than level 1 ({easy})",
            known.name()
        );
    }
}
