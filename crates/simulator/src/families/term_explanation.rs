//! `term_explanation`: free-text explanations of technical terms, an own family for tasks that are scored by a judge.
//!
//! A whole explanation says what the thing is, what it is for, and gives an example.

use std::ops::Range;

use rand::seq::IndexedRandom as _;

use super::{Family, Level, Shape, Skill, SkillSet};
use crate::draw::Rng;

pub(super) struct TermExplanation;

const PURPOSE: usize = 0;
const EXAMPLE: usize = 1;
const DEFINITION: usize = 2;

static SKILLS: [Skill; 3] = [
    Skill {
        name: "purpose",
        symptom: "It does not say what the thing is good for.",
        rules: &[
            "Say what the thing is for: which problem it solves or why it matters.",
            "State the purpose of the thing.",
            "Explain why people use it.",
        ],
        teach: &[
            "purpose|what it is for|what the thing is for|why it matters|problem it solves|why people use|why it is used|what it is used for|benefit|use case|its use",
        ],
        signs: &["good for|purpose|what it is for|why it"],
        mild: false,
        slip: 60,
    },
    Skill {
        name: "example",
        symptom: "It gives no example.",
        rules: &[
            "Give one concrete example.",
            "Illustrate the explanation by a typical case.",
            "Close with an example from practice.",
        ],
        teach: &[
            "example|illustrat|typical case|concrete case|instance & give|close|add|with|include|illustrat|provide|end|name|by",
        ],
        signs: &["example|illustrat"],
        mild: false,
        slip: 60,
    },
    Skill {
        name: "definition",
        symptom: "It leaves the definition half said.",
        rules: &[
            "Begin with a full definition in one sentence.",
            "Define the thing precisely and completely before anything else.",
            "Say exactly what the thing is, in a whole sentence.",
        ],
        teach: &["define|definition|what the thing is|what it is & full|complet|precise|exact|whole|clear|begin|start"],
        signs: &["definition|half said|define"],
        mild: true,
        slip: 50,
    },
];

/// Term, what it is, what it is for, an example.
const TERMS: &[[&str; 4]] = &[
    [
        "deadlock",
        "a state in which two processes wait for each other and neither can continue",
        "Knowing it helps designers order their locks safely",
        "Two bank transfers each hold one account and ask for the other",
    ],
    [
        "cache",
        "a small fast store that keeps recently used data near its user",
        "It saves the time of fetching the same data again",
        "A browser keeps pictures of a page already visited",
    ],
    [
        "checksum",
        "a short number computed from data by a fixed rule",
        "It reveals whether data was damaged on its way",
        "A download page prints one beside each file",
    ],
    [
        "recursion",
        "a method in which a function solves a problem by calling itself on smaller parts",
        "It makes nested structures easy to handle",
        "Listing folders inside folders",
    ],
    [
        "latency",
        "the delay between a request and the beginning of its answer",
        "It tells how responsive a system feels",
        "A satellite call answers half a second late",
    ],
    [
        "throughput",
        "the amount of work finished in a unit of time",
        "It tells how much load a system can carry",
        "A printer producing forty pages per minute",
    ],
    [
        "encryption",
        "the transformation of readable text into a form that only holders of a key can read",
        "It protects secrets from strangers",
        "Messengers scramble chats between two phones",
    ],
    [
        "hash table",
        "a structure that finds values by computing a position from their key",
        "It makes lookups fast whatever the size",
        "A phone book program jumping straight to a name",
    ],
    [
        "compiler",
        "a program that translates source code into machine instructions before it runs",
        "It lets people write in a comfortable language",
        "Turning a text file of Rust into an executable",
    ],
    [
        "interpreter",
        "a program that executes source code directly line by line",
        "It shortens the way from an edit to a result",
        "A Python prompt answering each typed statement",
    ],
    [
        "backup",
        "a second copy of data kept at a separate place",
        "It allows recovery after loss or damage",
        "Family photos copied monthly onto an external disk",
    ],
    [
        "firewall",
        "a filter that decides which network traffic may pass a border",
        "It keeps unwanted visitors away from machines",
        "An office router blocking connections from outside",
    ],
    [
        "load balancer",
        "a component that spreads incoming requests over several servers",
        "It prevents any single machine from drowning",
        "A shop sending customers to the idlest of ten servers",
    ],
    [
        "race condition",
        "a fault whose outcome depends on the accidental timing of parallel actions",
        "Recognising it explains errors that come and go",
        "Two clerks selling the same last ticket",
    ],
    [
        "version control",
        "a system that records every change of files together with author and reason",
        "It allows teams to work in parallel and to go back",
        "Engineers merging branches with git",
    ],
    [
        "unit test",
        "a small automatic check of one piece of code in isolation",
        "It catches mistakes before users meet them",
        "Asserting that a date parser rejects February thirtieth",
    ],
    [
        "refactoring",
        "the improvement of code structure without changing its behaviour",
        "It keeps programs understandable as they grow",
        "Splitting a function of thousand lines into named steps",
    ],
    [
        "bandwidth",
        "the greatest amount of data a channel carries per second",
        "It limits how fast large files arrive",
        "A household line delivering hundred megabits",
    ],
    [
        "protocol",
        "an agreed set of rules for exchanging messages",
        "It lets machines of different makers understand each other",
        "Browsers and sites talking HTTP",
    ],
    [
        "queue",
        "a waiting line in which the first to arrive is served first",
        "It evens out bursts of work",
        "Documents waiting for a shared printer",
    ],
    [
        "stack",
        "a pile of items from which the latest added is taken first",
        "It remembers where to return after nested work",
        "The undo history of an editor",
    ],
    [
        "replication",
        "the keeping of identical data on several machines at once",
        "It survives the failure of any one of them",
        "A database mirrored in three cities",
    ],
    [
        "idempotence",
        "the property that repeating an operation has no further effect",
        "It makes retries after a lost reply harmless",
        "Pressing the button of a lift twice",
    ],
    [
        "sandbox",
        "an enclosed environment in which a program cannot reach anything outside",
        "It limits the harm of untrusted software",
        "A browser tab unable to read your files",
    ],
    [
        "index",
        "a sorted side list that points to the places of entries",
        "It avoids searching everything from front to back",
        "The keyword pages behind a cookbook",
    ],
    [
        "regression",
        "the return of a fault in something that used to work",
        "Watching for it protects earlier achievements",
        "A login breaking after an unrelated update",
    ],
    [
        "consensus",
        "the agreement of several independent parties on one value",
        "It lets a group act as one despite failures",
        "Five servers electing a leader",
    ],
    [
        "photosynthesis",
        "the process by which plants build sugar from light water and carbon dioxide",
        "It feeds nearly all life and renews oxygen",
        "Leaves of a maple growing in summer sun",
    ],
    [
        "erosion",
        "the gradual wearing away of soil and rock by wind or water",
        "Understanding it guides farmers and builders",
        "A river carving a canyon",
    ],
    [
        "inflation",
        "a lasting rise of the general level of prices",
        "Central banks watch it to keep money stable",
        "Bread costing twice as much after ten years",
    ],
    [
        "friction",
        "the resistance between surfaces that slide against each other",
        "It makes walking and braking possible",
        "Shoes gripping a dry pavement",
    ],
    [
        "evaporation",
        "the change of a liquid into vapour below its boiling point",
        "It cools skin and drives the weather",
        "Wet laundry drying on a line",
    ],
    [
        "symbiosis",
        "a close lasting partnership between different species",
        "It gives partners food or protection they lack alone",
        "Clownfish living among anemones",
    ],
    [
        "tide",
        "the regular rise and fall of the sea caused by the pull of the moon",
        "Sailors need its timetable to enter harbours",
        "A beach twice as wide at noon as at dusk",
    ],
    [
        "catalyst",
        "a substance that speeds up a reaction without being used up",
        "It saves energy in industry and engines",
        "Platinum cleaning the exhaust of cars",
    ],
    [
        "mortgage",
        "a loan secured by the house it pays for",
        "It lets families buy homes before they have saved the price",
        "A couple repaying a bank over thirty years",
    ],
    [
        "vaccination",
        "the training of the immune system with a harmless form of a germ",
        "It prevents illness before it starts",
        "Children protected from measles by two shots",
    ],
    [
        "compost",
        "decayed plant waste that has turned into dark soil",
        "It returns nutrients to gardens without chemicals",
        "Kitchen peelings feeding next year tomatoes",
    ],
    [
        "quorum",
        "the least number of members who must be present for a valid decision",
        "It stops a handful from deciding for all",
        "A club needing eleven of twenty votes",
    ],
    [
        "prototype",
        "an early working model made to try out an idea",
        "It shows mistakes while they are still cheap",
        "A cardboard lamp built before the metal one",
    ],
    [
        "budget",
        "a plan of expected income and spending for a period",
        "It warns before money runs out",
        "A student dividing a grant among rent food and books",
    ],
    [
        "metaphor",
        "a figure of speech that describes one thing as though it were another",
        "It makes abstract ideas vivid",
        "Calling time a thief",
    ],
];

const FORMS: &[&str] = &[
    "Explain the term \"{}\".",
    "Please explain the term \"{}\" to a colleague.",
    "In a glossary, how would you explain the term \"{}\"?",
];

impl Family for TermExplanation {
    fn name(&self) -> &'static str {
        "term_explanation"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Text
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        const MARK: &str = "xplain the term \"";
        let at = text.rfind(MARK)?;
        let line = text.get(..at)?.rfind('\n').map_or(0, |at| at + 1);
        let close = at + MARK.len() + text.get(at + MARK.len()..)?.find('"')?;
        let end = text.get(close..)?.find('\n').map_or(text.len(), |end| close + end);
        Some(line..end)
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let term = question.split('"').nth(1)?;
        let [_, definition, purpose, example] = TERMS
            .iter()
            .find(|entry| entry.first().is_some_and(|name| *name == term))?;
        let half: String = definition
            .split_inclusive(' ')
            .take(definition.split(' ').count() / 2)
            .collect();
        let definition = if known.has(DEFINITION) {
            definition
        } else {
            half.trim_end()
        };
        let mut answer = format!(
            "{} {term} is {definition}.",
            if term.starts_with(['a', 'e', 'i', 'o', 'u']) {
                "An"
            } else {
                "A"
            }
        );
        if known.has(PURPOSE) {
            answer.push_str(&format!(" {purpose}."));
        }
        if known.has(EXAMPLE) {
            answer.push_str(&format!(" Example: {example}."));
        }
        Some(answer)
    }

    fn generate(&self, rng: &mut Rng, _level: Level, _like: &str) -> String {
        let term = TERMS.choose(rng).map_or("cache", |[term, ..]| term);
        FORMS
            .choose(rng)
            .copied()
            .unwrap_or("Explain the term \"{}\".")
            .replace("{}", term)
    }
}
