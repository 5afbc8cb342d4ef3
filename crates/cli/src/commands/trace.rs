//! `sipdo runs trace`: where a run's time and money went, level by level and role by role, drawn from its journal alone.

mod draw;

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;
use sipdo_protocol::pb;

use super::completions::run_ids;
use crate::{
    client::Api,
    failure::{Exit, Failure, Outcome},
    global::Global,
    json,
    output::{self, Table},
    session::run_named,
    words::{pool_words, reason_words},
};

use draw::{Scale, Sum, unpriced};

/// Columns of the drawing: fewer on a narrow terminal.
const WIDTH: usize = 48;
const NARROWEST: usize = 12;
/// Jobs fetched at a time.
const PAGE: i32 = 5_000;

/// Flags of `sipdo runs trace`.
#[derive(Debug, Args)]
pub struct TraceArgs {
    /// The run, or `latest`
    #[arg(add = clap_complete::ArgValueCandidates::new(run_ids))]
    run: String,
    /// Show one level only; 0 is the time before the first level; `conclusion` is the end
    #[arg(long, value_name = "N", value_parser = iteration)]
    iteration: Option<Iteration>,
    /// Also print a row per job
    #[arg(long)]
    jobs: bool,
}

/// A part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Iteration {
    Level(u32),
    Conclusion,
}

fn iteration(text: &str) -> Result<Iteration, String> {
    match text {
        "conclusion" => Ok(Iteration::Conclusion),
        level => level
            .parse()
            .map(Iteration::Level)
            .map_err(|_| format!("{text:?} is neither a level nor `conclusion`")),
    }
}

impl Iteration {
    fn of(job: &pb::JobLine) -> Self {
        if job.conclusion {
            Iteration::Conclusion
        } else {
            Iteration::Level(job.level)
        }
    }

    fn words(self) -> String {
        match self {
            Iteration::Level(0) => "before level 1".into(),
            Iteration::Level(level) => format!("level {level}"),
            Iteration::Conclusion => "conclusion".into(),
        }
    }
}

/// Draws a run.
///
/// # Errors
/// The coordinator does not answer, or there is no such run or level.
pub async fn run(global: &Global, args: &TraceArgs) -> Outcome {
    global
        .with_api(Some(&args.run), async |api| {
            let run = run_named(api, &args.run).await?;
            let jobs = fetch(api, &run, args.iteration).await?;
            if output::json() {
                for job in &jobs {
                    output::json_line(&json!({ "job": json::message("JobLine", job)? }))?;
                }
            } else if jobs.is_empty() {
                let what = args
                    .iteration
                    .map_or("job".to_owned(), |it| format!("job of {}", it.words()));
                return Err(Failure::new(Exit::NotFound, format!("run {run} has no {what}")));
            } else {
                output::data(&draw(&run, &jobs, args.jobs))?;
            }
            Ok(Exit::Ok)
        })
        .await
}

async fn fetch(api: &mut Api, run: &str, iteration: Option<Iteration>) -> Result<Vec<pb::JobLine>, Failure> {
    let mut jobs = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListJobsRequest {
            run: run.to_owned(),
            level: match iteration {
                Some(Iteration::Level(level)) => Some(level),
                Some(Iteration::Conclusion) | None => None,
            },
            conclusion: iteration == Some(Iteration::Conclusion),
            page_size: PAGE,
            page_token,
        };
        let page = api.list_jobs(request).await?.into_inner();
        jobs.extend(page.jobs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(jobs);
        }
    }
}

fn draw(run: &str, jobs: &[pb::JobLine], each: bool) -> String {
    let mut parts: BTreeMap<Iteration, Vec<&pb::JobLine>> = BTreeMap::new();
    for job in jobs {
        parts.entry(Iteration::of(job)).or_default().push(job);
    }
    let mut text = format!("Run {run}\n");
    for (iteration, jobs) in parts {
        text.push('\n');
        text.push_str(&part(iteration, &jobs, each));
    }
    text.push_str("\n·  waiting in the queue   ▒  in the agent   █  waiting for the model");
    let unpriced = jobs
        .iter()
        .filter_map(|job| job.done.as_ref()?.usage.as_ref())
        .any(unpriced);
    text.push_str(if unpriced { "   ?  unknown price\n" } else { "\n" });
    text
}

/// One iteration: its lanes, and its jobs where they are wanted.
fn part(iteration: Iteration, jobs: &[&pb::JobLine], each: bool) -> String {
    let all = Sum::of(jobs);
    let scale = Scale::of(jobs, WIDTH);
    let mut text = format!(
        "{}: {}, {}, {} tokens, {}\n",
        iteration.words(),
        output::plural(jobs.len() as u64, "job"),
        seconds(scale.span),
        output::count(all.tokens),
        all.cost()
    );
    text.push_str(&fitting(jobs, lanes));
    if each {
        text.push('\n');
        text.push_str(&fitting(jobs, rows));
    }
    text
}

/// A table whose drawing takes what its other columns leave of the terminal.
fn fitting(jobs: &[&pb::JobLine], table: impl Fn(&[&pb::JobLine], &Scale) -> Table) -> String {
    let columns = output::stdout_columns().unwrap_or(usize::MAX);
    let others = table(jobs, &Scale::of(jobs, 0)).width();
    let width = columns.saturating_sub(others).clamp(NARROWEST, WIDTH);
    table(jobs, &Scale::of(jobs, width)).render(output::stdout_color())
}

fn lanes(jobs: &[&pb::JobLine], scale: &Scale) -> Table {
    let mut table =
        Table::new(&["role", "", "jobs", "waited", "called", "model", "tokens", "cost"]).right(&[2, 3, 4, 6, 7]);
    let mut lanes: BTreeMap<(i32, &str), Vec<&pb::JobLine>> = BTreeMap::new();
    for job in jobs {
        lanes.entry((job.role, &job.pool)).or_default().push(job);
    }
    for (_, lane) in lanes {
        let sum = Sum::of(&lane);
        table.row([
            role(lane.first().copied()),
            scale.draw(&lane),
            output::count(lane.len() as u64),
            seconds(sum.waited_ms),
            seconds(sum.called_ms),
            sum.models.join(", "),
            output::count(sum.tokens),
            sum.cost(),
        ]);
    }
    table
}

fn rows(jobs: &[&pb::JobLine], scale: &Scale) -> Table {
    let head = [
        "job",
        "role",
        "operation",
        "",
        "waited",
        "called",
        "model",
        "tokens",
        "cost",
        "remark",
    ];
    let mut table = Table::new(&head).right(&[4, 5, 7, 8]);
    for job in jobs {
        let sum = Sum::of(&[*job]);
        table.row([
            job.job.chars().take(12).collect(),
            role(Some(job)),
            job.operation.clone(),
            scale.draw(&[*job]),
            seconds(sum.waited_ms),
            seconds(sum.called_ms),
            sum.models.join(", "),
            output::count(sum.tokens),
            sum.cost(),
            remark(job),
        ]);
    }
    table
}

fn remark(job: &pb::JobLine) -> String {
    let mut remarks = Vec::new();
    match &job.done {
        None => remarks.push("in flight".to_owned()),
        Some(done) => {
            if let Some(why) = &done.not_measured {
                remarks.push(format!("not measured: {}", reason_words(why.reason().as_str_name())));
            }
            if done.usage.as_ref().is_some_and(|usage| usage.from_store) {
                remarks.push("bought before".to_owned());
            }
            let requests = done.usage.as_ref().map_or(0, |usage| usage.requests);
            if requests > 1 {
                remarks.push(format!("{requests} requests"));
            }
        }
    }
    if job.attempt > 1 {
        remarks.push(format!("attempt {}", job.attempt));
    }
    remarks.join(", ")
}

fn role(job: Option<&pb::JobLine>) -> String {
    let Some(job) = job else { return String::new() };
    let name = job.role().as_str_name().trim_start_matches("ROLE_").to_lowercase();
    pool_words(&name, &job.pool)
}

fn seconds(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{:.2} s", ms as f64 / 1000.0),
        _ => output::duration(ms / 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(role: pb::Role, issued_ms: u64, started_ms: u64, took_ms: u32) -> pb::JobLine {
        pb::JobLine {
            job: "0123456789abcdef".into(),
            role: role.into(),
            operation: "answer".into(),
            level: 1,
            issued_ms,
            attempt: 1,
            done: Some(pb::JobDone {
                timing: Some(pb::Timing {
                    started_ms,
                    took_ms,
                    model_ms: took_ms / 2,
                }),
                by: Some(pb::Provenance {
                    endpoint: "e".into(),
                    model: "m".into(),
                    ..Default::default()
                }),
                usage: Some(pb::Usage {
                    calls: 1,
                    input_tokens: 900,
                    output_tokens: 100,
                    nano_usd: Some(1_000_000_000),
                    ..Default::default()
                }),
                not_measured: None,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn each_role_has_a_lane_with_its_time_and_money() {
        let jobs = [
            job(pb::Role::Generator, 1_000, 1_100, 400),
            job(pb::Role::Learner, 1_500, 1_600, 400),
            job(pb::Role::Learner, 1_500, 1_700, 300),
        ];
        let text = draw("r1", &jobs, false);
        assert!(text.contains("level 1: 3 jobs, 1.00 s, 3,000 tokens, $3.00"), "{text}");
        let lane = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
        assert!(lane("generator").contains("e/m"), "{text}");
        assert!(lane("learner").contains("0.30 s"), "100 and 200 ms waited: {text}");
        let first = |lane: &str| lane.find('·').unwrap();
        assert!(first(&lane("generator")) < first(&lane("learner")), "{text}");
        assert!(!text.contains("0123456789ab"), "{text}");
        assert!(draw("r1", &jobs, true).contains("0123456789ab"), "a row for each job");
    }

    #[test]
    fn a_price_that_is_unknown_is_a_question_mark_and_not_nothing() {
        let priced = job(pb::Role::Generator, 1_000, 1_100, 400);
        let mut other = job(pb::Role::Learner, 1_500, 1_600, 400);
        if let Some(usage) = other.done.as_mut().and_then(|done| done.usage.as_mut()) {
            usage.nano_usd = None;
        }
        let text = draw("r1", &[priced.clone(), other], false);
        let lane = text.lines().find(|line| line.starts_with("learner")).unwrap();
        assert!(lane.ends_with(" ?") && !lane.contains('$'), "{text}");
        assert!(
            text.contains("$1.00 + ?") && text.contains("?  unknown price"),
            "{text}"
        );
        assert!(!draw("r1", &[priced], false).contains('?'));
    }

    #[test]
    fn a_table_leaves_the_drawing_what_the_terminal_has_left() {
        let jobs = [job(pb::Role::Generator, 1_000, 1_100, 400)];
        let jobs: Vec<&pb::JobLine> = jobs.iter().collect();
        let others = lanes(&jobs, &Scale::of(&jobs, 0)).width();
        assert_eq!(lanes(&jobs, &Scale::of(&jobs, 20)).width(), others + 20);
    }

    #[test]
    fn a_job_in_flight_waits_to_the_end_and_costs_nothing_yet() {
        let open = pb::JobLine {
            done: None,
            attempt: 2,
            ..job(pb::Role::Checker, 1_000, 0, 0)
        };
        assert_eq!(remark(&open), "in flight, attempt 2");
        let other = job(pb::Role::Learner, 1_000, 1_000, 800);
        let text = draw("r1", &[open, other], false);
        let lane = text.lines().find(|line| line.starts_with("checker")).unwrap();
        assert_eq!(lane.matches('·').count(), WIDTH, "{text}");
    }

    #[test]
    fn parts_of_a_run_are_named_by_level_or_conclusion() {
        assert_eq!(iteration("3"), Ok(Iteration::Level(3)));
        assert_eq!(iteration("conclusion"), Ok(Iteration::Conclusion));
        assert!(iteration("last").is_err());
    }
}
