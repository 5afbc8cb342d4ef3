//! LaTeX in a TOML text of double quotes: `"\boxed{}"` is a backspace and `oxed{}`.

/// Escapes of TOML that begin a word of LaTeX, the characters that they make, and how LaTeX's words go on behind them. Where nothing is
/// listed the character stands in no prompt.
const ESCAPES: [(char, &str, &str, &[&str]); 4] = [
    ('\u{8}', "a backspace", "\\b", &[]),
    ('\u{c}', "a form feed", "\\f", &[]),
    (
        '\t',
        "a tab",
        "\\t",
        &["ext", "imes", "heta", "frac", "herefore", "riangle", "ilde"],
    ),
    (
        '\r',
        "a carriage return",
        "\\r",
        &["ight", "angle", "ceil", "floor", "ho}"],
    ),
];

/// A warning for each of these texts of the task file that holds such a character, with the key, the character and what to write.
pub(super) fn warn<'a>(
    texts: impl IntoIterator<Item = (&'static str, Option<&'a String>)>,
    warnings: &mut Vec<String>,
) {
    for (key, text) in texts.into_iter().filter_map(|(key, text)| Some((key, text?))) {
        for (character, name, escape, words) in ESCAPES {
            let begins = |rest: &&str| words.is_empty() || words.iter().any(|word| rest.starts_with(word));
            let Some(rest) = text.split(character).skip(1).find(begins) else {
                continue;
            };
            let word: String = rest.chars().take_while(char::is_ascii_alphabetic).take(20).collect();
            warnings.push(format!(
                "`{key}` holds {name}: in double quotes TOML reads `{escape}` of `{escape}{word}` as one. Write the text in single quotes, \
                 '{escape}{word}' (or '''..'''), where nothing is an escape"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_backslash_is_told_and_other_white_space_is_not() {
        let told = |text: &str| {
            let mut warnings = Vec::new();
            warn([("[task] prompt", Some(&text.to_owned()))], &mut warnings);
            warnings
        };
        for (text, name, literal) in [
            ("\u{8}oxed{5}", "a backspace", r"'\boxed'"),
            ("$\u{c}rac{1}{2}$", "a form feed", r"'\frac'"),
            ("3 \times 4", "a tab", r"'\times'"),
            ("\\left(\right)", "a carriage return", r"'\right'"),
        ] {
            let warnings = told(text);
            assert!(
                warnings.len() == 1 && warnings[0].contains(name) && warnings[0].contains(literal),
                "{warnings:?}"
            );
        }
        assert!(told("a\tb\r\nc \\boxed{5}").is_empty());
    }
}
