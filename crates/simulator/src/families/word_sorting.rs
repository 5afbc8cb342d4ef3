//! `word_sorting`: the words of a list in alphabetical order.

use std::cmp::Ordering;
use std::ops::Range;

use rand::Rng as _;
use rand::seq::{IndexedRandom as _, SliceRandom as _};

use super::{Family, Level, Shape, Skill, SkillSet};
use crate::draw::Rng;

pub(super) struct WordSorting;

const SECOND_LETTER: usize = 0;
const FURTHER_LETTERS: usize = 1;
const COMPLETE: usize = 2;
const SEPARATOR: usize = 3;

/// From how many words on one of them gets lost.
const LONG_LIST: usize = 13;
/// From how many words on commas creep in.
const COMMA_LIST: usize = 7;

static SKILLS: [Skill; 4] = [
    Skill {
        name: "second letter",
        symptom: "It sorts by the first letter only and leaves words with the same first letter in their old order.",
        rules: &[
            "When words begin with the same letter, compare their second letters.",
            "Break a tie on the first letter by the next letter.",
            "Never sort by the initial alone: look at the following letter where initials agree.",
        ],
        teach: &[
            "second letter|second character|next letter|next character|following letter|later letter|subsequent letter|further letter|letter by letter|character by character|2nd letter|whole word|entire word|full word|letter after letter|third letter|code point|character code",
        ],
        signs: &["first letter|initial & only|same|alone|just|tie"],
        mild: false,
        slip: 80,
    },
    Skill {
        name: "further letters",
        symptom: "It compares the first two letters at most and leaves words that agree in both in their old order.",
        rules: &[
            "If the first two letters agree as well, go on to the third, the fourth and so on until the words differ.",
            "Compare letter by letter until a difference is found; a word that is the beginning of a longer one comes first.",
            "Sort by whole words: later letters decide where the earlier ones agree.",
        ],
        teach: &[
            "third|letter by letter|letter after letter|character by character|so on|until they differ|until a differ|until the words differ|until one differ|first differ|as many letters|remaining letters|further letters|rest of the word|whole word|entire word|full word|every letter & letter|word|compar|sort|character",
            "code point|character code",
        ],
        signs: &["first two letters|two letters|third letter|further letters|longer prefix|agree in both"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "completeness",
        symptom: "It loses a word when the list is long.",
        rules: &[
            "Keep every word: the result must hold exactly as many words as the list.",
            "Check at the end that no word was lost, repeated or invented.",
            "Tick off each word of the list, so that all of them appear once in the result.",
        ],
        teach: &[
            "every word|each word|all words|all the words|all of the words|no word|any word|number of words|words & once|count|lost|lose|losing|miss|omit|keep|same number|as many|drop|left out|leave out|invent|forget|appear|same as",
        ],
        signs: &["lose|lost|missing|omit|drop & word"],
        mild: true,
        slip: 80,
    },
    Skill {
        name: "separator",
        symptom: "It puts commas between the words of its answer.",
        rules: &[
            "Write the words on one line with single spaces between them, no commas and no numbering.",
            "Separate the words by one space only, without punctuation.",
            "Join the sorted words with spaces, never with commas.",
        ],
        teach: &[
            "space|spaces & separat|between|single|join|only|one|divid|delimit",
            "no comma|without comma|not comma|never with comma|no punctuation|without punctuation|no separators",
        ],
        signs: &["comma|separator|punctuation|format"],
        mild: false,
        slip: 60,
    },
];

/// Everyday words that share many beginnings, so that ties on one, two and three letters are frequent.
const WORDS: &str = "able about above accent accept account acorn across action actor adapt adult advice affair afford agent agree \
almond alone along alpine amber ample anchor angle animal ankle apart apple april arbor arch arena argue arrow artist aspen atlas autumn \
badge baker balance bamboo banner barber bargain bark barley barn barrel basil basket beacon beard beast beaver bench berry birch biscuit \
blade blanket blend blossom board border bottle boulder bracket branch brave bread breeze brick bridge bright broom brush bucket butter \
cabin cable cactus camel camera candle candy canoe canvas canyon carbon carpet carrot castle cattle cedar cellar chain chair chalk chapel \
charm chart cherry chest circle circus clay cliff climb clock cloud clover coast cobalt coconut collar comet compass copper coral corner \
cotton cradle crane crater cream creek cricket crown crystal curtain cycle dairy daisy dancer danger dawn debate decade deer delta desert \
diamond dinner dolphin donkey dragon dream drift drill drum dune eagle early earth echo elbow elm ember engine estate evening fabric factor \
falcon family farmer feather fence fern ferry fiddle field finger flame flask flint flower forest fossil fountain frame freight frost fruit \
gallery garden garlic gate gentle giant ginger glacier glass globe glove goat gold grain granite grape gravel gravity guitar harbor harvest \
hazel heart helmet heron hill honey horizon hotel island ivory jacket jasmine journey jungle kettle kitchen ladder lagoon lantern laurel \
lemon level linen lizard lobster locket lumber magnet mango manor maple marble margin market marsh meadow melon memory metal mirror mist \
monkey moss mountain museum napkin needle nest nickel noble nutmeg oasis ocean olive onion orange orchard otter oven oyster paddle palace \
panther paper parade parcel parrot pastry pearl pebble pencil pepper petal piano pigeon pillow pilot planet plaza pocket pollen pond poplar \
portal potato powder prairie puzzle quarry quartz quilt rabbit radish raven reef ribbon river rocket saddle saffron salmon sandal sapphire \
scarf season shadow shelf shell shelter shore silver spark sparrow spice spider spring spruce squash stable station steam stone storm stove \
straw stream summit sunset tablet temple thistle thunder timber tower trail train travel treasure tulip tunnel turtle valley vanilla velvet \
violet walnut water wheat willow window winter wolf yarn zebra";

impl Family for WordSorting {
    fn name(&self) -> &'static str {
        "word_sorting"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Words
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        let list = text.rfind("List:")?;
        let line = text.get(..list)?.rfind('\n').map_or(0, |at| at + 1);
        let sort = text.get(line..list)?.rfind("Sort ")? + line;
        if !text.get(sort..list)?.contains("alphabetical") {
            return None;
        }
        let end = text.get(list..)?.find('\n').map_or(text.len(), |at| list + at);
        (!text.get(list + 5..end)?.trim().is_empty()).then_some(sort..end)
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let (_, list) = question.rsplit_once("List:")?;
        let mut words: Vec<&str> = list.split_whitespace().collect();
        let depth = match (known.has(SECOND_LETTER), known.has(FURTHER_LETTERS)) {
            (true, true) => usize::MAX,
            (true, false) => 2,
            (false, _) => 1,
        };
        words.sort_by(|one, other| compare(one, other, depth));
        let count = words.len();
        if !known.has(COMPLETE) && count >= LONG_LIST {
            words.remove(count * 2 / 3);
        }
        let commas = !known.has(SEPARATOR) && count >= COMMA_LIST;
        (!words.is_empty()).then(|| words.join(if commas { ", " } else { " " }))
    }

    fn generate(&self, rng: &mut Rng, level: Level, _like: &str) -> String {
        let all: Vec<&str> = WORDS.split_whitespace().collect();
        let size = level.span(3, 18) + rng.random_range(0..=2usize);
        let mut words: Vec<&str> = all.choose_multiple(rng, size).copied().collect();
        let alike = level.span(1, 4);
        for _ in 0..alike {
            // Neighbours in the alphabet share their beginning, which is what makes sorting hard.
            let at = rng.random_range(0..all.len().saturating_sub(3));
            words.extend(all.iter().skip(at).take(rng.random_range(2..=3)));
        }
        words.sort_unstable();
        words.dedup();
        words.shuffle(rng);
        words.truncate(size.max(2));
        format!("Sort the following words alphabetically: List: {}", words.join(" "))
    }
}

fn compare(one: &str, other: &str, depth: usize) -> Ordering {
    one.chars().take(depth).cmp(other.chars().take(depth))
}
