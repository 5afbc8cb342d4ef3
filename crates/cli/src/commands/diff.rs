//! `sipdo diff`: what changed between two versions of a run's prompt, by words on a terminal, as a unified diff elsewhere.

use clap::Args;
use serde_json::json;
use similar::{ChangeTag, TextDiff};
use sipdo_protocol::pb;

use super::completions::run_ids;
use crate::{
    failure::{Exit, Failure, Outcome},
    global::Global,
    output::{self, Color},
    session::{get_run, optimization_named},
};

/// Flags of `sipdo diff`.
#[derive(Debug, Args)]
#[command(after_help = "Example: sipdo diff latest 0 3 --unified")]
pub struct DiffArgs {
    /// The run, or `latest`: the newest optimization
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
    /// The first version [default: the seed prompt, 0]
    from: Option<u32>,
    /// The second version [default: the best]
    to: Option<u32>,
    /// Mark changed words; without colour as [-old-] and {+new+}
    #[arg(long, conflicts_with = "unified")]
    words: bool,
    /// Print a unified diff, as patch reads it
    #[arg(long)]
    unified: bool,
}

/// Prints the difference.
///
/// # Errors
/// There is no such run or version.
pub async fn run(global: &Global, args: &DiffArgs) -> Outcome {
    global
        .with_api(Some(&args.run), async |api| {
            let run = optimization_named(api, &args.run).await?;
            let run = get_run(api, &run).await?;
            let best = run.outcome.as_ref().map(|outcome| outcome.best);
            let best = best
                .or(run.summary.as_ref().map(|summary| summary.prompt_version))
                .unwrap_or_default();
            let (from, to) = (
                version(&run, args.from.unwrap_or(0))?,
                version(&run, args.to.unwrap_or(best))?,
            );
            let color = output::stdout_color();
            if output::json() {
                let unified = unified(from, to, false);
                output::json_line(&json!({"from": from.version, "to": to.version, "unified": unified}))?;
            } else if from.text == to.text {
                output::note(&format!("v{} and v{} are the same", from.version, to.version));
            } else if args.words || (color && !args.unified) {
                output::note(&format!(
                    "v{} to v{}: {}",
                    from.version,
                    to.version,
                    output::clean_line(&to.reason)
                ));
                output::data_line(&words(&from.text, &to.text, color))?;
            } else {
                output::data(&unified(from, to, color))?;
            }
            Ok(Exit::Ok)
        })
        .await
}

fn version(run: &pb::Run, version: u32) -> Result<&pb::Prompt, Failure> {
    let kept = run.outcome.as_ref().map_or(&run.prompts, |outcome| &outcome.prompts);
    kept.iter()
        .chain(&run.prompts)
        .find(|prompt| prompt.version == version)
        .ok_or_else(|| {
            let versions: Vec<String> = kept.iter().map(|prompt| prompt.version.to_string()).collect();
            Failure::new(
                Exit::NotFound,
                format!("there is no prompt v{version}; there are {}", versions.join(", ")),
            )
        })
}

/// The second text with what is gone and what is new marked, word by word.
fn words(from: &str, to: &str, color: bool) -> String {
    let (from, to) = (output::clean(from), output::clean(to));
    let diff = TextDiff::from_words(from.as_str(), to.as_str());
    let mut runs: Vec<(ChangeTag, String)> = Vec::new();
    for change in diff.iter_all_changes() {
        match runs.last_mut() {
            Some((tag, text)) if *tag == change.tag() => text.push_str(change.value()),
            _ => runs.push((change.tag(), change.value().to_owned())),
        }
    }
    runs.iter()
        .map(|(tag, text)| match tag {
            ChangeTag::Equal => text.clone(),
            ChangeTag::Delete if color => Color::Red.paint(text, true),
            ChangeTag::Insert if color => Color::Green.paint(text, true),
            ChangeTag::Delete => format!("[-{text}-]"),
            ChangeTag::Insert => format!("{{+{text}+}}"),
        })
        .collect()
}

fn unified(from: &pb::Prompt, to: &pb::Prompt, color: bool) -> String {
    let (old, new) = (output::clean(&from.text), output::clean(&to.text));
    let diff = TextDiff::from_lines(old.as_str(), new.as_str());
    let (old_name, new_name) = (format!("v{}", from.version), format!("v{}", to.version));
    let text = diff.unified_diff().header(&old_name, &new_name).to_string();
    let paint = |line: &str| match line.chars().next() {
        Some('+') => Color::Green.paint(line, color),
        Some('-') => Color::Red.paint(line, color),
        _ => line.to_owned(),
    };
    text.lines().map(|line| paint(line) + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_marked_in_place() {
        assert_eq!(
            words("Count the kinds.", "Add the kinds.", false),
            "[-Count-]{+Add+} the kinds."
        );
        let colored = words("Count the kinds.", "Add the kinds.", true);
        assert_eq!(colored, "\u{1b}[31mCount\u{1b}[0m\u{1b}[32mAdd\u{1b}[0m the kinds.");
        assert_eq!(words("same\n", "same\n", false), "same\n");
    }

    #[test]
    fn a_prompt_cannot_bring_its_own_colours() {
        assert!(!words("a", "a \u{1b}[31mb", true).contains("\u{1b}[31mb"));
    }

    #[test]
    fn unified_names_the_versions() {
        let prompt = |version, text: &str| pb::Prompt {
            version,
            text: text.into(),
            ..Default::default()
        };
        let text = unified(&prompt(0, "one\ntwo\n"), &prompt(3, "one\nthree\n"), false);
        assert!(text.starts_with("--- v0\n+++ v3\n"), "{text}");
        assert!(text.contains("\n-two\n+three\n"), "{text}");
    }
}
