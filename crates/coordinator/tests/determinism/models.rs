//! A task of additions, and models that answer each ask by a hash of it: not by chance, and not all rightly.

use sipdo_domain::{
    Answer, Ask, CheckResult, Draft, Edit, Example, GenerateRequest, Grade, Measured, Metric, NotMeasured, Provenance,
    Reason, Reply, Solution, Task, TaskBrief, Verdict, VerdictKind, task::TaskGates,
};
use sipdo_protocol::{JobOutcome, pb};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Additions; a prompt with more rules answers more of them rightly.
pub fn task(seed: u64) -> Task {
    let examples = |set: &str, count: u64| {
        let example = |n: u64| {
            let input = format!("{} plus {}", hash(&(set, n, 1)) % 900, hash(&(set, n, 2)) % 900);
            Example {
                id: format!("{set}-{n}"),
                target: truth(&input),
                input,
                aliases: Vec::new(),
            }
        };
        (0..count).map(example).collect()
    };
    Task {
        name: "plus".into(),
        brief: TaskBrief {
            description: "Add.".into(),
            answer_format: "a number".into(),
            labels: Vec::new(),
        },
        prompt: "Answer.".into(),
        metric: Metric::exact(),
        train: examples("train", 4),
        test: examples("test", 4),
        gates: TaskGates::default(),
        corpus: Vec::new(),
        seed,
        accept: None,
        form: sipdo_domain::PromptForm::default(),
    }
}

/// The result of a job. Asked again it would be the same, so what is bought twice shows in the count alone.
pub fn result(run: &str, job: &str, attempt: u32, ask: &pb::Ask, sample: u32) -> pb::JobResult {
    let ask = Ask::try_from(ask.clone()).unwrap();
    JobOutcome {
        run: run.into(),
        job: job.into(),
        attempt,
        by: Provenance {
            endpoint: "toy".into(),
            model: ask.role().name().into(),
            ..Provenance::default()
        },
        finding: finding(&ask, sample),
        usage: pb::Usage {
            calls: 1,
            input_tokens: hash(&job) % 50,
            nano_usd: Some(hash(&job) % 7),
            ..Default::default()
        },
        timing: pb::Timing::default(),
    }
    .into()
}

fn finding(ask: &Ask, sample: u32) -> Measured<Reply> {
    if hash(&(format!("{ask:?}"), sample, "lost")).is_multiple_of(20) {
        return Err(NotMeasured::new(Reason::Unavailable, "503"));
    }
    Ok(match ask {
        Ask::Answer(question) => {
            let rules = question.prompt.matches("RULE").count() as u64;
            let right = hash(&(&question.prompt, &question.input)) % 100 < 40 + 25 * rules;
            Answer {
                text: if right { truth(&question.input) } else { "0".into() },
            }
            .into()
        }
        Ask::Synthesize(brief) => draft(brief, sample).into(),
        Ask::Solve(riddle) => Solution {
            working: "added".into(),
            answer: truth(&riddle.input),
        }
        .into(),
        Ask::Check(program) => CheckResult {
            passed: program.target == truth(&program.input),
            reason: "added".into(),
        }
        .into(),
        Ask::Judge(case) => Verdict {
            verdict: if case.claim == truth(&case.input) {
                VerdictKind::Valid
            } else {
                VerdictKind::WrongLabel
            },
            answer: truth(&case.input),
            reasons: "added".into(),
        }
        .into(),
        Ask::Grade(grading) => Grade {
            correct: grading.answer == grading.target,
            reason: "compared".into(),
        }
        .into(),
        Ask::Edit(request) => {
            let number = hash(&(&request.material, sample)) % 1000;
            let text = match request.step.as_str() {
                "refinement" => format!("Answer. RULE {number}. {}", "RULE ".repeat(number as usize % 3)),
                step => format!("{step} {number}"),
            };
            Edit { text }.into()
        }
    })
}

fn draft(brief: &GenerateRequest, sample: u32) -> Draft {
    let random = |salt: u32| hash(&(brief.level, brief.past.len(), brief.refused.len(), sample, salt));
    let input = format!("{} plus {}", random(1) % 900, random(2) % 900);
    let wrong = random(3).is_multiple_of(4);
    Draft {
        target: if wrong { "1".into() } else { truth(&input) },
        input,
        rationale: "added".into(),
    }
}

fn truth(input: &str) -> String {
    let sum: u64 = input.split(" plus ").filter_map(|part| part.parse::<u64>().ok()).sum();
    sum.to_string()
}

/// A number that depends on nothing but the value.
pub fn hash<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
