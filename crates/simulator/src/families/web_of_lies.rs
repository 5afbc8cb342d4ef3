//! `web_of_lies`: whether the last person in a chain of statements tells the truth.

use std::ops::Range;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::{Family, Level, Shape, Skill, SkillSet};
use crate::draw::Rng;

pub(super) struct WebOfLies;

const LIAR_ACCUSED: usize = 0;
const LIAR_PRAISED: usize = 1;
const HONEST_ACCUSED: usize = 2;
const LAST_PERSON: usize = 3;

/// From how many statements on the chain is left one person too early.
const LONG_CHAIN: usize = 4;

/// Wordings of the whole rule at once; they teach the three cases together.
const WHOLE_RULE: &str = "truth|truthful|statement|claim|honest|speaker & exactly when|if and only if|matches|match|agrees with|agree with|equals|same as|is correct|is true|compare & whether|claim|statement|status|said|value|other person";

static SKILLS: [Skill; 4] = [
    Skill {
        name: "a liar accused",
        symptom: "It takes a person for a liar who says of a liar that he lies.",
        rules: &[
            "Whoever says that a liar lies tells the truth.",
            "If someone accuses a person who really lies, the accuser is truthful.",
            "Calling a liar a liar is the truth.",
        ],
        teach: &[
            "liar lies|liar is lying|liar a liar|liar lying|who really lies|who does lie|who is lying|who lies|actual liar|real liar & truth|honest & !is a liar|praise",
            WHOLE_RULE,
        ],
        signs: &["of a liar that he lies|liar accused|accuses a liar|says a liar lies|calls a liar"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "a liar praised",
        symptom: "It believes a person who says of a liar that he tells the truth.",
        rules: &[
            "Whoever says that a liar tells the truth lies.",
            "If someone calls a lying person truthful, that someone lies as well.",
            "Vouching for a liar is itself a lie.",
        ],
        teach: &[
            "liar tells the truth|liar is truthful|liar is telling|liar truthful|liar honest|lying person truthful|lying person honest|vouching for a liar|vouches for a liar|praises a liar|defends a liar|supports a liar & lies|lie|liar|lying",
            WHOLE_RULE,
        ],
        signs: &["of a liar that he tells|liar praised|believes a person who says of a liar|vouch"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "an honest person accused",
        symptom: "It believes a person who says of an honest one that he lies.",
        rules: &[
            "Whoever says that a truthful person lies is lying.",
            "If someone accuses an honest person, the accuser lies.",
            "Calling a truth-teller a liar is a lie.",
        ],
        teach: &[
            "truthful person lies|honest person lies|truth teller lies|truth teller a liar|honest person a liar|truthful person a liar|accuses an honest|accuses a truthful|accuse an honest|accuse a truth|honest one lies|truth teller is lying|truthful person is lying|honest person is lying & lie|lies|liar|lying",
            WHOLE_RULE,
        ],
        signs: &["of an honest one|honest person accused|honest accused|truthful person that"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "last person",
        symptom: "It stops one person too early in long chains.",
        rules: &[
            "Go through the statements from the first to the last, and answer for the person who is asked about.",
            "Work along the whole chain, person by person, up to the final statement.",
            "Do not stop before the last statement.",
        ],
        teach: &[
            "last|final|whole chain|entire chain|every statement|each statement|all statements|one at a time|person by person|one by one|statement by statement & statement|chain|person|sentence|order|name",
            "in order|from the first|from the start|start with the first & statement|chain|person|sentence",
        ],
        signs: &["too early|stops one|last person|last statement|whole chain"],
        mild: true,
        slip: 60,
    },
];

const NAMES: &[&str] = &[
    "Alejandro",
    "Amberly",
    "Andree",
    "Bernita",
    "Christie",
    "Conception",
    "Crista",
    "Delbert",
    "Delfina",
    "Elanor",
    "Fidel",
    "Fletcher",
    "Gwenn",
    "Helene",
    "Inga",
    "Jamey",
    "Jaymie",
    "Jerry",
    "Jim",
    "Kandi",
    "Kristian",
    "Leda",
    "Lorine",
    "Maybelle",
    "Michaela",
    "Millicent",
    "Osvaldo",
    "Phoebe",
    "Raymond",
    "Rashida",
    "Ryan",
    "Shalonda",
    "Shaunda",
    "Sherrie",
    "Sima",
    "Tamika",
    "Teressa",
    "Vernell",
    "Vina",
    "Willian",
];

impl Family for WebOfLies {
    fn name(&self) -> &'static str {
        "web_of_lies"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Word
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        let end = text.rfind(" tell the truth?")? + " tell the truth?".len();
        let ask = text.get(..end)?.rfind("Does ")?;
        let line = text.get(..ask)?.rfind('\n').map_or(0, |at| at + 1);
        let start = text.get(line..ask)?.rfind("Question: ").map_or(line, |at| line + at);
        text.get(start..ask)?.contains(" says ").then_some(start..end)
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let (story, ask) = question.rsplit_once("Does ")?;
        let asked = ask.trim().strip_suffix(" tell the truth?")?;
        let story = story.rsplit_once("Question: ").map_or(story, |(_, story)| story);
        let sentences: Vec<&str> = story
            .split('.')
            .map(str::trim)
            .filter(|sentence| !sentence.is_empty())
            .collect();
        let mut values: Vec<(&str, bool)> = Vec::new();
        for (place, sentence) in sentences.iter().enumerate() {
            let (name, claim) = sentence.split_once(' ')?;
            let truthful = match claim.strip_prefix("says ") {
                None => read_claim(claim)?,
                Some(statement) => {
                    let (about, claim) = statement.split_once(' ')?;
                    let about = values.iter().rev().find(|(name, _)| *name == about)?.1;
                    judge(about, read_claim(claim)?, known)
                }
            };
            values.push((name, truthful));
            let left_early = place + 2 == sentences.len() && sentences.len() > LONG_CHAIN && !known.has(LAST_PERSON);
            if left_early {
                return Some(answer(truthful));
            }
        }
        values
            .iter()
            .rev()
            .find(|(name, _)| *name == asked)
            .map(|(_, truthful)| answer(*truthful))
    }

    fn generate(&self, rng: &mut Rng, level: Level, _like: &str) -> String {
        let people: Vec<&str> = NAMES.choose_multiple(rng, level.span(3, 7)).copied().collect();
        let mut text = String::from("Question:");
        let mut before: Option<&str> = None;
        for name in &people {
            let truth = rng.random_bool(0.5);
            let claim = if truth { "tells the truth" } else { "lies" };
            match before {
                None => text.push_str(&format!(" {name} {claim}.")),
                Some(other) => text.push_str(&format!(" {name} says {other} {claim}.")),
            }
            before = Some(name);
        }
        format!("{text} Does {} tell the truth?", before.unwrap_or("Ka"))
    }
}

fn read_claim(claim: &str) -> Option<bool> {
    match claim.trim() {
        "tells the truth" => Some(true),
        "lies" => Some(false),
        _ => None,
    }
}

/// Whether the speaker is truthful who claims this of a person who is so.
fn judge(about: bool, claim: bool, known: SkillSet) -> bool {
    match (about, claim) {
        (true, true) => true,
        (false, false) => known.has(LIAR_ACCUSED),
        (false, true) => !known.has(LIAR_PRAISED),
        (true, false) => !known.has(HONEST_ACCUSED),
    }
}

fn answer(truthful: bool) -> String {
    if truthful { "Yes" } else { "No" }.to_owned()
}
