//! The question families that the simulated models understand, each in its own file.
//!
//! A family can find its question in a text, solve it exactly, and solve it with the systematic mistakes of a solver that lacks some of
//! its skills. What a prompt teaches is read from what it says (see [`teaching`]). Adding a family is one file and one line in [`ALL`].

mod boolean_expressions;
mod logical_deduction;
mod multistep_arithmetic;
mod navigate;
mod object_counting;
mod options;
pub(crate) mod teaching;
mod term_explanation;
mod ticket_routing;
mod tracking_shuffled_objects;
mod web_of_lies;
mod word_sorting;

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

use crate::draw::{Rng, fnv, mix};
use teaching::Patterns;

/// One kind of question: how to find it, solve it rightly or wrongly, and write new ones.
pub trait Family: Send + Sync {
    /// The family's name, as in BIG-Bench Hard.
    fn name(&self) -> &'static str;

    /// The procedures that a solver has to know (3 to 5), in a fixed order.
    fn skills(&self) -> &'static [Skill];

    /// What its answers look like.
    fn shape(&self) -> Shape;

    /// Where the last question of this family stands in `text`.
    fn locate(&self, text: &str) -> Option<Range<usize>>;

    /// The answer of a solver with just these skills; every skill it lacks makes it err on the questions that need it.
    /// With all skills this is the exact rule. `None` when the question cannot be read.
    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String>;

    /// What of a question counts, whatever stands around its parts: the same question has the same essence.
    fn essence<'a>(&self, question: &'a str) -> Cow<'a, str> {
        Cow::Borrowed(question)
    }

    /// Writes a question of this level, in the size of the question `like` where the family comes in sizes.
    fn generate(&self, rng: &mut Rng, level: Level, like: &str) -> String;
}

/// One procedure of a family: the mistake made without it, and how it may be taught.
pub struct Skill {
    /// A short name.
    pub name: &'static str,
    /// What goes wrong without it, in plain words.
    pub symptom: &'static str,
    /// Several wordings of the procedure; each of them teaches this skill.
    pub rules: &'static [&'static str],
    /// What a prompt has to say to teach it (the notation of [`teaching`]).
    pub(crate) teach: &'static [&'static str],
    /// How an error analysis may speak of the mistake (same notation).
    pub(crate) signs: &'static [&'static str],
    /// Whether a plain "think step by step" is enough to mend it.
    pub mild: bool,
    /// In how many of a hundred questions an untaught solver makes the mistake; always in the same ones.
    pub(crate) slip: u8,
}

/// A set of skills of one family, by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct SkillSet(u8);

impl SkillSet {
    /// No skill at all.
    pub const NONE: Self = Self(0);
    /// Every skill.
    pub const ALL: Self = Self(u8::MAX);

    /// Whether the skill with this index is in the set.
    #[must_use]
    pub const fn has(self, index: usize) -> bool {
        index < 8 && self.0 & (1 << index) != 0
    }

    /// This set and the skill with this index.
    #[must_use]
    pub const fn with(self, index: usize) -> Self {
        if index < 8 { Self(self.0 | 1 << index) } else { self }
    }

    /// This set without the skill with this index.
    #[must_use]
    pub const fn without(self, index: usize) -> Self {
        if index < 8 { Self(self.0 & !(1 << index)) } else { self }
    }

    /// What is in either set.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// How many skills are in the set.
    #[must_use]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What the answers of a family look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One of several options: `(B)`.
    Choice,
    /// An integer.
    Number,
    /// One word out of a few: `Yes`, `False`.
    Word,
    /// One of several labels: `billing`.
    Label,
    /// A row of words.
    Words,
    /// A sentence or two.
    Text,
}

/// A difficulty: `at` of `of`, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    at: u32,
    of: u32,
}

impl Level {
    /// The level `at` of `of`; put right where it lies outside.
    #[must_use]
    pub fn new(at: u32, of: u32) -> Self {
        let of = of.max(1);
        Self {
            at: at.clamp(1, of),
            of,
        }
    }

    /// 0 for the easiest level, 1 for the hardest.
    #[must_use]
    pub fn fraction(self) -> f64 {
        if self.of <= 1 {
            1.0
        } else {
            f64::from(self.at - 1) / f64::from(self.of - 1)
        }
    }

    /// The whole number that lies this far between `easiest` and `hardest`.
    #[must_use]
    pub(crate) fn span(self, easiest: usize, hardest: usize) -> usize {
        let way = self.fraction() * (hardest as f64 - easiest as f64);
        easiest + way.round().max(0.0) as usize
    }
}

/// A family together with its compiled teaching patterns.
pub struct Known {
    family: &'static dyn Family,
    teach: Vec<Patterns>,
    signs: Vec<Patterns>,
    remembered: Mutex<HashMap<u64, SkillSet>>,
}

/// All families. Those whose questions are told by the clearest words come first.
pub static ALL: LazyLock<Vec<Known>> = LazyLock::new(|| {
    let families: [&'static dyn Family; 10] = [
        &object_counting::ObjectCounting,
        &logical_deduction::LogicalDeduction,
        &tracking_shuffled_objects::TrackingShuffledObjects,
        &navigate::Navigate,
        &web_of_lies::WebOfLies,
        &word_sorting::WordSorting,
        &term_explanation::TermExplanation,
        &ticket_routing::TicketRouting,
        &multistep_arithmetic::MultistepArithmetic,
        &boolean_expressions::BooleanExpressions,
    ];
    families.into_iter().map(Known::new).collect()
});

/// The right answer to the question in this text, when a family knows it.
#[must_use]
pub fn exact_answer(question: &str) -> Option<String> {
    let (known, range) = find(question)?;
    known.solve(question.get(range)?)
}

/// The family of this name.
#[must_use]
pub fn family(name: &str) -> Option<&'static Known> {
    ALL.iter().find(|known| known.name() == name)
}

/// The family of the last question in this text, and where the question stands.
#[must_use]
pub fn find(text: &str) -> Option<(&'static Known, Range<usize>)> {
    ALL.iter().find_map(|known| Some((known, known.family.locate(text)?)))
}

impl Known {
    fn new(family: &'static dyn Family) -> Self {
        let compile =
            |side: fn(&Skill) -> &'static [&'static str]| family.skills().iter().map(side).map(Patterns::new).collect();
        Self {
            family,
            teach: compile(|skill| skill.teach),
            signs: compile(|skill| skill.signs),
            remembered: Mutex::default(),
        }
    }

    /// The family's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.family.name()
    }

    /// The family's skills, in their fixed order.
    #[must_use]
    pub fn skills(&self) -> &'static [Skill] {
        self.family.skills()
    }

    /// What its answers look like.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.family.shape()
    }

    /// The right answer, or `None` when the question cannot be read.
    #[must_use]
    pub fn solve(&self, question: &str) -> Option<String> {
        self.family.solve_with(question, SkillSet::ALL)
    }

    /// The answer of a solver that was taught just these skills.
    #[must_use]
    pub fn weak_solve(&self, question: &str, taught: SkillSet) -> Option<String> {
        let mut known = taught;
        let essence = self.family.essence(question);
        for (index, skill) in self.skills().iter().enumerate() {
            let roll = mix(fnv([skill.name.as_bytes(), essence.as_bytes()])) % 100;
            if roll >= u64::from(skill.slip) {
                known = known.with(index);
            }
        }
        self.family.solve_with(question, known)
    }

    /// A label of the family other than this one; nothing where its answers are no labels.
    #[must_use]
    pub fn other_label(&self, right: &str) -> &'static str {
        let labels = if self.shape() == Shape::Label {
            ticket_routing::LABELS.as_slice()
        } else {
            &[]
        };
        labels
            .iter()
            .find(|label| **label != right)
            .copied()
            .unwrap_or_default()
    }

    /// Writes a question of this level, in the size of `like`.
    #[must_use]
    pub fn generate(&self, rng: &mut Rng, level: Level, like: &str) -> String {
        self.family.generate(rng, level, like)
    }

    /// The skills that this prompt teaches, by what it says.
    #[must_use]
    pub fn taught(&self, prompt: &str) -> SkillSet {
        let key = fnv([prompt.as_bytes()]);
        let remembered =
            |map: &Mutex<HashMap<u64, SkillSet>>| map.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if let Some(taught) = remembered(&self.remembered) {
            return taught;
        }
        let taught = self.read_taught(prompt);
        let mut map = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= 4096 {
            map.clear();
        }
        map.insert(key, taught);
        taught
    }

    /// The skills whose procedure or whose lack an adviser's text speaks of.
    #[must_use]
    pub fn mentioned(&self, advice: &str) -> SkillSet {
        let sentences = teaching::sentences(advice);
        let mut set = SkillSet::NONE;
        for (index, (teach, signs)) in self.teach.iter().zip(&self.signs).enumerate() {
            if teach.found_in(&sentences) || signs.found_in(&sentences) {
                set = set.with(index);
            }
        }
        set
    }

    /// The skills of this family that are not in the set, by index.
    pub fn missing(&self, taught: SkillSet) -> impl Iterator<Item = usize> + '_ {
        (0..self.skills().len()).filter(move |index| !taught.has(*index))
    }

    fn read_taught(&self, prompt: &str) -> SkillSet {
        let sentences = teaching::sentences(prompt);
        let steps = teaching::asks_for_steps(&sentences);
        let mut set = SkillSet::NONE;
        for (index, (patterns, skill)) in self.teach.iter().zip(self.skills()).enumerate() {
            if (skill.mild && steps) || patterns.found_in(&sentences) {
                set = set.with(index);
            }
        }
        set
    }
}
