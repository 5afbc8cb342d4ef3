//! What a run leaves behind, as JSONL: synthetic examples with their votes, and the log of errors and corrections.

use serde_json::{Value, json};
use sipdo_domain::{Decision, Outcome, SyntheticExample, Vote, Voter, record};
use std::io::{self, Write};

/// Which synthetic examples to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyntheticSet {
    /// Those that were accepted and not quarantined: usable as data.
    Accepted,
    /// All of them, with the decision on each.
    All,
}

/// Writes one JSON object a line for each synthetic example. Returns how many.
///
/// Where the input is a record of columns, each column is a key, too. `id`, `input` and `target` stand on top, so that such a line is a data row that `[data]` reads as it is; then `level`, `rationale`,
/// `prompt_version`, `decision` (`accepted`, `rejected`, `set_aside`), `decided_by`, `decision_reason`, `quarantined` and `votes`. A
/// vote has `voter`, `answer`, `supports` (`null` where it is not measured, with the `not_measured` reason), `reason`, and `model`,
/// `revision` and `agent` behind it.
pub fn write_synthetic(outcome: &Outcome, which: SyntheticSet, out: &mut impl Write) -> io::Result<usize> {
    let usable = |decision: &Decision, quarantined: bool| *decision == Decision::Accepted && !quarantined;
    let chosen = outcome
        .synthetic
        .iter()
        .filter(|example| which == SyntheticSet::All || usable(&example.decision, example.quarantined));
    let mut written = 0;
    for synthetic in chosen {
        serde_json::to_writer(&mut *out, &row(synthetic))?;
        out.write_all(b"\n")?;
        written += 1;
    }
    Ok(written)
}

fn row(synthetic: &SyntheticExample) -> Value {
    let (decision, by, reason) = match &synthetic.decision {
        Decision::Accepted => ("accepted", "", ""),
        Decision::Rejected { by, reason } => ("rejected", by.as_str(), reason.as_str()),
        Decision::SetAside { reason } => ("set_aside", "", reason.as_str()),
    };
    let mut row = json!({
        "id": synthetic.example.id,
        "input": synthetic.example.input,
        "target": synthetic.example.target,
        "level": synthetic.level,
        "rationale": synthetic.rationale,
        "prompt_version": synthetic.prompt_version,
        "decision": decision,
        "decided_by": by,
        "decision_reason": reason,
        "quarantined": synthetic.quarantined,
        "votes": synthetic.votes.iter().map(vote).collect::<Vec<_>>(),
    });
    for (name, value) in record::read(&synthetic.example.input).unwrap_or_default() {
        // A column `input` is what a data row has under that name; of other names the row's own keys go first.
        if name == "input" || row.get(&name).is_none() {
            row[name.as_str()] = json!(value);
        }
    }
    row
}

fn vote(vote: &Vote) -> Value {
    let voter = match vote.voter {
        Voter::Generator => "generator".to_owned(),
        Voter::Checker(0) => "checker".to_owned(),
        Voter::Checker(number) => format!("checker {}", number + 1),
        Voter::Verifier => "verifier".to_owned(),
        Voter::Program => "program".to_owned(),
    };
    let mut line = json!({
        "voter": voter,
        "answer": vote.answer,
        "supports": vote.supports.as_ref().ok(),
        "reason": vote.reason,
        "model": vote.by.label(),
        "revision": vote.by.revision,
        "agent": vote.by.agent,
    });
    if let Err(why) = &vote.supports {
        line["not_measured"] = json!(why.to_string());
    }
    line
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
            shown: None,
            more_examples: None,
        }
    }

    #[test]
    fn exported_examples_can_be_read_as_data() {
        let path = tempfile::tempdir().unwrap().keep().join("synthetic.jsonl");
        let mut file = std::fs::File::create(&path).unwrap();
        assert_eq!(
            write_synthetic(&outcome(), SyntheticSet::Accepted, &mut file).unwrap(),
            1
        );
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
        assert_eq!(write_synthetic(&outcome(), SyntheticSet::All, &mut all).unwrap(), 3);
        let lines = String::from_utf8(all).unwrap();
        assert!(lines.lines().nth(1).unwrap().contains("ambiguous"));
    }

    #[test]
    fn the_columns_of_an_input_can_be_read_as_data() {
        let mut outcome = outcome();
        outcome.synthetic[0].example.input = r#"{"subject":"s\nt","body":"b","level":"x"}"#.into();
        let mut lines = Vec::new();
        write_synthetic(&outcome, SyntheticSet::Accepted, &mut lines).unwrap();
        let row: Value = serde_json::from_slice(&lines).unwrap();
        assert_eq!(
            (&row["subject"], &row["level"]),
            (&json!("s\nt"), &json!(2)),
            "own keys go first"
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("synthetic.jsonl");
        std::fs::write(&path, lines).unwrap();
        let mapping = Mapping {
            columns: vec!["subject".into(), "body".into()],
            ..Mapping::default()
        };
        let read = load_examples(&path, &mapping).unwrap();
        assert_eq!(read[0].input, r#"{"subject":"s\nt","body":"b"}"#);
    }

    #[test]
    fn corrections_are_one_line_each() {
        let mut out = Vec::new();
        assert_eq!(write_corrections(&outcome(), &mut out).unwrap(), 1);
        let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(line["wrong_answer"], "A");
    }
}
