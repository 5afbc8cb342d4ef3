//! What a run leaves behind, as JSONL: synthetic examples with their votes, and the log of errors and corrections.

use sipdo_domain::{Decision, Outcome};
use std::io::{self, Write};

/// Which synthetic examples to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Those that were accepted and not quarantined: usable as data.
    Accepted,
    /// All of them, with the decision on each.
    All,
}

/// Writes one JSON object a line for each synthetic example: id, input, target, level, votes, decision, ... Returns how many.
pub fn write_synthetic(outcome: &Outcome, which: Which, out: &mut impl Write) -> io::Result<usize> {
    let usable = |decision: &Decision, quarantined: bool| *decision == Decision::Accepted && !quarantined;
    let chosen = outcome
        .synthetic
        .iter()
        .filter(|example| which == Which::All || usable(&example.decision, example.quarantined));
    let mut written = 0;
    for synthetic in chosen {
        // the example's own fields on top: such a line is a data row that `[data]` reads as it is
        let mut line = serde_json::json!({
            "id": synthetic.example.id,
            "input": synthetic.example.input,
            "target": synthetic.example.target,
        });
        if let (Some(line), serde_json::Value::Object(rest)) = (line.as_object_mut(), serde_json::to_value(synthetic)?)
        {
            line.extend(rest.into_iter().filter(|(key, _)| key != "example"));
        }
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
        written += 1;
    }
    Ok(written)
}

/// Writes one JSON object a line for each correction: the input, the wrong answer and the right one, analysis and recommendation. Returns
/// how many.
pub fn write_corrections(outcome: &Outcome, out: &mut impl Write) -> io::Result<usize> {
    for correction in &outcome.corrections {
        serde_json::to_writer(&mut *out, correction)?;
        out.write_all(b"\n")?;
    }
    Ok(outcome.corrections.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mapping, load_examples};
    use sipdo_domain::{Ending, Example, SyntheticExample, outcome::Correction};

    fn synthetic(id: u32, decision: Decision, quarantined: bool) -> SyntheticExample {
        SyntheticExample {
            example: Example {
                id: format!("synthetic-{id}"),
                input: format!("question {id}\nwith lines"),
                target: "B".into(),
                aliases: vec![],
            },
            level: 2,
            rationale: String::new(),
            votes: vec![],
            decision,
            prompt_version: 0,
            quarantined,
        }
    }

    fn outcome() -> Outcome {
        let refused = Decision::Rejected {
            by: "votes".into(),
            reason: "ambiguous".into(),
        };
        Outcome {
            ending: Ending::Finished,
            best: 0,
            found: 0,
            prompts: vec![],
            synthetic: vec![
                synthetic(1, Decision::Accepted, false),
                synthetic(2, refused, false),
                synthetic(3, Decision::Accepted, true),
            ],
            corrections: vec![Correction {
                example: "synthetic-1".into(),
                input: "q".into(),
                target: "B".into(),
                wrong_answer: "A".into(),
                right_answer: "B".into(),
                from_version: 0,
                to_version: 1,
                analysis: "why".into(),
                recommendation: "how".into(),
            }],
            arms: vec![],
            gain: None,
            reverted: false,
            label_kl: None,
            warnings: vec![],
        }
    }

    #[test]
    fn exported_examples_can_be_read_as_data() {
        let path = tempfile::tempdir().unwrap().keep().join("synthetic.jsonl");
        let mut file = std::fs::File::create(&path).unwrap();
        assert_eq!(write_synthetic(&outcome(), Which::Accepted, &mut file).unwrap(), 1);
        let mapping = Mapping {
            id: Some("id".into()),
            ..Mapping::default()
        };
        let read = load_examples(&path, &mapping).unwrap();
        assert_eq!(
            (read[0].id.as_str(), read[0].input.as_str()),
            ("synthetic-1", "question 1\nwith lines")
        );
        std::fs::remove_dir_all(path.parent().unwrap()).unwrap();

        let mut all = Vec::new();
        assert_eq!(write_synthetic(&outcome(), Which::All, &mut all).unwrap(), 3);
        let lines = String::from_utf8(all).unwrap();
        assert!(lines.lines().nth(1).unwrap().contains("ambiguous"));
    }

    #[test]
    fn corrections_are_one_line_each() {
        let mut out = Vec::new();
        assert_eq!(write_corrections(&outcome(), &mut out).unwrap(), 1);
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["wrong_answer"], "A");
    }
}
