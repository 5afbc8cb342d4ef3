//! Multiple choice: the options of a question, and the one that an answer chooses.
//!
//! An answer chooses an option by its mark (`B`, `(B)`, `option B`), by its text, or by both; mark and text that contradict each
//! other choose nothing. In running text a mention counts unless it is negated ("not (B)", "(B) is wrong", "rather than (B)");
//! where two different options remain, nothing is chosen. Of two options, the negation of one is the other ("not valid").

use super::{
    extract::Span,
    list::{self, Choice},
    rules::Rules,
    text::{normalise, pattern, tokens, unwrap},
};
use regex::Regex;
use std::sync::LazyLock;

/// The options of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Options(Vec<Choice>, Rules);

static ONLY_MARK: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?i)^(?:option|choice|answer|statement)?\s*[(\[{"'*]*([A-Z]|\d{1,2})[)\]}"'*.:,]*$"#));
static MARK_AND_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?i:option |choice )?\*{0,2}[(\[]?([A-Za-z]|\d{1,2})(?:[)\]]|\s*[.:]|\s+[-–—])\*{0,2}\s*[:.\-–—]?\s*(\S.*)$",
    )
});

/// The same with Roman numbers.
static ANY_MARK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"(?i)^(?:option|choice|answer|statement)?\s*[(\[{"'*]*([A-Z]|\d{1,2}|[ivx]{2,5})[)\]}"'*.:,]*$"#)
});
static ANY_MARK_AND_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"^(?i:option |choice )?\*{0,2}[(\[]?([A-Za-z]|\d{1,2}|[ivx]{2,5}|[IVX]{2,5})(?:[)\]]|\s*[.:]|\s+[-–—])\*{0,2}\s*[:.\-–—]?\s*(\S.*)$",
    )
});
static LONG_MARK: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)[(\[*]([ivx]{1,5}|\d{1,2})[)\]*]|\b(?:options?|choice|answer|statement)\s+([ivx]{1,5}|\d{1,2})\b")
});
static NAMES_OTHERS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i)\b(?:both|neither|either|only|all|none|and|or)\b"));

impl Options {
    /// The options of a question: those that it lists, else `fallback`. A list within one line that names none of `fallback` is no list
    /// of options.
    pub(super) fn of(input: &str, fallback: &[String], rules: Rules) -> Option<Options> {
        let own = Options::of_labels(fallback, rules);
        if let Some(listed) = list::in_input(input, rules) {
            return Some(Options(listed, rules).with_names());
        }
        if rules.first() {
            return own;
        }
        let named =
            |options: &Options| fallback.is_empty() || fallback.iter().any(|label| options.named(label).is_some());
        let within = list::within_a_line(input).map(|listed| Options(listed, rules).with_names());
        within.filter(named).or(own)
    }

    /// Marks the options whose text names other options: "Both (A) and (B)".
    fn with_names(mut self) -> Options {
        if self.1.first() {
            return self;
        }
        let names: Vec<bool> = self
            .0
            .iter()
            .map(|choice| NAMES_OTHERS.is_match(&choice.raw) && !mentions_of_marks(&choice.raw, &self).is_empty())
            .collect();
        for (choice, names) in self.0.iter_mut().zip(names) {
            choice.names_others = names;
        }
        self
    }

    /// Options that are the label space: each label is a mark such as `(A)`, or a text.
    pub(super) fn of_labels(labels: &[String], rules: Rules) -> Option<Options> {
        let choices =
            labels.iter().map(
                |label| match ONLY_MARK.captures(label.trim()).and_then(|found| found.get(1)) {
                    Some(mark) if label.trim().len() <= mark.len() + 2 => Choice::marked(mark.as_str(), "", rules),
                    _ => Choice::bare(label, rules),
                },
            );
        (!labels.is_empty()).then(|| Options(choices.collect(), rules))
    }

    /// The option that a whole text names: for targets and bare answers.
    pub(super) fn named(&self, text: &str) -> Option<usize> {
        let text = unwrap(text);
        let plain = normalise(text, self.1);
        let by_text = || {
            let mut same = (0..self.0.len()).filter(|&at| self.text(at) == plain && !plain.is_empty());
            same.next().filter(|_| same.next().is_none())
        };
        let marks = if self.1.first() { &*ONLY_MARK } else { &*ANY_MARK };
        if let Some(at) = marks
            .captures(text)
            .and_then(|found| self.marked(found.get(1)?.as_str()))
        {
            return Some(at);
        }
        by_text().or_else(|| self.marked_and_told(text)?)
    }

    /// `(B) text`: the option, if mark and text are of one. None: the text is not of this form; `Some(None)`: they contradict each other.
    fn marked_and_told(&self, text: &str) -> Option<Option<usize>> {
        let pattern = if self.1.first() {
            &*MARK_AND_TEXT
        } else {
            &*ANY_MARK_AND_TEXT
        };
        let both = pattern.captures(unwrap(text))?;
        let at = self.marked(both.get(1)?.as_str())?;
        let told = both.get(2)?.as_str();
        let rest = normalise(told, self.1);
        if (0..self.0.len()).any(|other| other != at && self.text(other) == rest && self.text(at) != rest) {
            return Some(None);
        }
        // "(D) Both (A) and (B)" mixes nothing where that is the text of D
        let own = self.0.get(at).is_some_and(|choice| choice.names_others) && rest.starts_with(self.text(at));
        let mixes = !own
            && mentions_of_marks(told, self)
                .iter()
                .any(|mention| mention.option != at && mention.strong);
        // the text, or the text with a word or two: a line that argues about an option does not choose it
        let told = self.text(at).is_empty()
            || rest.starts_with(self.text(at)) && words(&rest, self.1).len() <= words(self.text(at), self.1).len() + 3;
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
        let (naming, marks) = self.naming_others(clause);
        let marks: Vec<Mention> = naming.into_iter().chain(marks).collect();
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

    /// Options that are mentioned by a text that names others ("both (A) and (B)"), and the other mentions of marks.
    fn naming_others(&self, clause: &str) -> (Vec<Mention>, Vec<Mention>) {
        let mut marks = mentions_of_marks(clause, self);
        if !self.0.iter().any(|choice| choice.names_others) {
            return (Vec::new(), marks);
        }
        let mut naming = self.mentions_of_texts(clause);
        naming.retain(|mention| self.0.get(mention.option).is_some_and(|choice| choice.names_others));
        marks.retain(|mark| {
            !naming
                .iter()
                .any(|text| text.start <= mark.start && mark.end <= text.end)
        });
        (naming, marks)
    }

    fn mentions_of_texts(&self, clause: &str) -> Vec<Mention> {
        let words = words(clause, self.1);
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

    /// An option for people: its mark and its text.
    pub(super) fn name(&self, at: usize) -> String {
        let Some(choice) = self.0.get(at) else {
            return String::new();
        };
        match &choice.mark {
            Some(mark) if choice.raw.is_empty() => format!("option {mark}"),
            Some(mark) => format!("option {mark} ({})", choice.raw.trim()),
            None => format!("option {}", choice.raw.trim()),
        }
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

fn words(clause: &str, rules: Rules) -> Vec<Word> {
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
            all.extend(tokens(run, rules).into_iter().map(|text| Word {
                text,
                start,
                end,
                goes_on,
            }));
        }
    }
    all
}

/// Mentions of marks of several characters, or in digits: `(ii)`, "option 2".
fn mentions_of_long_marks(clause: &str, options: &Options) -> Vec<Mention> {
    let long = |choice: &Choice| {
        let mark = choice.mark.as_deref().unwrap_or_default();
        mark.len() > 1 || mark.starts_with(|c: char| c.is_ascii_digit())
    };
    if options.1.first() || !options.0.iter().any(long) {
        return Vec::new();
    }
    let hits = LONG_MARK.captures_iter(clause).filter_map(|hit| {
        let mark = hit.get(1).or_else(|| hit.get(2))?;
        let option = options.marked(mark.as_str())?;
        options.0.get(option).is_some_and(long).then_some(Mention {
            start: mark.start(),
            end: mark.end(),
            option,
            strong: true,
        })
    });
    hits.collect()
}

fn mentions_of_marks(clause: &str, options: &Options) -> Vec<Mention> {
    let chars: Vec<(usize, char)> = clause.char_indices().collect();
    let char_at = |at: Option<usize>| at.and_then(|at| chars.get(at)).map_or(' ', |(_, c)| *c);
    let mut found = mentions_of_long_marks(clause, options);
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
