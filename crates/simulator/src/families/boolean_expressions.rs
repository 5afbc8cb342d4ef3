//! `boolean_expressions`: the value of an expression over True, False, and, or, not and brackets.

use std::ops::Range;

use rand::Rng as _;

use super::{Family, Level, Shape, Skill, SkillSet};
use crate::draw::Rng;

pub(super) struct BooleanExpressions;

const NEGATION: usize = 0;
const DOUBLE_NEGATION: usize = 1;
const PRECEDENCE: usize = 2;
const BRACKETS: usize = 3;

static SKILLS: [Skill; 4] = [
    Skill {
        name: "negation",
        symptom: "It overlooks a single `not` and leaves the value behind it as it is.",
        rules: &[
            "A `not` flips the value behind it: `not True` is False and `not False` is True.",
            "Apply every negation: `not` turns True into False and False into True.",
            "Wherever `not` stands in front of a value or a bracket, take the opposite value.",
        ],
        teach: &[
            "not=|negation|negations|negate|negates|negated & flip|invert|opposite|turn|toggl|is false|becomes false|switch",
            "evaluate|apply|handle|process|resolve|compute|perform|never overlook|do not overlook|never ignore|do not ignore & not first|nots first|negation first|negations first|every not|each not|all not|every negation|each negation|any not|a not=|the not=",
        ],
        signs: &["single not|overlooks a not|ignores not|ignores the not|ignoring not|misses the not|missed not"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "repeated negation",
        symptom: "It miscounts repeated negations such as `not not`.",
        rules: &[
            "Two `not` in a row cancel each other: `not not x` is just x, and an odd number of them equals one `not`.",
            "Count consecutive negations: an even number leaves the value unchanged, an odd number counts as one.",
            "Resolve a chain of several `not` one after the other, starting with the one next to the value.",
        ],
        teach: &[
            "cancel|even number|odd number|parity|double negat|not not|pairs of not|pair of not|consecutive|in a row|repeated|chain|multiple not|successive & not=|nots=|negat",
        ],
        signs: &["repeated negation|double negation|not not|consecutive n|chain of n|miscount"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "and before or",
        symptom: "It works strictly from left to right and does not put `and` before `or`.",
        rules: &[
            "`and` is worked out before `or`.",
            "Observe the precedence of operators: every `and` comes before any `or`.",
            "`and` binds more tightly than `or`, so group the parts joined by `and`, and only then combine with `or`.",
        ],
        teach: &[
            "and before or=|and before any or=|and before every or=|and before the or=|before or=|before any or=|and comes before|and first then or=|then and=|and over or=|and binds|and has higher|and takes preced|and has preced|than or=|or= last|or comes last|or= lowest",
            "preced|order of operations|operator priorit|priority of the operators|priority of operators",
        ],
        signs: &["left to right|preced|and before or|order of operat"],
        mild: false,
        slip: 100,
    },
    Skill {
        name: "brackets",
        symptom: "It reads over the brackets.",
        rules: &[
            "Evaluate what stands in brackets first, the innermost ones before the others.",
            "Compute the inside of each parenthesised part to one value before using it.",
            "Brackets group: start inside them and work outwards.",
        ],
        teach: &["bracket|parenthes & first|before|inner|inside|group|one value|start|respect"],
        signs: &["bracket|parenthes"],
        mild: true,
        slip: 100,
    },
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Value(bool),
    Not,
    And,
    Or,
    Open,
    Close,
}

impl Family for BooleanExpressions {
    fn name(&self) -> &'static str {
        "boolean_expressions"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Word
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        let mut upto = text.len();
        loop {
            let at = text.get(..upto)?.rfind(" is")?;
            let behind = text.get(at + 3..)?.trim_start_matches(' ');
            let ends = behind.is_empty() || behind.starts_with(['\n', '?', '"', '`', '.']);
            if let Some(start) = text.get(..at).filter(|_| ends).and_then(expression_start) {
                return Some(start..at + 3);
            }
            upto = at;
        }
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let text = question.trim();
        let mut tokens = tokenise(text.strip_suffix(" is").unwrap_or(text))?;
        if !known.has(BRACKETS) {
            tokens.retain(|token| !matches!(token, Token::Open | Token::Close));
        }
        let mut parser = Parser {
            tokens: &drop_negations(&tokens, known),
            at: 0,
            precedence: known.has(PRECEDENCE),
            depth: 0,
        };
        let value = parser.expression()?;
        (parser.at == parser.tokens.len()).then(|| if value { "True" } else { "False" }.to_owned())
    }

    fn generate(&self, rng: &mut Rng, level: Level, _like: &str) -> String {
        loop {
            let mut text = String::new();
            let terms = level.span(2, 5).max(2);
            write_terms(&mut text, rng, terms, level, 0);
            let text = format!("{} is", text.trim());
            if text.contains(" and ") || text.contains(" or ") || text.contains("not") {
                return text;
            }
        }
    }
}

/// Where the run of expression words that ends the text begins.
fn expression_start(text: &str) -> Option<usize> {
    let mut start = text.len();
    let mut depth = 0i32;
    let mut best = None;
    let mut values = 0;
    while let Some(head) = text.get(..start) {
        let head = head.trim_end_matches(' ');
        let word_start = head.rfind([' ', '\n', '(', ')', '"', '`', ':']).map_or(0, |at| {
            if head.ends_with(['(', ')']) {
                at
            } else {
                at + head.get(at..).and_then(|t| t.chars().next()).map_or(1, char::len_utf8)
            }
        });
        match head.get(word_start..)? {
            "True" | "False" => values += 1,
            "not" | "and" | "or" => {}
            "(" => depth -= 1,
            ")" => depth += 1,
            _ => break,
        }
        start = word_start;
        let begins_well = !matches!(head.get(word_start..)?, "and" | "or" | ")");
        if depth == 0 && begins_well && values > 0 {
            best = Some(start);
        }
        if depth < 0 {
            break;
        }
    }
    best
}

fn tokenise(text: &str) -> Option<Vec<Token>> {
    text.replace('(', " ( ")
        .replace(')', " ) ")
        .split_whitespace()
        .map(|word| {
            Some(match word {
                "True" => Token::Value(true),
                "False" => Token::Value(false),
                "not" => Token::Not,
                "and" => Token::And,
                "or" => Token::Or,
                "(" => Token::Open,
                ")" => Token::Close,
                _ => return None,
            })
        })
        .collect()
}

/// The tokens as a solver reads them who loses single negations, or one out of several in a row.
fn drop_negations(tokens: &[Token], known: SkillSet) -> Vec<Token> {
    let mut read = Vec::with_capacity(tokens.len());
    let mut run = 0usize;
    for token in tokens.iter().chain([&Token::Close]) {
        if *token == Token::Not {
            run += 1;
            continue;
        }
        let lost = match run {
            0 => false,
            1 => !known.has(NEGATION),
            _ => !known.has(DOUBLE_NEGATION),
        };
        read.extend(std::iter::repeat_n(Token::Not, run - usize::from(lost)));
        run = 0;
        read.push(*token);
    }
    read.pop();
    read
}

/// Evaluates with or without the precedence of `and` over `or`.
struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    precedence: bool,
    depth: usize,
}

impl Parser<'_> {
    fn expression(&mut self) -> Option<bool> {
        let mut value = self.conjunction()?;
        loop {
            match self.tokens.get(self.at) {
                Some(Token::Or) => {
                    self.at += 1;
                    value |= self.conjunction()?;
                }
                Some(Token::And) if !self.precedence => {
                    self.at += 1;
                    value &= self.conjunction()?;
                }
                _ => return Some(value),
            }
        }
    }

    fn conjunction(&mut self) -> Option<bool> {
        let mut value = self.factor()?;
        while self.precedence && self.tokens.get(self.at) == Some(&Token::And) {
            self.at += 1;
            value &= self.factor()?;
        }
        Some(value)
    }

    fn factor(&mut self) -> Option<bool> {
        let mut flips = false;
        while self.tokens.get(self.at) == Some(&Token::Not) {
            flips = !flips;
            self.at += 1;
        }
        let token = *self.tokens.get(self.at)?;
        self.at += 1;
        let value = match token {
            Token::Value(value) => value,
            Token::Open if self.depth < 64 => {
                self.depth += 1;
                let value = self.expression()?;
                self.depth -= 1;
                if self.tokens.get(self.at) != Some(&Token::Close) {
                    return None;
                }
                self.at += 1;
                value
            }
            _ => return None,
        };
        Some(value != flips)
    }
}

fn write_terms(text: &mut String, rng: &mut Rng, terms: usize, level: Level, depth: usize) {
    let mut left = terms;
    while left > 0 {
        if left < terms {
            text.push_str(if rng.random_bool(0.5) { "and " } else { "or " });
        }
        let hard = level.fraction();
        let nots = match rng.random_range(0.0..1.0) {
            draw if draw < 0.18 * hard => 3,
            draw if draw < 0.12 + 0.35 * hard => 2,
            draw if draw < 0.4 + 0.4 * hard => 1,
            _ => 0,
        };
        text.push_str(&"not ".repeat(nots));
        let inner = rng.random_range(1..=left.min(3));
        if depth < 2 && rng.random_bool(0.2 + 0.25 * hard) {
            text.push_str("( ");
            write_terms(text, rng, inner, level, depth + 1);
            text.push_str(") ");
            left -= inner;
        } else {
            text.push_str(if rng.random_bool(0.5) { "True " } else { "False " });
            left -= 1;
        }
    }
}
