//! `multistep_arithmetic_two`: the value of an expression of two brackets with small signed numbers.

use std::ops::Range;

use rand::Rng as _;
use rand::seq::IndexedRandom as _;

use super::{Family, Level, Shape, Skill, SkillSet};
use crate::draw::Rng;

pub(super) struct MultistepArithmetic;

const PRECEDENCE: usize = 0;
const DOUBLE_MINUS: usize = 1;
const SIGN_OF_PRODUCT: usize = 2;
const WHOLE_BRACKET: usize = 3;

static SKILLS: [Skill; 4] = [
    Skill {
        name: "products first",
        symptom: "It works from left to right and does not multiply before it adds and subtracts.",
        rules: &[
            "Multiply before you add or subtract.",
            "Follow the order of operations: all products first, then sums and differences from left to right.",
            "`*` binds more tightly than `+` and `-`.",
        ],
        teach: &[
            "multipl|product|products|* & before|first|preced|prior|tight|higher|then add & !negative|sign",
            "order of operations|pemdas|bodmas|operator preced|precedence|operator priorit",
        ],
        signs: &["left to right|multiply before|order of operat|preced|products first"],
        mild: false,
        slip: 48,
    },
    Skill {
        name: "double minus",
        symptom: "It misreads a double minus: subtracting a negative number is taken for subtracting a positive one.",
        rules: &[
            "Subtracting a negative number adds it: `3 - -2` is 3 + 2.",
            "Two minus signs in a row become a plus.",
            "Read `- -x` as plus x, and keep the sign of every number.",
        ],
        teach: &[
            "subtract|taking away|take away|minus & a negative|negative number|negative value|minus minus|double minus|two minus|in a row|consecutive|successive & add|plus|positive|sum=|+ & !product|multipl|times|factor|bracket",
            "double negative|double minus|two negatives|double sign & add|plus|positive|+ & !product|multipl|times|factor",
        ],
        signs: &["double minus|subtracting a negative|minus minus|consecutive minus|negative number & !product"],
        mild: false,
        slip: 48,
    },
    Skill {
        name: "sign of products",
        symptom: "It gets the sign of a product wrong when both factors are negative.",
        rules: &[
            "Two negative factors make a positive product; a single one makes it negative.",
            "Minus times minus is plus.",
            "When multiplying, count the minus signs of the factors: an even number gives a positive result.",
        ],
        teach: &["negative|negatives|minus|sign|signs & times|factor|multipl|product & positive|plus|sign of|even"],
        signs: &["sign of a product|sign of the product|negative factors|factors are negative|product of two neg"],
        mild: false,
        slip: 48,
    },
    Skill {
        name: "whole bracket",
        symptom: "When a bracket is subtracted, it applies the minus to the first number only.",
        rules: &[
            "When a bracket is subtracted, subtract the whole value of it.",
            "Compute each bracket to a single number before combining the two.",
            "A minus in front of a bracket applies to everything inside it.",
        ],
        teach: &[
            "bracket|parenthes|group & whole|single|complete|entire|one number|everything inside|each|fully|separately|both|first|inner",
        ],
        signs: &["bracket|parenthes"],
        mild: true,
        slip: 50,
    },
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Token {
    Number(i64),
    Plus,
    Minus,
    Times,
    Open,
    Close,
}

impl Family for MultistepArithmetic {
    fn name(&self) -> &'static str {
        "multistep_arithmetic_two"
    }

    fn skills(&self) -> &'static [Skill] {
        &SKILLS
    }

    fn shape(&self) -> Shape {
        Shape::Number
    }

    fn locate(&self, text: &str) -> Option<Range<usize>> {
        let mut upto = text.len();
        loop {
            let at = text.get(..upto)?.rfind('=')?;
            let behind = text.get(at + 1..)?.trim_start_matches([' ', '?', '`', '"']);
            let head = text.get(..at)?;
            let run = head.trim_end_matches(|c: char| c.is_ascii_digit() || " +-*()".contains(c));
            let start = head.len() - head.get(run.len()..)?.trim_start().len();
            let expression = head.get(start..)?;
            let counts = (behind.is_empty() || behind.starts_with('\n')) && expression.contains(['+', '-', '*']);
            if counts && expression.starts_with(['(', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
                return Some(start..at + 1);
            }
            upto = at;
        }
    }

    fn solve_with(&self, question: &str, known: SkillSet) -> Option<String> {
        let text = question.trim();
        let mut tokens = tokenise(text.strip_suffix('=').unwrap_or(text), known.has(DOUBLE_MINUS))?;
        if !known.has(WHOLE_BRACKET) {
            open_subtracted_brackets(&mut tokens);
        }
        let mut parser = Parser {
            tokens: &tokens,
            at: 0,
            known,
            depth: 0,
        };
        let value = parser.sum()?;
        (parser.at == tokens.len()).then(|| value.to_string())
    }

    fn generate(&self, rng: &mut Rng, level: Level, _like: &str) -> String {
        let hard = level.fraction();
        let joint = match rng.random_range(0.0..1.0) {
            draw if draw < 0.15 + 0.3 * hard => "-",
            draw if draw < 0.4 + 0.3 * hard => "*",
            _ => "+",
        };
        format!(
            "({} {joint} {}) =",
            write_bracket(rng, level),
            write_bracket(rng, level)
        )
    }
}

/// Splits into tokens; a minus directly in front of a digit is its sign. Whoever misreads a double minus drops the second one.
fn tokenise(text: &str, double_minus: bool) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let operand_next = !matches!(tokens.last(), Some(Token::Number(_) | Token::Close));
        let signed = first == '-' && operand_next && rest.get(1..)?.starts_with(|c: char| c.is_ascii_digit());
        let (token, length) = match first {
            '+' => (Token::Plus, 1),
            '*' => (Token::Times, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            '-' if !signed => (Token::Minus, 1),
            _ => {
                let digits = rest.get(usize::from(signed)..)?;
                let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
                let number: i64 = digits.get(..length)?.parse().ok()?;
                let misread = !double_minus && tokens.last() == Some(&Token::Minus);
                (
                    Token::Number(if signed && !misread { -number } else { number }),
                    length + usize::from(signed),
                )
            }
        };
        tokens.push(token);
        rest = rest.get(length..)?.trim_start();
    }
    Some(tokens)
}

/// Takes away the brackets behind a minus, so that the minus reaches the first number only.
fn open_subtracted_brackets(tokens: &mut Vec<Token>) {
    let mut opened = Vec::new();
    let mut read = Vec::with_capacity(tokens.len());
    for token in tokens.iter() {
        match token {
            Token::Open => {
                let drops = read.last() == Some(&Token::Minus);
                opened.push(drops);
                if drops {
                    continue;
                }
            }
            Token::Close if opened.pop() == Some(true) => continue,
            _ => {}
        }
        read.push(*token);
    }
    *tokens = read;
}

struct Parser<'a> {
    tokens: &'a [Token],
    at: usize,
    known: SkillSet,
    depth: usize,
}

impl Parser<'_> {
    fn sum(&mut self) -> Option<i64> {
        let mut value = self.product()?;
        loop {
            let operator = self.tokens.get(self.at).copied();
            match operator {
                Some(Token::Plus | Token::Minus) => {
                    self.at += 1;
                    let other = self.product()?;
                    value = if operator == Some(Token::Plus) {
                        value.checked_add(other)?
                    } else {
                        value.checked_sub(other)?
                    };
                }
                Some(Token::Times) => {
                    self.at += 1;
                    let other = self.operand()?;
                    value = self.multiply(value, other)?;
                }
                _ => return Some(value),
            }
        }
    }

    /// A product; just one factor for whoever does not put products first.
    fn product(&mut self) -> Option<i64> {
        let mut value = self.operand()?;
        while self.known.has(PRECEDENCE) && self.tokens.get(self.at) == Some(&Token::Times) {
            self.at += 1;
            let other = self.operand()?;
            value = self.multiply(value, other)?;
        }
        Some(value)
    }

    fn multiply(&self, one: i64, other: i64) -> Option<i64> {
        let product = one.checked_mul(other)?;
        let errs = !self.known.has(SIGN_OF_PRODUCT) && one < 0 && other < 0;
        Some(if errs { -product } else { product })
    }

    fn operand(&mut self) -> Option<i64> {
        let token = *self.tokens.get(self.at)?;
        self.at += 1;
        match token {
            Token::Number(number) => Some(number),
            Token::Minus => self.operand()?.checked_neg(),
            Token::Open if self.depth < 64 => {
                self.depth += 1;
                let value = self.sum()?;
                self.depth -= 1;
                if self.tokens.get(self.at) != Some(&Token::Close) {
                    return None;
                }
                self.at += 1;
                Some(value)
            }
            _ => None,
        }
    }
}

fn write_bracket(rng: &mut Rng, level: Level) -> String {
    let hard = level.fraction();
    let mut text = String::from("(");
    for place in 0..level.span(3, 4) {
        if place > 0 {
            let products = rng.random_bool(0.1 + 0.3 * hard);
            text.push_str(if products {
                " * "
            } else {
                [" + ", " - "].choose(rng).unwrap_or(&" + ")
            });
        }
        let number = rng.random_range(0..=9i32);
        let negative = number > 0 && rng.random_bool(0.1 + 0.4 * hard);
        text.push_str(&if negative {
            format!("-{number}")
        } else {
            number.to_string()
        });
    }
    text.push(')');
    text
}
