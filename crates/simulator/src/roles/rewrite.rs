//! Rewriting prompts: the five sections of a refined prompt, rules added, kept and lost, and paraphrases.

use super::{Turn, fallback};
use crate::families::{self, Known, Shape, SkillSet};

const HEADINGS: [&str; 5] = [
    "## Task requirements",
    "## Problem rule explanation",
    "## Problem rule application",
    "## Result verification",
    "## Output format",
];
const APPLICATION: &str = "Read the question to the full stop, then use the rules above on it and note what you find.";
const VERIFICATION: &str =
    "Compare the result with the question again before answering; where it does not follow, begin anew.";
const PLACEHOLDERS: [&str; 2] = ["{input}", "{{ input }}"];

/// A prompt taken apart.
#[derive(Default)]
struct Parts {
    requirements: String,
    rules: Vec<String>,
    application: String,
    verification: String,
    format: String,
    /// The line with the placeholder and what follows it.
    tail: String,
    /// In a prompt of several messages the line above the first of them, which is the one that is taken apart.
    header: String,
    /// The other messages, with the lines above them.
    messages: String,
}

/// The current prompt with these skills' rules added; a harmful refinement loses one of the earlier rules.
pub(super) fn refined(turn: &Turn<'_>, known: &Known, added: SkillSet, harmful: bool) -> String {
    let current = turn.sections.get("current prompt");
    let taught = known.taught(current);
    let mut parts = Parts::read(current);
    if harmful && !parts.rules.is_empty() {
        let lost = turn.draw.below("lost rule", parts.rules.len());
        parts.rules.remove(lost);
    }
    for (index, skill) in known.skills().iter().enumerate() {
        if added.has(index) && !taught.has(index) {
            parts.rules.push(wording(turn, skill.name, skill.rules).to_owned());
        }
    }
    if parts.rules.is_empty() {
        parts.rules.push("Work with care and attention.".to_owned());
    }
    if parts.format.is_empty() {
        parts.format = output_format(known.shape()).to_owned();
    }
    parts.write(turn.draw.below("tone", 3))
}

/// For tasks of no known family: the prompt in five sections, with the possible answers named.
pub(super) fn with_labels(turn: &Turn<'_>, correct: &[&str]) -> String {
    let mut parts = Parts::read(turn.sections.get("current prompt"));
    let mut labels = fallback::labels_in(turn.sections.get("answer format"));
    if labels.len() < 2 {
        labels = correct
            .iter()
            .filter(|answer| answer.len() <= 40)
            .map(|answer| (*answer).to_owned())
            .collect();
        labels.sort();
        labels.dedup();
    }
    if parts.rules.is_empty() {
        parts.rules.push("Decide by what the words of the text say.".to_owned());
    }
    parts.format = match labels.len() {
        0 | 1 => "Give the answer alone.".to_owned(),
        _ => format!("Answer with one of: {}", labels.join(", ")),
    };
    parts.write(turn.draw.below("tone", 3))
}

/// The same prompt in other words: every rule that is recognised is said differently.
pub(super) fn paraphrase(turn: &Turn<'_>, known: Option<&Known>) -> String {
    let current = turn.sections.get("current prompt");
    let mut parts = Parts::read(current);
    let Some(known) = known else {
        return format!("{}\nBe precise.", current.trim());
    };
    for rule in &mut parts.rules {
        let skills = known.taught(rule);
        let index = (0..known.skills().len()).find(|index| skills.has(*index));
        if let Some(skill) = index.and_then(|index| known.skills().get(index)) {
            let others: Vec<&'static str> = skill.rules.iter().copied().filter(|wording| wording != rule).collect();
            *rule = wording(turn, skill.name, &others).to_owned();
        }
    }
    if parts.rules.is_empty() {
        format!("{}\nBe precise.", current.trim())
    } else {
        parts.write(turn.draw.below("tone", 3))
    }
}

/// The family whose rules a prompt holds, when no question tells it.
pub(super) fn family_of_rules(prompt: &str) -> Option<&'static Known> {
    let lines = Parts::read(prompt).rules;
    families::ALL.iter().find(|known| {
        known
            .skills()
            .iter()
            .any(|skill| skill.rules.iter().any(|rule| lines.iter().any(|line| line == rule)))
    })
}

impl Parts {
    fn read(prompt: &str) -> Self {
        let mut parts = Self::default();
        let (header, prompt, messages) = first_message(prompt.trim());
        header.clone_into(&mut parts.header);
        messages.clone_into(&mut parts.messages);
        let (body, tail) = split_placeholder(prompt.trim());
        tail.trim().clone_into(&mut parts.tail);
        if !HEADINGS.iter().all(|heading| body.contains(heading)) {
            body.trim().clone_into(&mut parts.requirements);
            return parts;
        }
        let mut section = 0;
        let mut texts: [Vec<&str>; 5] = Default::default();
        for line in body.lines() {
            match HEADINGS.iter().position(|heading| line.trim() == *heading) {
                Some(next) => section = next,
                None => texts.iter_mut().skip(section).take(1).for_each(|text| text.push(line)),
            }
        }
        let [requirements, rules, application, verification, format] = texts;
        parts.requirements = requirements.join("\n").trim().to_owned();
        parts.rules = rules
            .iter()
            .map(|line| line.trim().trim_start_matches("- ").to_owned())
            .filter(|line| !line.is_empty())
            .collect();
        parts.application = application.join("\n").trim().to_owned();
        parts.verification = verification.join("\n").trim().to_owned();
        parts.format = format.join("\n").trim().to_owned();
        parts
    }

    fn write(&self, tone: usize) -> String {
        let or = |text: &str, standard: &str| {
            if text.is_empty() {
                standard.to_owned()
            } else {
                text.to_owned()
            }
        };
        let verification = match tone {
            0 => VERIFICATION.to_owned(),
            1 => format!("{VERIFICATION} Take your time."),
            _ => format!("{VERIFICATION} Be thorough."),
        };
        let rules: Vec<String> = self.rules.iter().map(|rule| format!("- {rule}")).collect();
        let texts = [
            or(&self.requirements, "Answer the question."),
            rules.join("\n"),
            or(&self.application, APPLICATION),
            if self.verification.is_empty() || self.verification.starts_with(VERIFICATION) {
                verification
            } else {
                self.verification.clone()
            },
            or(&self.format, "Give the answer alone."),
        ];
        let mut prompt: Vec<String> = HEADINGS
            .iter()
            .zip(texts)
            .map(|(heading, text)| format!("{heading}\n{text}"))
            .collect();
        if !self.tail.is_empty() {
            prompt.push(self.tail.clone());
        }
        let message = prompt.join("\n\n");
        if self.header.is_empty() {
            return message;
        }
        format!("{}\n{message}\n\n{}", self.header, self.messages)
            .trim_end()
            .to_owned()
    }
}

/// The line above the first message, that message, and the others; no line and no others in a prompt that is one text.
fn first_message(prompt: &str) -> (&str, &str, &str) {
    const LINE: &str = "[[message ";
    let Some((header, rest)) = prompt.split_once('\n').filter(|(line, _)| line.starts_with(LINE)) else {
        return ("", prompt, "");
    };
    let next = rest.find(&format!("\n{LINE}")).map_or(rest.len(), |at| at + 1);
    let (message, others) = rest.split_at_checked(next).unwrap_or((rest, ""));
    (header, message, others)
}

/// What stands before the line with the placeholder, and that line with the rest.
fn split_placeholder(prompt: &str) -> (&str, &str) {
    let at = PLACEHOLDERS.iter().find_map(|placeholder| prompt.find(placeholder));
    let line = at.map(|at| {
        prompt
            .get(..at)
            .and_then(|before| before.rfind('\n'))
            .map_or(0, |newline| newline + 1)
    });
    match line {
        Some(line) => prompt.split_at_checked(line).unwrap_or((prompt, "")),
        None => (prompt, ""),
    }
}

fn output_format(shape: Shape) -> &'static str {
    match shape {
        Shape::Choice => "End with a line `Answer: (X)`, where X is the letter of the right option.",
        Shape::Number => "End with a line `Answer: N`, where N is the result.",
        Shape::Word => "End with a line `Answer: X`, where X is the word asked for.",
        Shape::Label => "End with a line `Answer: X`, where X is one of the labels.",
        Shape::Words => "End with a line `Answer: ...` that holds the sorted list.",
        Shape::Text => "Write plain text without headings.",
    }
}

/// One of the wordings of a rule.
pub(super) fn wording(turn: &Turn<'_>, name: &str, rules: &[&'static str]) -> &'static str {
    rules
        .get(turn.draw.below(name, rules.len()))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_teaches_nothing() {
        for known in families::ALL.iter() {
            let mut parts = Parts {
                requirements: "Answer the question.".into(),
                ..Parts::default()
            };
            parts.format = output_format(known.shape()).into();
            for tone in 0..3 {
                let taught = known.taught(&parts.write(tone));
                assert!(taught.is_empty(), "{}: {taught:?}", known.name());
            }
        }
    }

    #[test]
    fn of_several_messages_the_first_is_rewritten_and_the_others_stay() {
        let mut parts =
            Parts::read("[[message 1: system]]\nRoute tickets.\n\n[[message 2: user]]\n{{subject}}\n{{body}}");
        assert_eq!(parts.requirements, "Route tickets.");
        parts.rules.push("The body decides.".into());
        let written = parts.write(0);
        assert!(
            written.starts_with("[[message 1: system]]\n## Task requirements\nRoute tickets."),
            "{written}"
        );
        assert!(
            written.ends_with("\n\n[[message 2: user]]\n{{subject}}\n{{body}}"),
            "{written}"
        );
        assert_eq!(Parts::read(&written).rules, ["The body decides."]);
    }

    #[test]
    fn parts_survive_writing_and_reading() {
        let seed = "Answer the question.\nQ: {input}\nA:";
        let mut parts = Parts::read(seed);
        assert_eq!(
            (parts.requirements.as_str(), parts.tail.as_str()),
            ("Answer the question.", "Q: {input}\nA:")
        );
        parts.rules.push("Multiply before you add.".into());
        let again = Parts::read(&parts.write(0));
        assert_eq!(again.rules, ["Multiply before you add."]);
        assert_eq!(again.tail, parts.tail);
        assert_eq!(again.requirements, parts.requirements);
    }
}
