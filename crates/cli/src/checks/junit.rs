//! Test results as JUnit XML, one test case for each example, for the servers of CI.
//!
//! A wrong answer is a failure. An answer that was not measured is an error, which is JUnit's word for a test that could not be carried
//! out: servers show it apart from failures, and do not pass it over as they do a skipped one. An example that was never asked is skipped.

use std::path::Path;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{
    failure::{Exit, Failure},
    held_out::{Answer, Answers, HeldOut, Line, MarkName},
    output::short,
};

/// Characters of an input in the name of its test case.
const IN_NAME: usize = 60;

/// Writes the results of one arm into a file.
///
/// # Errors
/// It cannot be written.
pub fn write(file: &Path, task: &str, arm: &str, test: &HeldOut) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failure, format!("cannot write {}: {error}", file.display()))
    };
    let text = xml(task, arm, test).map_err(|error| failed(&error))?;
    std::fs::write(file, text).map_err(|error| failed(&error))
}

fn xml(task: &str, arm: &str, test: &HeldOut) -> Result<String, quick_junit::SerializeError> {
    let mut suite = TestSuite::new(format!("{task}: {arm}"));
    suite.add_property(("sipdo.run", test.run.as_str()));
    let cases = test
        .lines
        .iter()
        .filter_map(|line| Some(case(task, line, line.arm(arm)?)));
    suite.add_test_cases(cases);
    let mut report = Report::new("sipdo eval");
    report.add_test_suite(suite);
    report.to_string()
}

fn case(task: &str, line: &Line, answers: &Answers) -> TestCase {
    let mut case = TestCase::new(
        format!("{}: {}", line.id, short(&line.input, IN_NAME)),
        status(line, answers),
    );
    case.set_classname(task);
    case
}

fn status(line: &Line, answers: &Answers) -> TestCaseStatus {
    let first_with = |mark| answers.all().find(|answer| answer.mark == mark);
    let (right, all) = (answers.count(MarkName::Right), answers.all().count());
    if let Some(wrong) = first_with(MarkName::Wrong) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        let of = if all > 1 {
            format!(" ({right} of {all} right)")
        } else {
            String::new()
        };
        status.set_message(format!(
            "wrong answer to a target of `{}`{of}",
            short(&line.target, 200)
        ));
        status.set_type("wrong").set_description(description(line, wrong));
        return status;
    }
    match first_with(MarkName::NotMeasured) {
        Some(missing) if missing.asked() => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            let reason = missing.reason.as_deref().unwrap_or_default();
            status.set_message(format!("not measured: {}", short(reason, 200)));
            status
                .set_type("not measured")
                .set_description(description(line, missing));
            status
        }
        Some(_) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message("not asked: the run ended before");
            status
        }
        None => TestCaseStatus::success(),
    }
}

fn description(line: &Line, answer: &Answer) -> String {
    let (input, target) = (&line.input, &line.target);
    let said = answer.answer.as_deref().unwrap_or("(none)");
    format!("input:\n{input}\n\ntarget:\n{target}\n\nanswer:\n{said}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::held_out::{
        NOT_ASKED,
        tests::{answer, line, test_of},
    };

    #[test]
    fn each_mark_is_told_in_the_words_of_junit() {
        let mut unasked = answer(MarkName::NotMeasured, "");
        unasked.reason = Some(NOT_ASKED.into());
        let one = |id: &str, answer| line(id, vec![("seed", answer)]);
        let mut flaky = one("five", answer(MarkName::Right, "4"));
        flaky.arms[0].1.repeats = vec![answer(MarkName::Wrong, "3"), answer(MarkName::Right, "4")];
        let test = test_of(vec![
            one("one", answer(MarkName::Right, "4")),
            one("two", answer(MarkName::Wrong, "<b>\u{1b}[31m & ]]> 5")),
            one("three", answer(MarkName::NotMeasured, "")),
            one("four", unasked),
            flaky,
        ]);
        let text = xml("things", "seed", &test).unwrap();
        for part in [
            "tests=\"5\" failures=\"2\" errors=\"1\"",
            "<testsuite name=\"things: seed\" tests=\"5\" disabled=\"1\" errors=\"1\" failures=\"2\">",
            "<testcase name=\"one: input of one\" classname=\"things\">",
            "message=\"wrong answer to a target of `4`\"",
            "message=\"not measured: timeout: 60 s\"",
            "<skipped message=\"not asked: the run ended before\"/>",
            "message=\"wrong answer to a target of `4` (2 of 3 right)\"",
            "&lt;b&gt;",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains('\u{1b}'), "XML has no place for control characters");
    }
}
