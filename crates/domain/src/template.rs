//! Prompt templates: `{{column}}` is filled in, and nothing else happens.
//!
//! No expressions and no second pass: a value that itself contains `{{x}}` stays as it is, and so do all other braces. `<keep>..</keep>`
//! marks text that may not change.

/// The marks around protected text.
pub const MARKS: [&str; 2] = ["<keep>", "</keep>"];

/// The parts of a template.
enum Part<'a> {
    Text(&'a str),
    /// What stands in the template, and the name inside.
    Column(&'a str, &'a str),
}

/// How a column's placeholder is written.
pub fn placeholder(name: &str) -> String {
    format!("{{{{{name}}}}}")
}

/// The columns that a template names, in order and as often as they stand there.
pub fn names(text: &str) -> impl Iterator<Item = &str> {
    parts(text).into_iter().filter_map(|part| match part {
        Part::Column(_, name) => Some(name),
        Part::Text(_) => None,
    })
}

/// The template with each column's value in its place; a name without a value stays as it is written.
pub fn fill<'v>(text: &str, value: impl Fn(&str) -> Option<&'v str>) -> String {
    let filled = parts(text).into_iter().map(|part| match part {
        Part::Text(text) => text.to_owned(),
        Part::Column(written, name) => value(name).unwrap_or(written).to_owned(),
    });
    filled.collect()
}

/// A text without its marks, and the parts that they protect, in order. The parts are not empty.
///
/// # Errors
/// A mark without its counterpart, one inside another, or nothing between two.
pub fn unmark(text: &str) -> Result<(String, Vec<String>), String> {
    let [open, close] = MARKS;
    let (mut plain, mut kept, mut rest) = (String::new(), Vec::new(), text);
    while let Some((before, behind)) = rest.split_once(open) {
        let Some((part, after)) = behind.split_once(close) else {
            return Err(format!("a {open} is never closed by {close}"));
        };
        if part.contains(open) {
            return Err(format!("a {open} stands inside another"));
        }
        if part.trim().is_empty() {
            return Err(format!("there is nothing between {open} and {close}"));
        }
        plain.push_str(before);
        plain.push_str(part);
        kept.push(part.trim().to_owned());
        rest = after;
    }
    plain.push_str(rest);
    if plain.contains(close) {
        return Err(format!("a {close} has no {open} before it"));
    }
    Ok((plain, kept))
}

fn parts(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let (mut done, mut from) = (0, 0);
    while let Some(open) = text.get(from..).and_then(|rest| rest.find("{{")).map(|at| from + at) {
        let inside = open + 2;
        let column = text.get(inside..).and_then(|rest| {
            let close = inside + rest.find("}}")?;
            Some((close + 2, name(text.get(inside..close)?)?))
        });
        let Some((end, name)) = column else {
            // `{{{x}}}`: the inner pair may still be one.
            from = open + 1;
            continue;
        };
        parts.push(Part::Text(text.get(done..open).unwrap_or_default()));
        parts.push(Part::Column(text.get(open..end).unwrap_or_default(), name));
        (done, from) = (end, end);
    }
    parts.push(Part::Text(text.get(done..).unwrap_or_default()));
    parts
}

/// A column's name: letters, digits, `_`, `-`, `.` and single words with blanks between them. Anything else is no placeholder.
fn name(inside: &str) -> Option<&str> {
    let name = inside.trim_matches(' ');
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
    let begins = name.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    (begins && name.chars().all(plain)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filled(text: &str) -> String {
        fill(text, |name| match name {
            "x" => Some("1"),
            "two words" => Some("{{x}}"),
            _ => None,
        })
    }

    #[test]
    fn columns_are_filled_in_and_other_braces_stay() {
        for (text, expected) in [
            ("{{x}} and {{ x }}", "1 and 1"),
            ("{{two words}}", "{{x}}"),
            (
                "{{y}} {x} {{ x | upper }} {{x + 1}}",
                "{{y}} {x} {{ x | upper }} {{x + 1}}",
            ),
            ("{\"a\": {\"b\": {}}}", "{\"a\": {\"b\": {}}}"),
            ("{{{x}}}", "{1}"),
            ("{{ {{x}}", "{{ 1"),
            ("{{x", "{{x"),
            ("", ""),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
        assert_eq!(
            names("{{a}} {b} {{ c d }} {{a}}").collect::<Vec<_>>(),
            ["a", "c d", "a"]
        );
    }

    #[test]
    fn marks_are_taken_off_and_must_come_in_pairs() {
        let (plain, kept) = unmark("Be brief. <keep>No\nrefunds.</keep> <keep>{{x}}</keep>").unwrap();
        assert_eq!((plain.as_str(), kept.len()), ("Be brief. No\nrefunds. {{x}}", 2));
        assert_eq!(kept, ["No\nrefunds.", "{{x}}"]);
        for bad in ["<keep>a", "a</keep>", "<keep><keep>a</keep></keep>", "<keep> </keep>"] {
            assert!(unmark(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_template_without_values_stays_as_it_is(text in "[a{} .\n]{0,40}") {
            prop_assert_eq!(fill(&text, |_| None), text);
        }

        #[test]
        fn a_value_is_never_looked_into(before in "[a-z ]{0,9}", value in "[a-z{} ]{0,12}", after in "[a-z ]{0,9}") {
            let template = format!("{before}{{{{x}}}}{after}");
            prop_assert_eq!(fill(&template, |_| Some(value.as_str())), format!("{before}{value}{after}"));
        }
    }
}
