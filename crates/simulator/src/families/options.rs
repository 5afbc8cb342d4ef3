//! Reading the lettered options of multiple-choice questions.

/// The options below `Options:`, as (label, text): `("(A)", "red ball")`.
pub(super) fn lettered(question: &str) -> Vec<(&str, &str)> {
    let Some((_, list)) = question.rsplit_once("Options:") else {
        return Vec::new();
    };
    list.lines().filter_map(option).collect()
}

/// Where the options end that follow `from`: behind the last line that is one.
pub(super) fn end(text: &str, from: usize) -> Option<usize> {
    let start = from + text.get(from..)?.find("Options:")? + "Options:".len();
    let mut end = start;
    let mut at = start;
    for line in text.get(start..)?.split_inclusive('\n') {
        at += line.len();
        if option(line).is_some() {
            end = at - (line.len() - line.trim_end().len());
        } else if !line.trim().is_empty() {
            break;
        }
    }
    (end > start).then_some(end)
}

/// Writes options under their letters.
pub(super) fn write(options: &[String]) -> String {
    let mut text = String::from("\nOptions:");
    for (letter, option) in ('A'..='Z').zip(options) {
        text.push_str(&format!("\n({letter}) {option}"));
    }
    text
}

fn option(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    let (label, text) = line.split_at_checked(3)?;
    let letter = label.strip_prefix('(')?.strip_suffix(')')?;
    letter
        .chars()
        .all(|c| c.is_ascii_uppercase())
        .then_some((label, text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_their_end_is_found() {
        let text = format!("Which?{}\n\nAnswer:", write(&["red ball".into(), "blue ball".into()]));
        assert_eq!(lettered(&text), [("(A)", "red ball"), ("(B)", "blue ball")]);
        let end = end(&text, 0).unwrap();
        assert!(text[..end].ends_with("blue ball"));
    }
}
