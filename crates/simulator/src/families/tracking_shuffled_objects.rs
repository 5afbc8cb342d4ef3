//! `tracking_shuffled_objects` with three, five or seven people: who holds what after a row of swaps.

use std::ops::Range;

use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::{Family, Level, Shape, Skill, SkillSet, options};
use crate::draw::Rng;

pub(super) struct TrackingShuffledObjects;

const BOTH_WAYS: usize = 0;
const ALL_SWAPS: usize = 1;
const LAST_SWAP: usize = 2;

static SKILLS: [Skill; 3] = [
    Skill {
        name: "both ways",
        symptom: "It moves only one way: one of the two gets the new thing, the other one keeps what he had.",
        rules: &[
            "In each swap both people change: what the first had goes to the second, and what the second had goes to the first.",
            "A swap is mutual: exchange the two things in both directions.",
            "When A and B trade, write down A with the thing of B and, at the same time, B with the thing of A.",
        ],
        teach: &[
            "swap|trade|exchang|switch & both|each other|vice versa|mutual|simultaneous|two way|at the same time|other way|and what the second|reciproc",
        ],
        signs: &["one way|one direction|keeps what|only one of the two|both ways"],
        mild: false,
        slip: 85,
    },
    Skill {
        name: "all swaps",
        symptom: "It follows only the swaps that name the person asked about and skips those between the others.",
        rules: &[
            "Apply every swap, also those between other people: they decide what the asked person receives later.",
            "Keep a table of what everyone holds and update it after each swap.",
            "Track all the people through all the swaps, not just the person in the question.",
        ],
        teach: &[
            "everyone|everybody|each person|every person|all people|all persons|all the people|all players|others=|other people|table|not involv|does not take part|regardless|all participants & swap|trade|exchang|track|updat|hold|switch|step|has=",
            "every swap|each swap|all swaps|all the swaps|every trade|each trade|every exchange|each exchange & also|appl|updat|table|list|in order|process|simulat & !both|mutual",
        ],
        signs: &["between the others|other people|only the swaps|skips those|all swaps"],
        mild: false,
        slip: 85,
    },
    Skill {
        name: "last swap",
        symptom: "It stops before the last swap.",
        rules: &[
            "Carry out the final swap too (the sentence with \"Finally\") before you answer.",
            "Do not answer before the last swap is done.",
            "Go on up to the last trade.",
        ],
        teach: &["last|final|finally & swap|trade|exchang|switch|move"],
        signs: &["last swap|final swap|before the last|stops"],
        mild: true,
        slip: 80,
    },
];

const NAMES: &[&str] = &["Alice", "Bob", "Claire", "Dave", "Eve", "Fred", "Gertrude"];

/// The words around the swaps of one setting.
struct Theme {
    opening: &'static str,
    start: &'static str,
    holds: &'static str,
    middle: &'static str,
    swaps: &'static str,
    end: &'static str,
    unit: &'static str,
    things: &'static [&'static str],
}

const THEMES: &[Theme] = &[
    Theme {
        opening: "are playing a game",
        start: "At the start of the game, they are each holding a ball",
        holds: "has a ",
        middle: "As the game progresses, pairs of players trade balls.",
        swaps: "swap balls",
        end: "At the end of the game, {} has the",
        unit: " ball",
        things: &[
            "black", "blue", "brown", "green", "orange", "pink", "purple", "red", "white", "yellow",
        ],
    },
    Theme {
        opening: "are dancers at a square dance",
        start: "At the start of a song, they each have a partner",
        holds: "is dancing with ",
        middle: "Throughout the song, the dancers often trade partners.",
        swaps: "switch partners",
        end: "At the end of the dance, {} is dancing with",
        unit: "",
        things: &[
            "Helga", "Izzi", "Jamie", "Karl", "Lola", "Melissa", "Ophelia", "Patrick", "Rodrigo", "Sam",
        ],
    },
    Theme {
        opening: "are on the same team in a soccer match",
        start: "At the start of the match, they are each assigned to a position",
        holds: "is playing ",
        middle: "As the game progresses, pairs of players occasionally swap positions.",
        swaps: "trade positions",
        end: "At the end of the match, {} is playing",
        unit: "",
        things: &[
            "benchwarmer",
            "center midfielder",
            "cheerleader",
            "fullback",
            "goalkeeper",
            "left midfielder",
            "left winger",
            "right midfielder",
            "right winger",
            "striker",
        ],
    },
    Theme {
        opening: "are friends and avid readers who occasionally trade books",
        start: "At the start of the semester, they each buy one new book",
        holds: "gets ",
        middle: "As the semester proceeds, they start trading around the new books.",
        swaps: "swap books",
        end: "At the end of the semester, {} has",
        unit: "",
        things: &[
            "Catch-22",
            "Frankenstein",
            "Hound of the Baskervilles",
            "Lolita",
            "Moby Dick",
            "The Fellowship of the Ring",
            "The Great Gatsby",
            "The Odyssey",
            "The Pearl",
            "Ulysses",
        ],
    },
    Theme {
        opening: "are holding a white elephant gift exchange",
        start: "At the start of the event, they are each holding a present of a different color",
        holds: "has a ",
        middle: "As the event progresses, pairs of people swap gifts.",
        swaps: "swap their gifts",
        end: "At the end of the event, {} has the",
        unit: " present",
        things: &[
            "black", "blue", "brown", "green", "orange", "pink", "purple", "red", "white", "yellow",
        ],
    },
];

impl Family for TrackingShuffledObjects {
    fn name(&self) -> &'static str {
        "tracking_shuffled_objects"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Choice
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        let ask = text.rfind("At the end of the ")?;
        let begin = text.get(..ask)?.rfind("At the start of ")?;
        let start = text.get(..begin)?.rfind('\n').map_or(0, |at| at + 1);
        Some(start..options::end(text, ask)?)
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let (people, rest) = question
            .split_once("At the start of ")?
            .1
            .split_once(": ")?
            .1
            .split_once(".\n")?;
        let mut holdings = read_holdings(people)?;
        let (story, ask) = rest.rsplit_once("At the end of the ")?;
        let asked = holdings
            .iter()
            .map(|(name, _)| *name)
            .find(|name| mentions(ask, name))?;
        let mut swaps: Vec<(&str, &str)> = story.split('.').filter_map(read_swap).collect();
        if !known.has(LAST_SWAP) {
            swaps.pop();
        }
        for (one, other) in swaps {
            if known.has(ALL_SWAPS) || one == asked || other == asked {
                swap(&mut holdings, one, other, known.has(BOTH_WAYS))?;
            }
        }
        let held = holdings.iter().find(|(name, _)| *name == asked)?.1;
        options::lettered(question)
            .into_iter()
            .find(|(_, text)| *text == held)
            .map(|(label, _)| label.to_owned())
    }

    fn generate(&self, rng: &mut Rng, level: Level, like: &str) -> String {
        let size = match options::lettered(like).len() {
            size @ 2..=7 => size,
            _ => 3,
        };
        let swaps = size.max(3) + level.span(0, 2);
        THEMES
            .choose(rng)
            .map_or_else(String::new, |theme| write_question(rng, theme, size, swaps))
    }
}

/// "Alice has a blue ball, ..., and Bob gets Ulysses" as pairs of name and thing.
fn read_holdings(text: &str) -> Option<Vec<(&str, &str)>> {
    const HOLDS: &[&str] = &[
        "is dancing with ",
        "is playing ",
        "is holding a ",
        "gets ",
        "has a ",
        "has an ",
        "has the ",
        "has ",
    ];
    text.split(", ")
        .map(|part| {
            let (name, rest) = part.trim().trim_start_matches("and ").split_once(' ')?;
            Some((name, HOLDS.iter().find_map(|holds| rest.strip_prefix(holds))?.trim()))
        })
        .collect()
}

fn read_swap(sentence: &str) -> Option<(&str, &str)> {
    let sentence = sentence.trim();
    let sentence = ["First, ", "Then, ", "Finally, "]
        .iter()
        .find_map(|lead| sentence.strip_prefix(lead))
        .unwrap_or(sentence);
    let mut words = sentence.split_whitespace();
    let (one, and, other, verb) = (words.next()?, words.next()?, words.next()?, words.next()?);
    (and == "and" && ["swap", "switch", "trade", "exchange"].contains(&verb)).then_some((one, other))
}

fn mentions(text: &str, name: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|word| word == name)
}

fn swap(holdings: &mut [(&str, &str)], one: &str, other: &str, both_ways: bool) -> Option<()> {
    let first = holdings.iter().position(|(name, _)| *name == one)?;
    let second = holdings.iter().position(|(name, _)| *name == other)?;
    let (gets, gives) = (holdings.get(second)?.1, holdings.get(first)?.1);
    holdings.get_mut(first)?.1 = gets;
    if both_ways {
        holdings.get_mut(second)?.1 = gives;
    }
    Some(())
}

fn write_question(rng: &mut Rng, theme: &Theme, size: usize, swaps: usize) -> String {
    let names: Vec<&str> = NAMES.iter().take(size).copied().collect();
    let mut things: Vec<String> = theme
        .things
        .choose_multiple(rng, size)
        .map(|thing| format!("{thing}{}", theme.unit))
        .collect();
    things.shuffle(rng);
    let holdings: Vec<String> = names
        .iter()
        .zip(&things)
        .map(|(name, thing)| format!("{name} {}{thing}", theme.holds))
        .collect();
    let story: Vec<String> = (0..swaps)
        .map(|place| {
            let lead = if place == 0 {
                "First"
            } else if place + 1 == swaps {
                "Finally"
            } else {
                "Then"
            };
            let pair: Vec<&str> = names.choose_multiple(rng, 2).copied().collect();
            format!("{lead}, {} {}.", pair.join(" and "), theme.swaps)
        })
        .collect();
    let asked = names.get(rng.random_range(0..size)).copied().unwrap_or("Alice");
    format!(
        "{} {}. {}: {}.\n{} {} {}{}",
        enumerate(&names),
        theme.opening,
        theme.start,
        enumerate(&holdings),
        theme.middle,
        story.join(" "),
        theme.end.replace("{}", asked),
        options::write(&things),
    )
}

fn enumerate<T: AsRef<str>>(list: &[T]) -> String {
    let list: Vec<&str> = list.iter().map(AsRef::as_ref).collect();
    match list.split_last() {
        Some((last, [only])) => format!("{only} and {last}"),
        Some((last, rest)) if !rest.is_empty() => format!("{}, and {last}", rest.join(", ")),
        _ => list.concat(),
    }
}
