//! The slips that models make in JSON, mended: commas before a closing bracket, line breaks inside strings, single backslashes.

use serde_json::Value;

/// Openings looked at before giving up, so that a text full of braces costs a bounded amount of work.
const MOST_OPENINGS: usize = 64;

/// Reads a JSON object or array with its slips mended; none where it is neither. Bare scalars are not taken: any stray number would be
/// an answer.
pub fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if !text.starts_with(['{', '[']) {
        return None;
    }
    // The mending goes first: what a strict reader makes of `\boxed` is a backspace.
    serde_json::from_str(&mended(text))
        .or_else(|_| serde_json::from_str(text))
        .ok()
}

/// The balanced objects and arrays of `text`, outermost only, in order, each with the byte where it begins.
pub fn balanced(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    let mut tries = MOST_OPENINGS;
    std::iter::from_fn(move || {
        while tries > 0 {
            tries -= 1;
            let rest = text.get(from..)?;
            let start = from + rest.find(['{', '['])?;
            match end_of_value(text.get(start..)?) {
                Some(length) => {
                    from = start + length;
                    return text.get(start..from).map(|value| (start, value));
                }
                None => from = start + 1,
            }
        }
        None
    })
}

/// Length of the balanced value that begins `text`, brackets inside strings left out of account.
fn end_of_value(text: &str) -> Option<usize> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// Commands of LaTeX whose first letter makes an escape of JSON with the backslash, by what remains of them. A line break, a return or a
/// tab in front of these letters is none.
const SURE: &[(char, &[&str])] = &[
    (
        'n',
        &[
            "abla",
            "eq",
            "eg",
            "otin",
            "geq",
            "leq",
            "ewline",
            "ewcommand",
            "onumber",
            "oindent",
            "parallel",
            "cong",
            "subseteq",
        ],
    ),
    (
        'r',
        &[
            "ight",
            "ightarrow",
            "ho",
            "angle",
            "ceil",
            "floor",
            "vert",
            "Vert",
            "brace",
            "brack",
            "oot",
            "efstepcounter",
        ],
    ),
    (
        't',
        &[
            "ext",
            "extbf",
            "extit",
            "extrm",
            "exttt",
            "extsf",
            "extsc",
            "extstyle",
            "extnormal",
            "extcolor",
            "imes",
            "heta",
            "herefore",
            "frac",
            "binom",
            "au",
            "ilde",
            "riangle",
            "riangleq",
            "anh",
            "ag",
        ],
    ),
];
/// The same where what remains is a word or a letter of its own: they count in a string with other signs of LaTeX.
const DOUBTFUL: &[(char, &[&str])] = &[
    ('n', &["u", "e", "i", "ot", "exists", "mid", "less"]),
    ('r', &["m", "ef", "ule"]),
    ('t', &["o", "op", "an", "t", "hin"]),
];

/// `text` without commas before a closing bracket, with control characters inside strings escaped, and with the backslashes that a model
/// forgot to double restored ([`restored`]). What is right stays as it is.
pub fn mended(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut string: Option<String> = None;
    let mut comma: Option<usize> = None;
    let mut escaped = false;
    for c in text.chars() {
        if let Some(inside) = string.as_mut() {
            if c == '"' && !escaped {
                out.push_str(&restored(inside));
                out.push('"');
                string = None;
                continue;
            }
            escaped = c == '\\' && !escaped;
            match c {
                '\n' => inside.push_str("\\n"),
                '\r' => inside.push_str("\\r"),
                '\t' => inside.push_str("\\t"),
                _ => inside.push(c),
            }
            continue;
        }
        match c {
            '"' => string = Some(String::new()),
            '}' | ']' => {
                if let Some(at) = comma {
                    out.truncate(at);
                }
            }
            _ => {}
        }
        comma = match c {
            ',' => Some(out.len()),
            _ if c.is_whitespace() => comma,
            _ => None,
        };
        out.push(c);
    }
    // a string that never ends
    out.push_str(&string.unwrap_or_default());
    out
}

/// The inside of a JSON string, with each backslash doubled that was meant as one: before what is no escape (`\(`, `\alpha`, `\d`),
/// where it makes a backspace or a form feed (`\boxed`, `\frac`: nobody means these), and where a line break, a return or a tab would cut
/// a command of LaTeX (`\neq`, `\times`).
fn restored(inside: &str) -> String {
    if !inside.contains('\\') {
        return inside.to_owned();
    }
    let latex = inside.contains(['$', '^', '{']) || inside.contains("\\(") || inside.contains("\\[");
    let mut out = String::with_capacity(inside.len() + 8);
    let mut rest = inside;
    while let Some(at) = rest.find('\\') {
        out.push_str(rest.get(..at).unwrap_or_default());
        let after = rest.get(at + 1..).unwrap_or_default();
        let mut letters = after.chars();
        let next = letters.next();
        match next {
            Some('"' | '\\' | '/') => out.push('\\'),
            Some('\'') => {}
            Some('u') if is_code(letters.as_str()) => out.push('\\'),
            Some(c @ ('n' | 'r' | 't')) if !cuts(c, letters.as_str(), latex) => out.push('\\'),
            _ => out.push_str("\\\\"),
        }
        out.extend(next);
        rest = letters.as_str();
    }
    out.push_str(rest);
    out
}

fn is_code(text: &str) -> bool {
    text.get(..4)
        .is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn cuts(escape: char, rest: &str, latex: bool) -> bool {
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let word = rest.get(..end).unwrap_or_default();
    let listed = |list: &[(char, &[&str])]| list.iter().any(|(c, words)| *c == escape && words.contains(&word));
    listed(SURE) || latex && listed(DOUBTFUL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn backslashes_of_latex_are_restored() {
        let cases = [
            (r#"{"a": "\boxed{}"}"#, r"\boxed{}"),
            (r#"{"a": "\frac{1}{2}"}"#, r"\frac{1}{2}"),
            (r#"{"a": "\(x\)"}"#, r"\(x\)"),
            (r#"{"a": "2 \times 3 \neq 7"}"#, r"2 \times 3 \neq 7"),
            (
                r#"{"a": "\text{a} \theta \tau \rho \right) \nabla"}"#,
                r"\text{a} \theta \tau \rho \right) \nabla",
            ),
            (r#"{"a": "$x \to \nu$"}"#, r"$x \to \nu$"),
            (r#"{"a": "\underline{x} \alpha \d+"}"#, r"\underline{x} \alpha \d+"),
            (r#"{"a": "match \bcat\b"}"#, r"match \bcat\b"),
            (r#"{"a": "it\'s"}"#, "it's"),
        ];
        for (text, wanted) in cases {
            assert_eq!(
                serde_json::from_str::<Value>(&mended(text)).unwrap(),
                json!({"a": wanted}),
                "{text}"
            );
        }
    }

    #[test]
    fn right_escapes_stay() {
        let cases = [
            (r#"{"a": "\\boxed{} \\frac12 \\neq"}"#, r"\boxed{} \frac12 \neq"),
            (r#"{"a": "one\ntwo\n\tthree\r\nfour"}"#, "one\ntwo\n\tthree\r\nfour"),
            (
                r#"{"a": "Do it.\nNot now.\nnot ever.\nuse it\neither way\nexists"}"#,
                "Do it.\nNot now.\nnot ever.\nuse it\neither way\nexists",
            ),
            (r#"{"a": "a\tan apple\to"}"#, "a\tan apple\to"),
            (r#"{"a": "\u00e9 \"x\" a\/b"}"#, "é \"x\" a/b"),
            (r#"{"a": "$5\nThe end"}"#, "$5\nThe end"),
        ];
        for (text, wanted) in cases {
            assert_eq!(
                serde_json::from_str::<Value>(&mended(text)).unwrap(),
                json!({"a": wanted}),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn valid_json_without_odd_characters_stays_the_same(a in "[a-zA-Z0-9 \\\\\"/{}$.,\n]{0,30}", b in any::<i64>()) {
            // a line break in front of a word of LaTeX is the one thing that mending may take for a slip
            let latex = ["abla", "eq", "eg", "otin", "leq", "geq", "u", "e", "i", "ot", "mid", "less"];
            let cut = a.split('\n').skip(1).any(|part| latex.contains(&part.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default()));
            prop_assume!(!cut);
            let value = json!({"a": a, "b": [b]});
            prop_assert_eq!(serde_json::from_str::<Value>(&mended(&value.to_string())).unwrap(), value);
        }

        #[test]
        fn nothing_panics(text in "(?s).{0,80}") {
            let _ = mended(&text);
        }
    }
}
