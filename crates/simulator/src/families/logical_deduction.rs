//! `logical_deduction` with three, five or seven objects: their order from clues.

mod themes;

use std::ops::Range;
use std::sync::LazyLock;

use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::{Family, Level, Shape, Skill, SkillSet, options};
use crate::draw::Rng;
use themes::{THEMES, Theme};

pub(super) struct LogicalDeduction;

const ALL_CLUES: usize = 0;
const DIRECTION: usize = 1;
const ORDINALS: usize = 2;

static SKILLS: [Skill; 3] = [
    Skill {
        name: "all clues",
        symptom: "It does not combine all clues: it drops the last one and takes the first order that seems to fit.",
        rules: &[
            "Combine all the clues, the last one too, and keep only an order that satisfies every one of them.",
            "List the possible arrangements and cross out each one that breaks any statement.",
            "Check the final order against each statement before you choose.",
        ],
        teach: &[
            "all|every|each|any & clue|clues|statement|condition|constraint|premise|fact & satisf|combin|consistent|fit|violat|break|agree|together|against|rule out|cross out|eliminat|hold|contradict|obey|meet",
        ],
        signs: &["all clues|combine|every clue|last clue|drops the last"],
        mild: false,
        slip: 85,
    },
    Skill {
        name: "direction of comparisons",
        symptom: "It reverses comparisons: older, right of, below and more expensive are read as their opposites.",
        rules: &[
            "Mind the end that a comparison points to: newer, left, above and cheaper point to one end; older, right, below and more expensive to the opposite end.",
            "Do not reverse comparisons: an older thing comes after a newer one, and what is to the right of X comes after X.",
            "Write each comparison as an order: \"A is older than B\" puts A on the side of the oldest.",
        ],
        teach: &[
            "comparison|comparative|older|newer|to the right of|to the left of|right of|left of|finished above|finished below|above means|below means|more expensive than|less expensive than|relation & direction|end|after|before|opposite|revers|side|points|later|earlier|puts & !second|third|ordinal",
        ],
        signs: &["comparison|opposites|reverse"],
        mild: false,
        slip: 85,
    },
    Skill {
        name: "ordinals from the named end",
        symptom: "It counts ordinals from the wrong end, such as second-oldest as second-newest.",
        rules: &[
            "Count an ordinal from the end that it names: second-oldest from the oldest, second-to-last from the last.",
            "For ordinals such as \"third from the right\", start counting at the stated side.",
            "A rank like second-most expensive is counted from the most expensive one.",
        ],
        teach: &[
            "second|third|ordinal|rank|k th|nth|fourth & count|counted|start|read & from|at the & end|named|names|side|stated|mentioned|oldest|right|last|most expensive",
        ],
        signs: &["ordinal|wrong end|second oldest"],
        mild: true,
        slip: 100,
    },
];

const OPENING: &str = "The following paragraphs each describe a set of {} objects arranged in a fixed order. The statements are logically \
consistent within each paragraph.";

const ORDINAL_WORDS: &[&str] = &["first", "second", "third", "fourth", "fifth", "sixth", "seventh"];
const NUMBER_WORDS: &[(&str, usize)] = &[("three", 3), ("five", 5), ("seven", 7)];

/// A statement about the order; objects are indices in order of mention, places are counted from the near end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clue {
    /// The first stands nearer than the second; said with the word of the far end or not.
    Nearer { one: usize, other: usize, far_word: bool },
    /// The object stands `rank` (from 0) places from one end.
    At { object: usize, rank: usize, from_far: bool },
}

/// One order: at index `object` its place.
type Order = [u8; 7];

impl Family for LogicalDeduction {
    fn name(&self) -> &'static str {
        "logical_deduction"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Choice
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        let fixed = text.rfind("arranged in a fixed order")?;
        let line = text.get(..fixed)?.rfind('\n').map_or(0, |at| at + 1);
        let start = text
            .get(line..fixed)?
            .rfind("The following")
            .map_or(line, |at| line + at);
        Some(start..options::end(text, fixed)?)
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let (names, sentences) = read_story(question)?;
        let mut clues = sentences
            .iter()
            .map(|sentence| read_clue(sentence, &names))
            .collect::<Option<Vec<_>>>()?;
        if !known.has(ALL_CLUES) {
            clues.pop();
        }
        let mut orders = orders(names.len())?.to_vec();
        for clue in clues {
            let clue = misread(clue, known);
            // A misread clue that fits nothing is passed over, as a solver would who trusts the others.
            if orders.iter().any(|order| holds(clue, order, names.len())) {
                orders.retain(|order| holds(clue, order, names.len()));
            }
        }
        let exact = known.has(ALL_CLUES) && known.has(DIRECTION) && known.has(ORDINALS);
        orders.truncate(if exact { usize::MAX } else { 1 });
        let lettered = options::lettered(question);
        let mut fitting = lettered.iter().filter(|(_, text)| {
            read_clue(text, &names).is_some_and(|clue| {
                let clue = misread(clue, known);
                !orders.is_empty() && orders.iter().all(|order| holds(clue, order, names.len()))
            })
        });
        let found = fitting.next().or(if exact { None } else { lettered.first() })?;
        Some(found.0.to_owned())
    }

    fn generate(&self, rng: &mut Rng, level: Level, like: &str) -> String {
        let size = match options::lettered(like).len() {
            size @ (3 | 5 | 7) => size,
            _ => 3,
        };
        THEMES
            .choose(rng)
            .map_or_else(String::new, |theme| write_question(rng, theme, size, level))
    }
}

/// The objects in order of mention, and the sentences about them.
fn read_story(question: &str) -> Option<(Vec<&str>, Vec<&str>)> {
    let story = question.split("\nOptions:").next()?;
    let (list, rest) = story.split_once(": ")?.1.split_once(". ")?;
    let names = list
        .split(',')
        .flat_map(|part| part.split(" and "))
        .map(bare)
        .filter(|name| !name.is_empty())
        .collect();
    Some((
        names,
        rest.split('.')
            .map(str::trim)
            .filter(|sentence| !sentence.is_empty())
            .collect(),
    ))
}

fn bare(name: &str) -> &str {
    let name = name.trim();
    let name = name.strip_prefix("and ").unwrap_or(name);
    ["a ", "an ", "the ", "The "]
        .iter()
        .find_map(|article| name.strip_prefix(article))
        .unwrap_or(name)
}

fn read_clue(sentence: &str, names: &[&str]) -> Option<Clue> {
    let (one, rest) = leading_name(bare(sentence), names)?;
    let rest = rest.trim_end_matches('.').trim();
    let rest = ["is ", "are ", "finished "]
        .iter()
        .find_map(|verb| rest.strip_prefix(verb))?;
    const COMPARED: &[(&str, bool)] = &[
        ("to the left of ", false),
        ("newer than ", false),
        ("less expensive than ", false),
        ("cheaper than ", false),
        ("above ", false),
        ("to the right of ", true),
        ("older than ", true),
        ("more expensive than ", true),
        ("below ", true),
    ];
    if let Some((other, far_word)) = COMPARED
        .iter()
        .find_map(|(words, far)| Some((rest.strip_prefix(words)?, *far)))
    {
        let (other, _) = leading_name(bare(other), names)?;
        let (one, other) = if far_word { (other, one) } else { (one, other) };
        return Some(Clue::Nearer { one, other, far_word });
    }
    let (rank, from_far) = read_place(rest.strip_prefix("the ").unwrap_or(rest))?;
    Some(Clue::At {
        object: one,
        rank,
        from_far,
    })
}

/// "third-newest" as (2, false), "second from the right" as (1, true).
fn read_place(text: &str) -> Option<(usize, bool)> {
    const ENDS: &[(&str, bool)] = &[
        ("leftmost", false),
        ("newest", false),
        ("cheapest", false),
        ("least expensive", false),
        ("rightmost", true),
        ("oldest", true),
        ("most expensive", true),
        ("last", true),
    ];
    if let Some((_, far)) = ENDS.iter().find(|(words, _)| *words == text) {
        return Some((0, *far));
    }
    let (rank, ordinal) = ORDINAL_WORDS
        .iter()
        .enumerate()
        .find(|(_, ordinal)| text.starts_with(**ordinal))?;
    let from = text.get(ordinal.len()..)?.trim_start_matches(['-', ' ']);
    let far = match from {
        "" | "from the left" | "newest" | "cheapest" | "least expensive" => false,
        "from the right" | "oldest" | "most expensive" | "to-last" => true,
        _ => return None,
    };
    Some((rank, far))
}

fn leading_name<'a>(text: &'a str, names: &[&str]) -> Option<(usize, &'a str)> {
    let fits = |name: &str| {
        text.strip_prefix(name)
            .filter(|rest| rest.is_empty() || rest.starts_with([' ', '.']))
    };
    names
        .iter()
        .enumerate()
        .filter_map(|(index, name)| Some((index, name.len(), fits(name)?)))
        .max_by_key(|(_, length, _)| *length)
        .map(|(index, _, rest)| (index, rest))
}

/// The clue as a solver reads it who lacks some skills.
fn misread(clue: Clue, known: SkillSet) -> Clue {
    match clue {
        Clue::Nearer {
            one,
            other,
            far_word: true,
        } if !known.has(DIRECTION) => Clue::Nearer {
            one: other,
            other: one,
            far_word: true,
        },
        Clue::At {
            object,
            rank,
            from_far: true,
        } if rank > 0 && !known.has(ORDINALS) => Clue::At {
            object,
            rank,
            from_far: false,
        },
        clue => clue,
    }
}

fn holds(clue: Clue, order: &Order, size: usize) -> bool {
    let place = |object: usize| order.get(object).map_or(usize::MAX, |place| usize::from(*place));
    match clue {
        Clue::Nearer { one, other, .. } => place(one) < place(other),
        Clue::At { object, rank, from_far } => {
            place(object) == if from_far { (size - 1).wrapping_sub(rank) } else { rank }
        }
    }
}

/// All orders of so many objects (2 to 7), the order of mention first.
fn orders(size: usize) -> Option<&'static [Order]> {
    static ORDERS: LazyLock<Vec<Vec<Order>>> = LazyLock::new(|| (0..=7).map(permutations).collect());
    (2..=7)
        .contains(&size)
        .then(|| ORDERS.get(size).map(Vec::as_slice))
        .flatten()
}

fn permutations(size: usize) -> Vec<Order> {
    let mut orders: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..size {
        orders = orders
            .into_iter()
            .flat_map(|order| {
                let free = (0..size as u8)
                    .filter(|place| !order.contains(place))
                    .collect::<Vec<_>>();
                free.into_iter()
                    .map(move |place| order.iter().copied().chain([place]).collect::<Vec<u8>>())
            })
            .collect();
    }
    let fixed = |order: Vec<u8>| std::array::from_fn(|object| order.get(object).copied().unwrap_or(u8::MAX));
    orders.into_iter().map(fixed).collect()
}

fn write_question(rng: &mut Rng, theme: &Theme, size: usize, level: Level) -> String {
    let names: Vec<&str> = theme.names.choose_multiple(rng, size).copied().collect();
    let mut truth: Vec<usize> = (0..size).collect();
    truth.shuffle(rng);
    let clues = write_clues(rng, &truth, level);
    let sentences: Vec<String> = clues.iter().map(|clue| capital(&say(*clue, theme, &names))).collect();
    let rank = rng.random_range(0..size);
    let from_far = if rank == 0 || rank + 1 == size {
        false
    } else {
        rng.random_bool(0.2 + 0.4 * level.fraction())
    };
    let (rank, from_far) = if rank + 1 == size {
        (0, true)
    } else {
        (if from_far { size - 1 - rank } else { rank }, from_far)
    };
    let asked: Vec<String> = (0..size)
        .map(|object| capital(&say(Clue::At { object, rank, from_far }, theme, &names)))
        .collect();
    let number = NUMBER_WORDS
        .iter()
        .find(|(_, n)| *n == size)
        .map_or("three", |(word, _)| word);
    let list: Vec<String> = names
        .iter()
        .map(|name| {
            if theme.article {
                format!("{} {name}", article(name))
            } else {
                (*name).to_owned()
            }
        })
        .collect();
    let (last, rest) = list
        .split_last()
        .map_or(("", &list[..0]), |(last, rest)| (last.as_str(), rest));
    format!(
        "{} {}: {}, and {last}. {}.{}",
        OPENING.replace("{}", number),
        theme.scene.replace("{}", number),
        rest.join(", "),
        sentences.join(". "),
        options::write(&asked),
    )
}

/// True clues that leave exactly one order; the harder the level, the fewer plain places and the more words of the far end.
fn write_clues(rng: &mut Rng, truth: &[usize], level: Level) -> Vec<Clue> {
    let size = truth.len();
    let hard = level.fraction();
    let mut left: Vec<&Order> = orders(size).unwrap_or_default().iter().collect();
    let mut clues = Vec::new();
    while left.len() > 1 {
        let clue = true_clue(rng, truth, hard);
        let fits = left.iter().filter(|order| holds(clue, order, size)).count();
        if fits < left.len() {
            left.retain(|order| holds(clue, order, size));
            clues.push(clue);
        }
    }
    clues
}

fn true_clue(rng: &mut Rng, truth: &[usize], hard: f64) -> Clue {
    let size = truth.len();
    let far = rng.random_bool(0.25 + 0.35 * hard);
    let place = |object: usize| truth.get(object).copied().unwrap_or(0);
    let one = rng.random_range(0..size);
    if rng.random_bool(0.35 + 0.3 * hard) {
        let other = (one + rng.random_range(1..size)) % size;
        let (one, other) = if place(one) < place(other) {
            (one, other)
        } else {
            (other, one)
        };
        Clue::Nearer {
            one,
            other,
            far_word: far,
        }
    } else {
        // Places in the farther half are usually told from the far end, and the ends themselves always from their own.
        let from_far = place(one) + 1 == size || (place(one) > 0 && (far || place(one) * 2 > size));
        Clue::At {
            object: one,
            rank: if from_far { size - 1 - place(one) } else { place(one) },
            from_far,
        }
    }
}

fn say(clue: Clue, theme: &Theme, names: &[&str]) -> String {
    let name = |object: usize| {
        let name = names.get(object).copied().unwrap_or_default();
        if theme.verb == "finished" {
            name.to_owned()
        } else {
            format!("the {name}")
        }
    };
    match clue {
        Clue::Nearer {
            one,
            other,
            far_word: false,
        } => format!("{} {} {} {}", name(one), theme.verb, theme.nearer, name(other)),
        Clue::Nearer {
            one,
            other,
            far_word: true,
        } => format!("{} {} {} {}", name(other), theme.verb, theme.farther, name(one)),
        Clue::At { object, rank, from_far } => {
            let place = match (rank, from_far) {
                (0, false) => theme.nearest.to_owned(),
                (0, true) => theme.farthest.to_owned(),
                (rank, far) => {
                    let ordinal = ORDINAL_WORDS.get(rank).copied().unwrap_or("second");
                    if far { theme.from_far } else { theme.from_near }.replace("{}", ordinal)
                }
            };
            format!("{} {} {place}", name(object), theme.verb)
        }
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    characters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}
