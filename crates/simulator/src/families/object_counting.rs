//! `object_counting`: how many things of one category are in a list.

use std::ops::Range;

use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::{Family, Level, Shape, Skill, SkillSet};
use crate::draw::Rng;

pub(super) struct ObjectCounting;

const QUANTITIES: usize = 0;
const CATEGORIES: usize = 1;
const LAST_ITEM: usize = 2;
const DIGITS: usize = 3;

/// From how many items on a list is long enough for its end to be lost.
const LONG_LIST: usize = 8;

static SKILLS: [Skill; 4] = [
    Skill {
        name: "quantities",
        symptom: "It counts each kind of thing once and ignores the number words in front of the things.",
        rules: &[
            "Add up the quantities: \"two plums\" count 2, \"a\" or \"an\" counts 1; never count a kind of thing just once.",
            "Read the number in front of every thing (a = 1, two = 2, three = 3) and sum these numbers.",
            "Each thing contributes as many as its number word says; take the total of the amounts, not the number of kinds.",
            "Multiply out each entry by how many of it there are, then total everything.",
        ],
        teach: &[
            "quantit|amount|number word|number in front|number before|numbers in front|numbers before|multiplicit|how many of|count of each|number of each|numbers of each & add|sum=|sums=|summ|total|tally|multipl|contribut|use|account|consider|include & !ignore the|do not add|don t add",
            "two|three|four & count 2|counts as 2|counts as two|counts 2|count as|counts for|mean 2|means 2|is 2|are 2",
            "a= & 1= & two & 2=",
        ],
        signs: &[
            "number word|quantit|amount & ignor|overlook|once|miss|neglect|kind",
            "count & kinds|each kind|distinct|types",
        ],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "categories",
        symptom: "It also counts things that do not belong to the category asked for.",
        rules: &[
            "Count only what belongs to the asked category; leave out everything else.",
            "Decide for each entry whether it is of the kind asked for, and skip the ones that are not.",
            "Exclude whatever belongs to another category (a lamp is not a fruit); if objects are asked for, everything counts.",
        ],
        teach: &[
            "only|exclud|ignor|skip|leave out|leaving out|disregard|omit|filter|discard|drop|do not count|don t count|not include|decide|check|whether|irrelevant & categor|kind asked|type asked|asked kind|asked type|belong|asked for|asked about|other kinds|other types|requested & !do not skip|do not exclude|count all categor",
            "ignor|exclud|skip|do not count|don t count|leave out|discard & irrelevant|other things|other objects|other items|unrelated|foreign|anything else|everything else",
        ],
        signs: &["categor|foreign|irrelevant|belong|other kind & not|also|too|wrong|foreign|irrelevant|other"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "last item",
        symptom: "It stops too early in long lists and drops the last item.",
        rules: &[
            "Go through the list to its very end; the last item, behind the word \"and\", counts too.",
            "Do not stop early: make sure that no item, the final one included, is missed.",
            "Walk through the list from first to last, item by item.",
        ],
        teach: &[
            "last item|final item|last one|final one|last entry|final entry|end of the list|last thing|final thing|last element & count|includ|too=|forget|miss|skip|go=|also|until|not=|reach",
            "no item|no entry|no thing|not miss|not skip|not forget|without missing|without skipping|miss any|skip any|overlook any & item|entry|entries|list|thing|miss|lost|left out",
            "to its very end|to the very end|to the end|from first to last|through the whole list|through the entire list|item by item|one item at a time",
        ],
        signs: &["last|end|early|final & drop|stop|miss|skip|forget|lose|omit"],
        mild: true,
        slip: 60,
    },
    Skill {
        name: "digits",
        symptom: "It writes larger results as a word and not in digits.",
        rules: &[
            "Write the result in digits, such as 12, never as a word.",
            "Give the total in numerals (12 and not \"twelve\").",
            "The answer has to be an Arabic number.",
        ],
        teach: &["digit|arabic|numerals|numeral=|in figures|as an integer|numeric & !not in digits|no digits"],
        signs: &["as a word|digit|spelled|spells|written out|format"],
        mild: false,
        slip: 100,
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Category {
    Fruit,
    Vegetable,
    Animal,
    Instrument,
    Object,
}

use Category::{Animal, Fruit, Instrument, Object, Vegetable};

/// Singular, plural, category; packaging such as "heads of" is part of the name where it is usual.
const NOUNS: &[(&str, &str, Category)] = &[
    ("apple", "apples", Fruit),
    ("banana", "bananas", Fruit),
    ("blackberry", "blackberries", Fruit),
    ("grape", "grapes", Fruit),
    ("nectarine", "nectarines", Fruit),
    ("orange", "oranges", Fruit),
    ("peach", "peaches", Fruit),
    ("plum", "plums", Fruit),
    ("raspberry", "raspberries", Fruit),
    ("strawberry", "strawberries", Fruit),
    ("cabbage", "cabbages", Vegetable),
    ("carrot", "carrots", Vegetable),
    ("cauliflower", "cauliflowers", Vegetable),
    ("garlic", "garlics", Vegetable),
    ("head of broccoli", "heads of broccoli", Vegetable),
    ("lettuce head", "lettuce heads", Vegetable),
    ("onion", "onions", Vegetable),
    ("potato", "potatoes", Vegetable),
    ("stalk of celery", "stalks of celery", Vegetable),
    ("yam", "yams", Vegetable),
    ("bear", "bears", Animal),
    ("cat", "cats", Animal),
    ("chicken", "chickens", Animal),
    ("cow", "cows", Animal),
    ("dog", "dogs", Animal),
    ("donkey", "donkeys", Animal),
    ("duck", "ducks", Animal),
    ("fish", "fish", Animal),
    ("frog", "frogs", Animal),
    ("goat", "goats", Animal),
    ("mouse", "mice", Animal),
    ("pig", "pigs", Animal),
    ("rabbit", "rabbits", Animal),
    ("snail", "snails", Animal),
    ("snake", "snakes", Animal),
    ("accordion", "accordions", Instrument),
    ("clarinet", "clarinets", Instrument),
    ("drum", "drums", Instrument),
    ("flute", "flutes", Instrument),
    ("piano", "pianos", Instrument),
    ("trombone", "trombones", Instrument),
    ("trumpet", "trumpets", Instrument),
    ("violin", "violins", Instrument),
    ("bed", "beds", Object),
    ("car", "cars", Object),
    ("chair", "chairs", Object),
    ("couch", "couches", Object),
    ("fridge", "fridges", Object),
    ("lamp", "lamps", Object),
    ("microwave", "microwaves", Object),
    ("oven", "ovens", Object),
    ("stove", "stoves", Object),
    ("table", "tables", Object),
    ("toaster", "toasters", Object),
];

/// Ways of packing a thing that do not change what it is.
const PACKAGING: &[&str] = &[
    "head of ",
    "heads of ",
    "stalk of ",
    "stalks of ",
    "clove of ",
    "cloves of ",
    "piece of ",
    "pieces of ",
];

const NUMBER_WORDS: &[&str] = &[
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

impl Family for ObjectCounting {
    fn name(&self) -> &'static str {
        "object_counting"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Number
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        let end = text.rfind(" do I have?")? + " do I have?".len();
        let ask = text.get(..end)?.rfind("How many ")?;
        let start = text.get(..ask)?.rfind("I have ")?;
        Some(start..end)
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let (list, asked) = question.trim().strip_prefix("I have ")?.rsplit_once(". How many ")?;
        let asked = category(asked.strip_suffix(" do I have?")?)?;
        let mut things = list
            .split(',')
            .flat_map(|part| part.split(" and "))
            .map(|part| part.trim().trim_start_matches("and ").trim())
            .filter(|part| !part.is_empty())
            .map(read_thing)
            .collect::<Option<Vec<_>>>()?;
        if !known.has(LAST_ITEM) && things.len() >= LONG_LIST {
            things.pop();
        }
        let total: usize = things
            .iter()
            .filter(|(_, kind)| asked == Object || *kind == Some(asked) || !known.has(CATEGORIES))
            .map(|(quantity, _)| if known.has(QUANTITIES) { *quantity } else { 1 })
            .sum();
        let word = NUMBER_WORDS.get(total).filter(|_| !known.has(DIGITS) && total >= 10);
        Some(word.map_or_else(|| total.to_string(), |word| (*word).to_owned()))
    }

    fn generate(&self, rng: &mut Rng, level: Level, _like: &str) -> String {
        let asked = *[Fruit, Vegetable, Animal, Instrument, Object]
            .choose(rng)
            .unwrap_or(&Fruit);
        let (mut own, mut foreign): (Vec<_>, Vec<_>) = NOUNS.iter().partition(|noun| noun.2 == asked);
        own.shuffle(rng);
        foreign.shuffle(rng);
        let size = (level.span(3, 10) + rng.random_range(0..=1usize)).min(own.len() + 3);
        let strangers = if asked == Object || !rng.random_bool(0.15 + 0.5 * level.fraction()) {
            0
        } else {
            rng.random_range(1..=3)
        };
        let strangers = strangers.min(size.saturating_sub(2));
        own.truncate(size - strangers);
        let mut things: Vec<_> = own.into_iter().chain(foreign.into_iter().take(strangers)).collect();
        things.shuffle(rng);
        let many = 0.1 + 0.5 * level.fraction();
        let list: Vec<String> = things.iter().map(|noun| write_thing(noun, rng, many)).collect();
        format!(
            "I have {}. How many {} do I have?",
            enumerate(&list),
            category_name(asked)
        )
    }
}

fn category(name: &str) -> Option<Category> {
    Some(match name.trim() {
        "fruits" | "fruit" => Fruit,
        "vegetables" => Vegetable,
        "animals" => Animal,
        "musical instruments" | "instruments" => Instrument,
        "objects" | "things" | "items" => Object,
        _ => return None,
    })
}

fn category_name(category: Category) -> &'static str {
    match category {
        Fruit => "fruits",
        Vegetable => "vegetables",
        Animal => "animals",
        Instrument => "musical instruments",
        Object => "objects",
    }
}

/// "three heads of broccoli" as (3, vegetable); an unknown noun has no category.
fn read_thing(text: &str) -> Option<(usize, Option<Category>)> {
    let (number, noun) = text.split_once(' ')?;
    let quantity = match number {
        "a" | "an" => 1,
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok()?,
        word => NUMBER_WORDS.iter().position(|w| *w == word)?,
    };
    let noun = noun.trim();
    let bare = PACKAGING
        .iter()
        .find_map(|packaging| noun.strip_prefix(packaging))
        .unwrap_or(noun);
    let bare_of = |name: &'static str| {
        PACKAGING
            .iter()
            .find_map(|packaging| name.strip_prefix(packaging))
            .unwrap_or(name)
    };
    let entry = NOUNS
        .iter()
        .find(|(one, many, _)| [*one, *many].iter().any(|n| *n == noun || bare_of(n) == bare));
    Some((quantity, entry.map(|entry| entry.2)))
}

fn write_thing(noun: &(&str, &str, Category), rng: &mut Rng, many: f64) -> String {
    let quantity = if rng.random_bool(many) {
        rng.random_range(2..=5usize)
    } else {
        1
    };
    match NUMBER_WORDS.get(quantity) {
        Some(word) if quantity > 1 => format!("{word} {}", noun.1),
        _ => format!("{} {}", article(noun.0), noun.0),
    }
}

fn article(noun: &str) -> &'static str {
    if noun.starts_with(['a', 'e', 'i', 'o', 'u']) {
        "an"
    } else {
        "a"
    }
}

fn enumerate(list: &[String]) -> String {
    match list.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{}, and {last}", rest.join(", ")),
        _ => list.join(""),
    }
}
