//! What to look at after a run: commands to copy, for the run that has just ended.

use std::path::Path;

use crate::{
    output,
    report::Report,
    session::EVAL,
    stack::layout::{DATA_VARIABLE, Layout},
};

/// Prints what to look at after an optimization; `layout` is the folder of its local stack, if it has one.
pub fn suggest(report: &Report, layout: Option<&Layout>) {
    if output::json() || report.strategy == EVAL {
        return;
    }
    let steps = place(layout).and_then(|place| next_steps(report, &place));
    steps.iter().for_each(|steps| output::note(steps));
}

/// The commands, one a line below a heading. None for a run without a prompt to look at.
///
/// `place` is what [`place`] gives.
fn next_steps(report: &Report, place: &str) -> Option<String> {
    if !report.ended || report.prompt.is_empty() {
        return None;
    }
    let run = &report.run;
    let first = match (report.found_version, report.reverted) {
        (0, _) => (format!("sipdo runs show {run}{place}"), "every level, vote and repair"),
        (found, true) => (
            format!("sipdo diff {run} 0 {found}{place}"),
            "what the refused prompt changes",
        ),
        _ => (format!("sipdo diff {run}{place}"), "what changed in the prompt"),
    };
    let commands = [
        first,
        (
            format!("sipdo runs trace {run}{place}"),
            "where time and money went, by role",
        ),
        (format!("sipdo prompt {run}{place}"), "the prompt to use"),
    ];
    let width = commands.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    let lines = commands
        .iter()
        .map(|(command, what)| format!("\n  {command:width$}    {what}"));
    Some(format!("now try:{}", lines.collect::<String>()))
}

/// The flag that finds the data of this local stack again; empty where commands find it without one. None where the run belongs to a
/// coordinator that only a flag has named.
fn place(layout: Option<&Layout>) -> Option<String> {
    let Some(layout) = layout else {
        return std::env::var_os("SIPDO_COORDINATOR").is_some().then(String::new);
    };
    let usual = Layout::new(None, layout.simulated).is_ok_and(|usual| usual == *layout);
    if usual || std::env::var_os(DATA_VARIABLE).is_some() {
        return Some(String::new());
    }
    let folder = if layout.simulated {
        layout.root.parent()
    } else {
        Some(layout.root.as_path())
    };
    folder
        .and_then(Path::to_str)
        .map(|folder| format!(" --data-dir {}", quoted(folder)))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::render::tests::run;

    fn report(change: impl FnOnce(&mut Report)) -> Report {
        let mut report = Report::of(&run(), false);
        change(&mut report);
        report
    }

    #[test]
    fn the_commands_fit_what_the_run_found() {
        let found = |version, reverted| {
            move |report: &mut Report| {
                report.prompt = "Count.".into();
                (report.found_version, report.reverted) = (version, reverted);
            }
        };
        let better = next_steps(&report(found(2, false)), "").unwrap();
        assert_eq!(better.lines().count(), 4, "{better}");
        assert!(
            better.contains("sipdo diff r1 ") && better.contains("sipdo prompt r1 "),
            "{better}"
        );
        let refused = next_steps(&report(found(2, true)), " --data-dir d").unwrap();
        assert!(refused.contains("sipdo diff r1 0 2 --data-dir d"), "{refused}");
        let nothing = next_steps(&report(found(0, false)), "").unwrap();
        assert!(
            nothing.contains("sipdo runs show r1") && !nothing.contains("diff"),
            "{nothing}"
        );
        let empty = |report: &mut Report| report.prompt.clear();
        assert_eq!(next_steps(&report(empty), ""), None);
        assert_eq!(next_steps(&report(|report| report.ended = false), ""), None);
    }

    #[test]
    fn a_folder_of_its_own_is_named() {
        if std::env::var_os(DATA_VARIABLE).is_some() {
            return;
        }
        let place = |folder: &str, simulated| place(Some(&Layout::new(Some(Path::new(folder)), simulated).unwrap()));
        assert_eq!(place("/a/b", true), Some(" --data-dir /a/b".into()));
        assert_eq!(place("/a/b's c", false), Some(r" --data-dir '/a/b'\''s c'".into()));
    }
}
