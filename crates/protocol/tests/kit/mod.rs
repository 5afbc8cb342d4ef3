//! Proptest strategies for the domain types that travel.

use proptest::{collection::vec, option, prelude::*};
use sipdo_domain::{
    Answer, AnswerRequest, Arm, Ask, ChatMessage, CheckRequest, CheckResult, Decision, Draft, Edit, EditRequest,
    Ending, Example, GenerateRequest, Grade, GradeRequest, JudgeRequest, Mark, Measured, NotMeasured, Outcome,
    PastExample, Prompt, Provenance, Reason, Reply, RunEvent, Score, Shown, Solution, SolveRequest, Speaker, Standing,
    SyntheticExample, TaskBrief, Verdict, VerdictKind, Vote, Voter,
    outcome::{Correction, Gain, MacroF1Gain},
};

fn text() -> impl Strategy<Value = String> + Clone {
    prop_oneof![Just(String::new()), "\\PC{1,12}", "[a-z\\n\\t{}]{1,8}"]
}

fn texts() -> impl Strategy<Value = Vec<String>> {
    vec(text(), 0..3)
}

fn number() -> impl Strategy<Value = f64> {
    -1e6..1e6
}

fn interval() -> impl Strategy<Value = (f64, f64)> {
    (number(), number())
}

pub fn not_measured() -> impl Strategy<Value = NotMeasured> {
    (prop::sample::select(Reason::ALL.to_vec()), text()).prop_map(|(reason, detail)| NotMeasured { reason, detail })
}

fn mark() -> impl Strategy<Value = Mark> {
    prop_oneof![
        Just(Mark::Right),
        Just(Mark::Wrong),
        not_measured().prop_map(Mark::NotMeasured)
    ]
}

fn measured<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Measured<T>> {
    prop_oneof![value.prop_map(Ok), not_measured().prop_map(Err)]
}

fn score() -> impl Strategy<Value = Score> {
    any::<(u32, u32, u32)>().prop_map(|(right, wrong, not_measured)| Score {
        right,
        wrong,
        not_measured,
    })
}

pub fn provenance() -> impl Strategy<Value = Provenance> {
    (text(), text(), text(), text()).prop_map(|(endpoint, model, revision, agent)| Provenance {
        endpoint,
        model,
        revision,
        agent,
        ..Provenance::default()
    })
}

pub fn example() -> impl Strategy<Value = Example> {
    (text(), text(), text(), texts()).prop_map(|(id, input, target, aliases)| Example {
        id,
        input,
        target,
        aliases,
    })
}

pub fn brief_of_task() -> impl Strategy<Value = TaskBrief> {
    (text(), text(), texts()).prop_map(|(description, answer_format, labels)| TaskBrief {
        description,
        answer_format,
        labels,
    })
}

fn vote() -> impl Strategy<Value = Vote> {
    let voter = prop_oneof![
        Just(Voter::Generator),
        any::<u32>().prop_map(Voter::Checker),
        Just(Voter::Verifier),
        Just(Voter::Program)
    ];
    (voter, text(), measured(any::<bool>()), text(), provenance()).prop_map(|(voter, answer, supports, reason, by)| {
        Vote {
            voter,
            answer,
            supports,
            reason,
            by,
        }
    })
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        Just(Decision::Accepted),
        (text(), text()).prop_map(|(by, reason)| Decision::Rejected { by, reason }),
        text().prop_map(|reason| Decision::SetAside { reason }),
    ]
}

fn synthetic() -> impl Strategy<Value = SyntheticExample> {
    (
        example(),
        any::<u32>(),
        text(),
        vec(vote(), 0..4),
        decision(),
        any::<u32>(),
        any::<bool>(),
    )
        .prop_map(
            |(example, level, rationale, votes, decision, prompt_version, quarantined)| SyntheticExample {
                example,
                level,
                rationale,
                votes,
                decision,
                prompt_version,
                quarantined,
            },
        )
}

fn prompt() -> impl Strategy<Value = Prompt> {
    let standing = prop_oneof![
        Just(Standing::Seed),
        texts().prop_map(|fixed| Standing::Accepted { fixed }),
        (text(), text(), texts()).prop_map(|(stage, reason, broke)| Standing::Rejected { stage, reason, broke }),
    ];
    (
        any::<u32>(),
        option::of(any::<u32>()),
        text(),
        text(),
        any::<u32>(),
        standing,
        option::of(provenance()),
    )
        .prop_map(|(version, parent, text, reason, level, standing, written_by)| Prompt {
            version,
            parent,
            text,
            reason,
            level,
            standing,
            written_by,
        })
}

fn correction() -> impl Strategy<Value = Correction> {
    (prop::array::uniform7(text()), any::<u32>(), any::<u32>()).prop_map(|(texts, from_version, to_version)| {
        let [
            example,
            input,
            target,
            wrong_answer,
            right_answer,
            analysis,
            recommendation,
        ] = texts;
        Correction {
            example,
            input,
            target,
            wrong_answer,
            right_answer,
            from_version,
            to_version,
            analysis,
            recommendation,
        }
    })
}

fn arm() -> impl Strategy<Value = Arm> {
    let credit = option::of(number());
    (text(), score(), option::of(interval()), credit).prop_map(|(name, score, interval, credit)| Arm {
        name,
        score,
        interval,
        credit,
    })
}

fn gain() -> impl Strategy<Value = Gain> {
    let macro_f1 = (number(), number()).prop_map(|(difference, p_value)| MacroF1Gain { difference, p_value });
    (
        number(),
        interval(),
        number(),
        any::<(u32, u32, u32)>(),
        option::of(macro_f1),
    )
        .prop_map(
            |(difference, interval, p_value, (pairs, gained, lost), macro_f1)| Gain {
                difference,
                interval,
                p_value,
                pairs,
                gained,
                lost,
                macro_f1,
            },
        )
}

pub fn outcome() -> impl Strategy<Value = Outcome> {
    let ending = prop_oneof![
        Just(Ending::Finished),
        text().prop_map(Ending::BudgetExhausted),
        Just(Ending::StoppedEarly)
    ];
    let lists = (
        vec(prompt(), 0..3),
        vec(synthetic(), 0..3),
        vec(correction(), 0..3),
        vec(arm(), 0..3),
        texts(),
    );
    let rest = (any::<(u32, u32, bool)>(), option::of(gain()), option::of(number()));
    let shown = prop::sample::select(vec![
        None,
        Some(Shown::Better),
        Some(Shown::Nothing),
        Some(Shown::Worse),
    ]);
    let verdict = (shown, option::of(any::<u32>()));
    (ending, lists, rest, verdict).prop_map(
        |(ending, (prompts, synthetic, corrections, arms, warnings), rest, (shown, more_examples))| {
            let ((best, found, reverted), gain, label_kl) = rest;
            Outcome {
                ending,
                best,
                found,
                prompts,
                synthetic,
                corrections,
                arms,
                gain,
                reverted,
                label_kl,
                warnings,
                shown,
                more_examples,
            }
        },
    )
}

fn brief() -> impl Strategy<Value = GenerateRequest> {
    let past = (any::<u32>(), text(), text()).prop_map(|(level, input, target)| PastExample { level, input, target });
    let head = (brief_of_task(), vec((text(), text()), 0..3), vec(past, 0..3));
    let level = any::<(u32, u32, bool)>();
    let tail = (
        option::of(text()),
        text(),
        texts(),
        option::of(text()),
        texts(),
        texts(),
    );
    (head, level, tail).prop_map(
        |(
            (task, shown, past),
            (level, max_level, extreme),
            (target, prompt, weaknesses, passage, refused, columns),
        )| {
            GenerateRequest {
                task,
                shown,
                past,
                level,
                max_level,
                extreme,
                target,
                prompt,
                weaknesses,
                passage,
                refused,
                columns,
            }
        },
    )
}

fn message() -> impl Strategy<Value = ChatMessage> {
    let role = prop_oneof![Just(Speaker::System), Just(Speaker::User), Just(Speaker::Assistant)];
    (role, text()).prop_map(|(role, text)| ChatMessage { role, text })
}

pub fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        (text(), text(), vec(message(), 0..3), text()).prop_map(|(prompt, input, messages, schema)| {
            Ask::Answer(AnswerRequest {
                prompt,
                input,
                messages,
                schema,
            })
        }),
        brief().prop_map(Ask::Synthesize),
        (brief_of_task(), text(), text()).prop_map(|(task, input, pool)| Ask::Solve(SolveRequest {
            task,
            input,
            pool
        })),
        (text(), text(), text(), text()).prop_map(|(name, input, target, pool)| Ask::Check(CheckRequest {
            name,
            input,
            target,
            pool
        })),
        (brief_of_task(), text(), text(), text(), text()).prop_map(|(task, input, claim, working, checked)| {
            Ask::Judge(JudgeRequest {
                task,
                input,
                claim,
                working,
                checked,
            })
        }),
        (brief_of_task(), text(), text(), text(), text()).prop_map(|(task, input, target, answer, criteria)| {
            Ask::Grade(GradeRequest {
                task,
                input,
                target,
                answer,
                criteria,
            })
        }),
        (text(), text(), text(), text(), number(), any::<u32>()).prop_map(
            |(step, instruction, material, field, temperature, max_chars)| Ask::Edit(EditRequest {
                step,
                instruction,
                material,
                field,
                temperature,
                max_chars,
            })
        ),
    ]
}

pub fn reply() -> impl Strategy<Value = Reply> {
    let verdict = prop::sample::select(vec![
        VerdictKind::Valid,
        VerdictKind::WrongLabel,
        VerdictKind::Ambiguous,
        VerdictKind::Unsolvable,
    ]);
    prop_oneof![
        text().prop_map(|text| Reply::Answer(Answer { text })),
        (text(), text(), text()).prop_map(|(input, target, rationale)| Reply::Draft(Draft {
            input,
            target,
            rationale
        })),
        (text(), text()).prop_map(|(working, answer)| Reply::Solution(Solution { working, answer })),
        (any::<bool>(), text()).prop_map(|(passed, reason)| Reply::Check(CheckResult { passed, reason })),
        (verdict, text(), text()).prop_map(|(verdict, answer, reasons)| Reply::Verdict(Verdict {
            verdict,
            answer,
            reasons
        })),
        (any::<bool>(), text()).prop_map(|(correct, reason)| Reply::Grade(Grade { correct, reason })),
        text().prop_map(|text| Reply::Edit(Edit { text })),
    ]
}

pub fn finding() -> impl Strategy<Value = Measured<Reply>> {
    measured(reply())
}

pub fn run_event() -> impl Strategy<Value = RunEvent> {
    prop_oneof![
        (text(), text(), score()).prop_map(|(set, arm, score)| RunEvent::Scored { set, arm, score }),
        (any::<u32>(), any::<u32>(), option::of(text())).prop_map(|(level, of, target)| RunEvent::LevelBegun {
            level,
            of,
            target
        }),
        synthetic().prop_map(|example| RunEvent::ExampleJudged { example }),
        (text(), any::<u32>(), mark()).prop_map(|(example, version, mark)| RunEvent::Challenged {
            example,
            version,
            mark
        }),
        (texts(), any::<u32>(), text(), text()).prop_map(|(examples, version, analysis, recommendation)| {
            RunEvent::ErrorsAnalysed {
                examples,
                version,
                analysis,
                recommendation,
            }
        }),
        prompt().prop_map(|prompt| RunEvent::CandidateJudged { prompt }),
        vec(correction(), 0..3).prop_map(|corrections| RunEvent::Corrected { corrections }),
        (text(), text()).prop_map(|(example, reason)| RunEvent::ExampleQuarantined { example, reason }),
        arm().prop_map(|arm| RunEvent::ArmMeasured { arm }),
        text().prop_map(|text| RunEvent::Warning { text }),
    ]
}
