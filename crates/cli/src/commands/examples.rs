//! `sipdo runs examples`: every held-out example with the answers of each prompt.

use std::io;

use clap::Args;

use crate::{
    failure::{Exit, Failure, Outcome},
    global::Global,
    held_out::{Answers, Change, HeldOut, Line, MarkName, rebuild},
    output::{self, Table},
    session::run_named,
    words::prompt_name,
};

/// Columns of a table that goes to no terminal.
const USUAL_COLUMNS: usize = 160;
/// The least that a column of text takes.
const LEAST_TEXT: usize = 8;

/// Flags of `sipdo runs examples`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sipdo runs examples latest --changed           what the final prompt gained and lost
  sipdo runs examples latest --csv > answers.csv
  sipdo runs examples latest --json | jq 'select(.arms.final.mark == \"wrong\")'")]
pub struct ExamplesArgs {
    /// The run, or `latest`
    run: String,
    /// Only the examples that were gained or lost
    #[arg(long)]
    changed: bool,
    /// Print CSV, a row for each example and repeat
    #[arg(long)]
    csv: bool,
}

/// Prints the examples.
///
/// # Errors
/// The coordinator does not answer; there is no such run, or it was not tested; it compares nothing, and what changed is asked for.
pub async fn run(global: &Global, args: &ExamplesArgs) -> Outcome {
    if args.csv && output::json() {
        return Err(Failure::usage("--csv and --json are two forms of the same").hint("omit one of them"));
    }
    let work = async |api: &mut crate::client::Api| {
        let run = run_named(api, &args.run).await?;
        let test = rebuild::fetch(api, &run).await?;
        if args.changed && test.compared.is_none() {
            return Err(Failure::usage(format!(
                "run {run} compares no prompts, so that no example is gained or lost"
            ))
            .hint("omit --changed"));
        }
        let lines: Vec<&Line> = test
            .lines
            .iter()
            .filter(|line| !args.changed || line.change.is_some())
            .collect();
        print(args, &test, &lines)
    };
    global.with_api(Some(&args.run), work).await
}

fn print(args: &ExamplesArgs, test: &HeldOut, lines: &[&Line]) -> Outcome {
    if output::json() {
        for line in lines {
            output::json_line(&serde_json::to_value(line).map_err(anyhow::Error::from)?)?;
        }
    } else if args.csv {
        output::data(&csv(test, lines)?)?;
    } else {
        let columns = output::stdout_columns();
        let table = table(test, lines, columns.unwrap_or(USUAL_COLUMNS)).render(output::stdout_color());
        output::data(&output::cut(&table, columns))?;
        output::note(&counted(test, lines));
    }
    Ok(Exit::Ok)
}

/// How many lines there are, and what changed.
fn counted(test: &HeldOut, lines: &[&Line]) -> String {
    let all = output::plural(test.lines.len() as u64, "held-out example");
    let changed = |change| test.lines.iter().filter(|line| line.change == Some(change)).count();
    let changes = match &test.compared {
        Some((before, after)) => format!(
            "; {} against {}: {} gained, {} lost",
            prompt_name(after),
            prompt_name(before),
            changed(Change::Gained),
            changed(Change::Lost)
        ),
        None => String::new(),
    };
    output::clean_line(&format!("run {}: {} of {all}{changes}", test.run, lines.len()))
}

/// A table that fits: what stays of the width after the short columns is shared by the texts.
fn table(test: &HeldOut, lines: &[&Line], columns: usize) -> Table {
    let compares = test.compared.is_some();
    let mut headings = vec!["example".to_owned()];
    headings.extend(compares.then(|| "change".to_owned()));
    headings.extend(["target", "input"].map(String::from));
    headings.extend(test.arms.iter().map(|arm| output::clean_line(&prompt_name(arm))));
    let longest = lines.iter().map(|line| line.id.chars().count()).max().unwrap_or(0);
    let fixed = longest.max("example".len()) + if compares { "gained".len() + 2 } else { 0 };
    let texts = 2 + test.arms.len();
    let wide = (columns.saturating_sub(fixed) / texts)
        .saturating_sub(2)
        .max(LEAST_TEXT);
    let headings: Vec<String> = headings.iter().map(|heading| output::short(heading, wide)).collect();
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for line in lines {
        let mut cells = vec![line.id.clone()];
        cells.extend(compares.then(|| line.change.map_or("", Change::words).to_owned()));
        cells.extend([output::short(&line.target, wide), output::short(&line.input, wide)]);
        cells.extend(test.arms.iter().map(|arm| cell(line.arm(arm), wide)));
        table.row(cells);
    }
    table
}

/// An answer in short: its mark, and its label or its last line, where models state what they answer.
fn cell(answers: Option<&Answers>, wide: usize) -> String {
    let Some(answers) = answers else {
        return "-".into();
    };
    let answer = &answers.first;
    if !answers.repeats.is_empty() {
        return output::short(&repeats(answers), wide);
    }
    let last = answer.answer.as_deref().unwrap_or_default();
    let last = last
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let said = match answer.mark {
        MarkName::NotMeasured => answer.reason.as_deref(),
        _ => Some(answer.label.as_deref().unwrap_or(last)),
    };
    output::short(&format!("{}: {}", answer.mark.words(), said.unwrap_or_default()), wide)
}

fn repeats(answers: &Answers) -> String {
    let count = |mark| answers.count(mark);
    let measured = count(MarkName::Right) + count(MarkName::Wrong);
    let mut words = format!("{} of {measured} right", count(MarkName::Right));
    if count(MarkName::NotMeasured) > 0 {
        words.push_str(&format!(", {} not measured", count(MarkName::NotMeasured)));
    }
    words
}

/// A row for each example and repeat; the columns of an arm begin with its name.
fn csv(test: &HeldOut, lines: &[&Line]) -> Result<String, Failure> {
    const OF_ARM: [&str; 8] = ["mark", "answer", "reason", "label", "model", "calls", "tokens", "usd"];
    let mut csv = csv::Writer::from_writer(Vec::new());
    let named = ["id", "repeat", "input", "target", "change"]
        .map(String::from)
        .into_iter();
    let of_arms = test
        .arms
        .iter()
        .flat_map(|arm| OF_ARM.map(|column| format!("{arm}.{column}")));
    csv.write_record(named.chain(of_arms)).map_err(failed)?;
    for line in lines {
        let repeats = line
            .arms
            .iter()
            .map(|(_, answers)| answers.all().count())
            .max()
            .unwrap_or(1);
        for repeat in 0..repeats {
            let change = line.change.map_or("", Change::words).to_owned();
            let mut cells = vec![
                line.id.clone(),
                (repeat + 1).to_string(),
                line.input.clone(),
                line.target.clone(),
                change,
            ];
            for arm in &test.arms {
                let answer = line.arm(arm).and_then(|answers| answers.all().nth(repeat));
                cells.extend(answer.map_or_else(|| OF_ARM.map(|_| String::new()), arm_cells));
            }
            csv.write_record(cells).map_err(failed)?;
        }
    }
    let bytes = csv.into_inner().map_err(|error| failed(error.into_error()))?;
    String::from_utf8(bytes).map_err(|error| anyhow::Error::from(error).into())
}

fn failed(error: impl Into<io::Error>) -> Failure {
    error.into().into()
}

fn arm_cells(answer: &crate::held_out::Answer) -> [String; 8] {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    [
        answer.mark.words().to_owned(),
        text(&answer.answer),
        text(&answer.reason),
        text(&answer.label),
        text(&answer.model),
        answer.calls.to_string(),
        answer.tokens.to_string(),
        answer.usd.map_or_else(String::new, |usd| usd.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held_out::tests::{answer, line, test_of};

    fn test() -> HeldOut {
        let seed = answer(MarkName::Wrong, "Let me think.\nThe answer is 3");
        let last = answer(MarkName::Right, "4");
        test_of(vec![line("test-1", vec![("seed", seed), ("final", last)])])
    }

    #[test]
    fn the_table_fits_and_shows_how_an_answer_ends() {
        let test = test();
        let lines: Vec<&Line> = test.lines.iter().collect();
        let wide = table(&test, &lines, 200).render(false);
        assert!(
            wide.contains("wrong: The answer is 3") && wide.contains("gained"),
            "{wide}"
        );
        let narrow = table(&test, &lines, 60);
        assert!(narrow.width() <= 60, "{}", narrow.render(false));
    }

    #[test]
    fn the_csv_has_every_answer_whole() {
        let test = test();
        let lines: Vec<&Line> = test.lines.iter().collect();
        let text = csv(&test, &lines).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let headings = reader.headers().unwrap().clone();
        let row = reader.records().next().unwrap().unwrap();
        let at = |name: &str| {
            row.get(headings.iter().position(|heading| heading == name).unwrap())
                .unwrap()
        };
        assert_eq!(at("seed.answer"), "Let me think.\nThe answer is 3");
        assert_eq!((at("final.mark"), at("change"), at("repeat")), ("right", "gained", "1"));
    }

    #[test]
    fn repeats_are_counted_with_what_is_missing() {
        let mut answers = Answers {
            first: answer(MarkName::Right, "4"),
            repeats: vec![answer(MarkName::Wrong, "3"), answer(MarkName::NotMeasured, "")],
        };
        assert_eq!(cell(Some(&answers), 60), "1 of 2 right, 1 not measured");
        answers.repeats.clear();
        assert_eq!(cell(Some(&answers), 60), "right: 4");
    }
}
