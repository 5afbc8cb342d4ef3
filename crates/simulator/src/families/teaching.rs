//! Reading what a prompt teaches, by meaning and not by one magic phrase.
//!
//! A text is cut into sentences of plain lower-case words. A pattern is a row of word groups that must all occur in *one* sentence:
//! `"quantit|amount & add|sum|total & !ignore"` reads "a word beginning with quantit or amount, and one beginning with add, sum or
//! total, and none beginning with ignore". A needle may be several words in a row; a final `=` asks for the whole word.

use std::sync::LazyLock;

/// The patterns of one skill; one of them is enough.
pub(crate) struct Patterns(Vec<Pattern>);

struct Pattern {
    /// Each group holds alternatives, one of which must occur.
    wanted: Vec<Vec<String>>,
    /// None of these may occur.
    barred: Vec<String>,
}

impl Patterns {
    /// Compiles patterns from their notation.
    pub(crate) fn new(patterns: &[&str]) -> Self {
        Self(patterns.iter().map(|pattern| Pattern::new(pattern)).collect())
    }

    /// Whether any sentence fits any pattern.
    pub(crate) fn found_in(&self, sentences: &[String]) -> bool {
        sentences
            .iter()
            .any(|sentence| self.0.iter().any(|pattern| pattern.fits(sentence)))
    }
}

impl Pattern {
    fn new(pattern: &str) -> Self {
        let mut compiled = Self {
            wanted: Vec::new(),
            barred: Vec::new(),
        };
        for group in pattern.split(" & ") {
            match group.strip_prefix('!') {
                Some(barred) => compiled.barred.extend(barred.split('|').map(needle)),
                None => compiled.wanted.push(group.split('|').map(needle).collect()),
            }
        }
        compiled
    }

    fn fits(&self, sentence: &str) -> bool {
        self.wanted
            .iter()
            .all(|group| group.iter().any(|word| sentence.contains(word.as_str())))
            && !self.barred.iter().any(|word| sentence.contains(word.as_str()))
    }
}

/// The text as sentences of lower-case words, each word between single spaces, a space at both ends.
pub(crate) fn sentences(text: &str) -> Vec<String> {
    let mut sentences = Vec::new();
    let mut current = String::from(" ");
    let mut characters = text.chars().peekable();
    let mut before = '\n';
    while let Some(character) = characters.next() {
        let after = characters.peek().copied().unwrap_or(' ');
        match character {
            '\n' => finish(&mut current, &mut sentences),
            '.' | '!' | '?' if after.is_whitespace() || after == '"' || after == '`' => {
                finish(&mut current, &mut sentences);
            }
            '-' | '−' if is_minus(before, after) => word(&mut current, "minus"),
            '+' => word(&mut current, "+"),
            '*' | '×' if before != '*' && after != '*' => word(&mut current, "*"),
            _ if character.is_alphanumeric() => current.extend(character.to_lowercase()),
            _ if !current.ends_with(' ') => current.push(' '),
            _ => {}
        }
        before = character;
    }
    finish(&mut current, &mut sentences);
    sentences
}

/// Whether the text only asks for thinking in steps, the mildest help there is.
pub(crate) fn asks_for_steps(sentences: &[String]) -> bool {
    static STEPS: LazyLock<Patterns> = LazyLock::new(|| {
        Patterns::new(&[
            "step by step|steps by steps|one step at a time|reason carefully|show your reasoning|think it through",
        ])
    });
    STEPS.found_in(sentences)
}

fn needle(word: &str) -> String {
    match word.strip_suffix('=') {
        Some(whole) => format!(" {whole} "),
        None => format!(" {word}"),
    }
}

fn is_minus(before: char, after: char) -> bool {
    let opens = before.is_whitespace() || "`\"'(-".contains(before);
    opens && (after.is_whitespace() || after.is_ascii_digit() || "-`\"'(x".contains(after)) && before != '\n'
}

fn word(sentence: &mut String, word: &str) {
    if !sentence.ends_with(' ') {
        sentence.push(' ');
    }
    sentence.push_str(word);
    sentence.push(' ');
}

fn finish(sentence: &mut String, sentences: &mut Vec<String>) {
    if !sentence.ends_with(' ') {
        sentence.push(' ');
    }
    if sentence.len() > 1 {
        sentences.push(std::mem::replace(sentence, String::from(" ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_plain_words() {
        assert_eq!(
            sentences("**Add** the `3 - -2`.\nDon't stop!"),
            [" add the 3 minus minus 2 ", " don t stop "]
        );
        assert_eq!(sentences("second-oldest, 2 * 3"), [" second oldest 2 * 3 "]);
        assert_eq!(sentences("- first point"), [" first point "]);
    }

    #[test]
    fn every_group_must_occur_in_one_sentence() {
        let patterns = Patterns::new(&["quantit|amount & add|sum & !ignore", "not="]);
        assert!(patterns.found_in(&sentences("Sum the quantities.")));
        assert!(!patterns.found_in(&sentences("Read the quantities. Then sum.")));
        assert!(!patterns.found_in(&sentences("Ignore the quantities when you add.")));
        assert!(patterns.found_in(&sentences("Apply `not`.")));
        assert!(!patterns.found_in(&sentences("Nothing, notably.")));
    }
}
