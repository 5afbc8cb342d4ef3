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
