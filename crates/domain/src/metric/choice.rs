//! Multiple choice: the options of a question, and the one that an answer chooses.
//!
//! An answer chooses an option by its mark (`B`, `(B)`, `option B`), by its text, or by both; mark and text that contradict each
//! other choose nothing. In running text a mention counts unless it is negated ("not (B)", "(B) is wrong", "rather than (B)");
//! where two different options remain, nothing is chosen. Of two options, the negation of one is the other ("not valid").

use super::{
    extract::Span,
    text::{normalise, pattern, tokens, unwrap},
};
use regex::Regex;
use std::sync::LazyLock;

/// One option.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    /// Letter or number; none for a bullet.
    mark: Option<String>,
    /// Normalised text; empty where only the mark is known.
    text: String,
}

/// The options of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options(Vec<Choice>);

static MARKED_LINE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"^\s*(?:[-*•]\s*)?[(\[]?([A-Za-z]|\d{1,2})(?:[)\]]\s*|[.:]\s+)(\S.*)$"));
static BULLET: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*[-*•]\s+(\S.*)$"));
static HEADING: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:options|choices|possible answers|alternatives)\W*$"));
static INLINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\(([A-Z])\)\s*"));
static ONLY_MARK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?i)^(?:option|choice|answer|statement)?\s*[(\[{"'*]*([A-Z]|\d{1,2})[)\]}"'*.:,]*$"#));
static MARK_AND_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?i:option |choice )?\*{0,2}[(\[]?([A-Za-z]|\d{1,2})(?:[)\]]|\s*[.:]|\s+[-–—])\*{0,2}\s*[:.\-–—]?\s*(\S.*)$",
    )
});

impl Options {
    /// The options that a question lists: lettered lines, lettered inline, or bullets under a heading. The last list counts.
    pub(super) fn in_input(input: &str) -> Option<Options> {
        marked_lines(input)
            .or_else(|| inline(input))
            .or_else(|| bullets(input))
            .map(Options)
    }

    /// Options that are the label space: each label is a mark such as `(A)`, or a text.
    pub(super) fn of_labels(labels: &[String]) -> Option<Options> {
        let choices =
            labels.iter().map(
                |label| match ONLY_MARK.captures(label.trim()).and_then(|found| found.get(1)) {
                    Some(mark) if label.trim().len() <= mark.len() + 2 => Choice {
                        mark: Some(mark.as_str().to_owned()),
                        text: String::new(),
                    },
                    _ => Choice {
                        mark: None,
                        text: normalise(label),
                    },
                },
            );
        (!labels.is_empty()).then(|| Options(choices.collect()))
    }

    /// The option that a whole text names: for targets and bare answers.
    pub(super) fn named(&self, text: &str) -> Option<usize> {
        let text = unwrap(text);
        let plain = normalise(text);
        let by_text = || {
            let mut same = (0..self.0.len()).filter(|&at| self.text(at) == plain && !plain.is_empty());
            same.next().filter(|_| same.next().is_none())
        };
        if let Some(at) = ONLY_MARK
            .captures(text)
            .and_then(|found| self.marked(found.get(1)?.as_str()))
        {
            return Some(at);
        }
        by_text().or_else(|| self.marked_and_told(text)?)
    }

    /// `(B) text`: the option, if mark and text are of one. None: the text is not of this form; `Some(None)`: they contradict each other.
    fn marked_and_told(&self, text: &str) -> Option<Option<usize>> {
        let both = MARK_AND_TEXT.captures(unwrap(text))?;
        let at = self.marked(both.get(1)?.as_str())?;
        let told = both.get(2)?.as_str();
        let rest = normalise(told);
        if (0..self.0.len()).any(|other| other != at && self.text(other) == rest && self.text(at) != rest) {
            return Some(None);
        }
        let mixes = mentions_of_marks(told, self)
            .iter()
            .any(|mention| mention.option != at && mention.strong);
        // the text, or the text with a word or two: a line that argues about an option does not choose it
        let told = self.text(at).is_empty()
            || rest.starts_with(self.text(at)) && words(&rest).len() <= words(self.text(at)).len() + 3;
        (!mixes && told).then_some(Some(at))
    }

    /// The option that an answer chooses.
    pub(super) fn chosen(&self, span: &Span) -> Option<usize> {
        if let Some(at) = self.named(&span.text) {
            return Some(at);
        }
        if self.marked_and_told(&span.text) == Some(None) {
            return None;
        }
        if span.stated {
            return self.in_statement(&span.text);
        }
        let lines: Vec<&str> = span.text.lines().filter(|line| !line.trim().is_empty()).collect();
        let bare: Vec<Option<usize>> = lines.iter().map(|line| self.named(line)).collect();
        let mut distinct: Vec<usize> = bare.iter().flatten().copied().collect();
        distinct.sort_unstable();
        distinct.dedup();
        if let [only] = distinct.as_slice() {
            return Some(*only);
        }
        let listed = bare.windows(2).any(|pair| matches!(pair, [Some(a), Some(b)] if a != b));
        match bare.last() {
            Some(Some(last)) if !listed => Some(*last),
            Some(Some(_)) => None, // the options, said again
            _ => self.in_prose(&lines),
        }
    }

    /// In "the answer is ..": the first clause that mentions options decides.
    fn in_statement(&self, text: &str) -> Option<usize> {
        clauses(text).find_map(|clause| self.in_clause(clause)).flatten()
    }

    /// In running text: the last sentences, backwards, then the first one.
    fn in_prose(&self, lines: &[&str]) -> Option<usize> {
        let text = lines.join("\n");
        let sentences: Vec<&str> = sentences(&text);
        let first = sentences.first().and_then(|first| self.leading(first));
        if first.is_some() {
            return first;
        }
        let last = sentences.iter().rev().take(3).find_map(|sentence| {
            let conclusion = CONCLUSION
                .find_iter(sentence)
                .last()
                .and_then(|word| sentence.get(word.end()..));
            conclusion
                .and_then(|part| self.in_clause(part))
                .or_else(|| self.in_clause(sentence))
        });
        last.or_else(|| sentences.first().and_then(|first| self.in_clause(first)))
            .flatten()
    }

    /// An answer that opens with the option: "No, you do not", "No you do not", "(B), because".
    fn leading(&self, sentence: &str) -> Option<usize> {
        let sentence = sentence.trim().trim_start_matches(['*', '_', '"']);
        if let Some(polar) = LEADING_POLAR.captures(sentence).and_then(|found| found.get(1)) {
            return self.named(polar.as_str());
        }
        let end = sentence.find([',', ';', ':', '—', '–', '!'])?;
        let rest = sentence.get(end..).unwrap_or_default();
        // "Option (A): .." begins a discussion of it
        let discussed =
            |at: &usize| rest.starts_with(':') && self.0.get(*at).is_some_and(|choice| choice.mark.is_some());
        self.named(sentence.get(..end)?)
            .filter(|at| !SEVERAL.is_match(rest) && !discussed(at))
    }

    /// None: the clause mentions no option. `Some(None)`: it does, and leaves open which.
    fn in_clause(&self, clause: &str) -> Option<Option<usize>> {
        if let Some(at) = self.named(clause) {
            return Some(Some(at));
        }
        if self.marked_and_told(clause) == Some(None) {
            return Some(None);
        }
        let marks = mentions_of_marks(clause, self);
        let mentions = if marks.iter().any(|mention| mention.strong) {
            marks.into_iter().filter(|mention| mention.strong).collect()
        } else {
            let texts = self.mentions_of_texts(clause);
            if texts.is_empty() { marks } else { texts }
        };
        if mentions.is_empty() {
            return None;
        }
        let (denied, meant): (Vec<&Mention>, Vec<&Mention>) =
            mentions.iter().partition(|mention| negated(clause, mention));
        let distinct = |list: &[&Mention]| {
            let mut options: Vec<usize> = list.iter().map(|mention| mention.option).collect();
            options.sort_unstable();
            options.dedup();
            options
        };
        match (distinct(&meant).as_slice(), distinct(&denied).as_slice()) {
            ([only], _) => Some(Some(*only)),
            ([], [denied]) if self.0.len() == 2 => Some(Some(1 - *denied)),
            ([], _) => None,
            // "False or True = True"
            _ => Some(
                clause
                    .rsplit_once('=')
                    .and_then(|(_, result)| self.in_clause(result))
                    .flatten(),
            ),
        }
    }

    fn mentions_of_texts(&self, clause: &str) -> Vec<Mention> {
        let words = words(clause);
        let mut order: Vec<(usize, Vec<&str>)> = (0..self.0.len())
            .filter(|&at| self.text(at).chars().count() > 1)
            .map(|at| (at, self.text(at).split(' ').collect()))
            .collect();
        // the longest first: "non entailment" is no mention of "entailment"
        order.sort_by_key(|(_, text)| std::cmp::Reverse(text.len()));
        let mut taken = vec![false; words.len()];
        let mut found: Vec<Mention> = Vec::new();
        for (option, text) in order {
            for (from, window) in words.windows(text.len()).enumerate() {
                let to = from + text.len();
                let same = window.iter().map(|word| word.text.as_str()).eq(text.iter().copied());
                // "no" is an answer only where nothing follows that it could belong to
                let determiner = text == ["no"] && window.iter().all(|word| word.goes_on);
                if !same || determiner || taken.get(from..to).is_none_or(|taken| taken.contains(&true)) {
                    continue;
                }
                taken.iter_mut().take(to).skip(from).for_each(|taken| *taken = true);
                if let (Some(first), Some(last)) = (window.first(), window.last()) {
                    found.push(Mention {
                        start: first.start,
                        end: last.end,
                        option,
                        strong: true,
                    });
                }
            }
        }
        found
    }

    fn marked(&self, mark: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|choice| choice.mark.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(mark)))
    }

    fn text(&self, at: usize) -> &str {
        self.0.get(at).map_or("", |choice| choice.text.as_str())
    }
}

/// An option mentioned in a clause.
#[derive(Debug)]
struct Mention {
    start: usize,
    end: usize,
    option: usize,
    /// In brackets, in bold, after "option", or by its text; else a lone capital letter, which may be a word or a name.
    strong: bool,
}

static CONCLUSION: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:so|therefore|thus|hence|consequently|means that|conclude that|leaves)\b,?"));
static LEADING_POLAR: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^(yes|no) (?:you|it|he|she|they|this|that|we|the)\b"));
static SEVERAL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)^[\s,]*(?:(?:or|and)\b|\(?[A-Z]\)?\s*(?:$|[,.]|or\b|and\b))"));
static CLAUSE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:because|since|as|given|while|whereas|although|though|which|where|but not)\b|[.!?]\s|;|\n| [-–—]+ ",
    )
});
static SENTENCE: LazyLock<Regex> = LazyLock::new(|| pattern(r"[.!?][)*_\x22]*\s+|\n+"));
static DENIED_BEFORE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)(?:\b(?:not|never|cannot|neither|nor|rather than|instead of|except|exclud\w*|eliminat\w*|rul(?:e|es|ed|ing) out|",
        r"reject\w*|discard\w*|unlike|over)\b|n't\b)(?:\W+[\w']+){0,5}?\W*$"
    ))
});
static DENIED_AFTER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^[)\]*_\x22']*(?:\s*(?:,|and|or|nor|&)\s*(?:option |choice )?[(\[*]*[A-Z][)\]*]*)*[\s,]+",
        r"(?:(?:is|are|was|were|seems?|looks?|would be|must be|can be|option is)\s+(?:also |clearly |both |all |therefore )?",
        r"(?:not|n't|wrong|incorrect|false|eliminated|ruled out|impossible|excluded|out|inconsistent|contradicted|a contradiction)",
        r"|cannot|can't|isn't|aren't|doesn't|does not|(?:(?:would|must|can|could|may)\s+)?(?:contradicts?|fails?|violates?|conflicts?))\b"
    ))
});

fn negated(clause: &str, mention: &Mention) -> bool {
    let before = clause.get(..mention.start).unwrap_or_default();
    // a negation reaches no further than its own part: "not (B) but (C)", "not A, C"
    let part = before.rsplit([',', ';', ':']).next().unwrap_or(before);
    let part = ["but ", " so ", " it is ", " it's "]
        .iter()
        .filter_map(|word| part.rfind(word).and_then(|at| part.get(at + word.len() - 1..)))
        .min_by_key(|rest| rest.len())
        .unwrap_or(part);
    DENIED_BEFORE.is_match(part)
        || clause
            .get(mention.end..)
            .is_some_and(|after| DENIED_AFTER.is_match(after))
}

fn clauses(text: &str) -> impl Iterator<Item = &str> {
    let mut at = 0;
    let mut ends: Vec<(usize, usize)> = CLAUSE.find_iter(text).map(|end| (end.start(), end.end())).collect();
    ends.push((text.len(), text.len()));
    ends.into_iter().filter_map(move |(end, next)| {
        let clause = text.get(at..end)?;
        at = next;
        Some(clause)
    })
}

fn sentences(text: &str) -> Vec<&str> {
    SENTENCE
        .split(text)
        .map(str::trim)
        .filter(|sentence| !sentence.is_empty())
        .collect()
}

/// A normalised word and where it stands.
struct Word {
    text: String,
    start: usize,
    end: usize,
    /// Another word follows it without punctuation between.
    goes_on: bool,
}

fn words(clause: &str) -> Vec<Word> {
    let mut all = Vec::new();
    let mut at = 0;
    for run in clause.split_inclusive(char::is_whitespace) {
        let start = at;
        at += run.len();
        let run = run.trim_end();
        let more = clause.get(at..).is_some_and(|rest| !rest.trim().is_empty());
        let goes_on = more && run.ends_with(char::is_alphanumeric);
        let plain = run.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        if !matches!(plain.as_str(), "a" | "an" | "the") {
            // the end is that of the word, without the punctuation that follows it
            let end = start + run.trim_end_matches(|c: char| !c.is_alphanumeric()).len().max(1);
            all.extend(tokens(run).into_iter().map(|text| Word {
                text,
                start,
                end,
                goes_on,
            }));
        }
    }
    all
}

fn mentions_of_marks(clause: &str, options: &Options) -> Vec<Mention> {
    let chars: Vec<(usize, char)> = clause.char_indices().collect();
    let char_at = |at: Option<usize>| at.and_then(|at| chars.get(at)).map_or(' ', |(_, c)| *c);
    let mut found = Vec::new();
    for (at, &(start, c)) in chars.iter().enumerate() {
        let (before, after) = (char_at(at.checked_sub(1)), char_at(Some(at + 1)));
        let alone = !before.is_alphanumeric()
            && !after.is_alphanumeric()
            && !matches!(before, '\'' | '’' | '-')
            && !matches!(after, '\'' | '’' | '-');
        if !c.is_ascii_alphabetic() || !alone {
            continue;
        }
        let Some(option) = options.marked(&c.to_string()) else {
            continue;
        };
        let bracketed = matches!(
            (before, after),
            ('(' | '[', ')' | ']') | ('*', '*') | ('"', '"') | ('`', '`') | ('{', '}') | (_, ')')
        );
        let lead = clause
            .get(..start)
            .unwrap_or_default()
            .trim_end_matches(['(', '[', '*', ' '])
            .to_lowercase();
        let named = ["option", "options", "choice", "answer", "statement"]
            .iter()
            .any(|word| lead.ends_with(word))
            && (c.is_ascii_uppercase() || bracketed);
        let article = matches!(c, 'A' | 'I') && after == ' ' && char_at(Some(at + 2)).is_alphabetic();
        if bracketed || named || (c.is_ascii_uppercase() && !article) {
            found.push(Mention {
                start,
                end: start + c.len_utf8(),
                option,
                strong: bracketed || named,
            });
        }
    }
    found
}

/// `A, B, C, ..` (or `a, b, ..`, `1, 2, ..`): the mark that opens a list, and the one that follows a mark.
fn follows(last: Option<&str>, mark: &str) -> bool {
    match last {
        None => matches!(mark, "A" | "a" | "1"),
        Some(last) => match (last.parse::<u32>(), mark.parse::<u32>()) {
            (Ok(last), Ok(mark)) => mark == last + 1,
            _ => last.len() == 1 && mark.len() == 1 && last.bytes().next().map(|byte| byte + 1) == mark.bytes().next(),
        },
    }
}

fn marked_lines(input: &str) -> Option<Vec<Choice>> {
    let (mut best, mut run): (Option<Vec<Choice>>, Vec<Choice>) = (None, Vec::new());
    let (mut gap, mut headed) = (0, false);
    for line in input.lines() {
        headed |= HEADING.is_match(line);
        let Some(found) = MARKED_LINE.captures(line) else {
            gap += usize::from(!line.trim().is_empty());
            continue;
        };
        let (mark, text) = (
            found.get(1).map_or("", |mark| mark.as_str()),
            found.get(2).map_or("", |text| text.as_str()),
        );
        // numbered lines are options only under a heading that says so: else they are steps or premises
        if mark.starts_with(|c: char| c.is_ascii_digit()) && !headed {
            continue;
        }
        let last = run.last().and_then(|choice| choice.mark.as_deref());
        if gap > 2 || !follows(last, mark) {
            run.clear();
            if !follows(None, mark) {
                continue;
            }
        }
        gap = 0;
        run.push(Choice {
            mark: Some(mark.to_owned()),
            text: normalise(text),
        });
        if run.len() > 1 {
            best = Some(run.clone());
        }
    }
    best
}

fn inline(input: &str) -> Option<Vec<Choice>> {
    input.lines().rev().find_map(|line| {
        let hits: Vec<(usize, usize, &str)> = INLINE
            .captures_iter(line)
            .filter_map(|hit| Some((hit.get(0)?.start(), hit.get(0)?.end(), hit.get(1)?.as_str())))
            .collect();
        let mut choices: Vec<Choice> = Vec::new();
        for (at, (_, end, mark)) in hits.iter().enumerate() {
            if !follows(choices.last().and_then(|choice| choice.mark.as_deref()), mark) {
                return None;
            }
            let stop = hits.get(at + 1).map_or(line.len(), |(start, _, _)| *start);
            choices.push(Choice {
                mark: Some((*mark).to_owned()),
                text: normalise(line.get(*end..stop)?),
            });
        }
        (choices.len() > 1).then_some(choices)
    })
}

fn bullets(input: &str) -> Option<Vec<Choice>> {
    let (mut best, mut run): (Option<Vec<Choice>>, Option<Vec<Choice>>) = (None, None);
    for line in input.lines() {
        if HEADING.is_match(line) {
            run = Some(Vec::new());
        } else if let (Some(list), Some(text)) = (run.as_mut(), BULLET.captures(line).and_then(|found| found.get(1))) {
            list.push(Choice {
                mark: None,
                text: normalise(text.as_str()),
            });
            if list.len() > 1 {
                best = Some(list.clone());
            }
        } else if !line.trim().is_empty() {
            run = None;
        }
    }
    best
}
