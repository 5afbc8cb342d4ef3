//! What a coordinator lets be seen of a run: a span for each iteration, which is the root of a trace, one for each published
//! job, and what the strategy emits as events and counts. `docs/telemetry.md` is the specification.
//!
//! A trace is an iteration and not a run, because backends suffer from traces of hours. The root's place goes into the
//! header of every entry of the journal: whoever takes the run over goes on in the same trace.

use crate::run_state::RunState;
use sipdo_bus::{BusError, CreateRunError, Published, now_ms};
use sipdo_domain::{Role, outcome::ARMS};
use sipdo_protocol::pb::{self, log_event::Event, run_event::Event as RunEvent};
use sipdo_telemetry::budget::Budget;
use sipdo_telemetry::span::{Attribute, Kind, attribute};
use sipdo_telemetry::{Span, Start, Trace, metrics, names, recording};
use std::time::{Duration, Instant};

/// A root with this many jobs gets a successor, so that a trace stays small enough for its readers.
const JOBS_PER_TRACE: usize = 1_000;

/// What is seen of one run by its leader.
pub(crate) struct Observer {
    run: String,
    epoch: u64,
    root: Root,
    /// Whether a root was begun here; before that, one is inherited or begun.
    begun: bool,
    budget: Budget,
}

#[derive(Default)]
struct Root {
    span: Span,
    phase: &'static str,
    level: u32,
    part: i64,
    jobs: usize,
    since: Option<Instant>,
}

impl Observer {
    /// Of a run that is led in this epoch.
    pub fn new(run: &str, epoch: u64) -> Self {
        metrics::leading(1);
        Observer {
            run: run.to_owned(),
            epoch,
            root: Root::default(),
            begun: false,
            budget: Budget::new(),
        }
    }

    /// What the run has left of its caps.
    pub fn report_budget(&self, state: &RunState) {
        let (cap, spent) = (state.ledger.cap(), state.ledger.spent());
        let seconds = now_ms().saturating_sub(state.summary.created_ms) / 1000;
        let caps = [
            (cap.calls, spent.calls),
            (cap.tokens, spent.tokens),
            (cap.nano_usd, spent.nano_usd),
            (cap.seconds, seconds),
        ];
        let share = |(cap, used): (Option<u64>, u64)| cap.map(|cap| 1.0 - used.min(cap) as f64 / cap.max(1) as f64);
        self.budget.left(caps.map(share));
    }

    /// These events are about to be appended. A new root begins with a level, with the conclusion, and where the old one is full.
    pub fn deciding(&mut self, events: &[pb::LogEvent], state: &RunState) {
        let issued = count_issued(events);
        match boundary(events) {
            Some((phase, level)) => self.begin(phase, level, 1, state),
            None if !self.begun => self.go_on(state),
            None if self.root.jobs >= JOBS_PER_TRACE => {
                let Root { phase, level, part, .. } = self.root;
                self.begin(phase, level, part + 1, state);
            }
            None => {}
        }
        self.root.jobs += issued;
    }

    /// These events are stored: they happened.
    pub fn decided(&self, events: &[pb::LogEvent]) {
        for event in events.iter().filter_map(|event| event.event.as_ref()) {
            match event {
                Event::Told(pb::EventRecorded {
                    telling: Some(pb::RunEvent { event: Some(run_event) }),
                    ..
                }) => self.emitted(run_event),
                Event::Ended(ended) => self.ended(ended),
                _ => {}
            }
        }
    }

    /// The place of the iteration, for the header of an entry and as parent of what belongs to it.
    pub fn trace(&self) -> Trace {
        self.root.span.trace()
    }

    /// A job is about to be published, in the iteration that issued it.
    pub fn publishing(
        &self,
        job: &str,
        role: Role,
        operation: &'static str,
        attempt: u32,
        issued_in: &Trace,
    ) -> Sending {
        let role = role.name();
        let parent = if issued_in.is_none() {
            self.trace()
        } else {
            issued_in.clone()
        };
        let span = if recording() {
            self.publish_span(job, role, operation, attempt, &parent)
        } else {
            Span::none()
        };
        Sending {
            span,
            role,
            clock: Instant::now(),
        }
    }

    fn publish_span(
        &self,
        job: &str,
        role: &'static str,
        operation: &'static str,
        attempt: u32,
        parent: &Trace,
    ) -> Span {
        let of_role = names::of_role(role);
        Start::new(of_role.publish_job, Kind::Producer, &self.run)
            .parent(parent)
            .with(names::MESSAGING_SYSTEM, names::NATS)
            .with(names::MESSAGING_OPERATION_NAME, "publish")
            .with(names::MESSAGING_OPERATION_TYPE, "send")
            .with(names::MESSAGING_DESTINATION, of_role.jobs)
            .with(names::MESSAGING_TEMPLATE, of_role.jobs_template)
            .with(names::MESSAGING_MESSAGE_ID, job)
            .with_run(names::MESSAGING_CONVERSATION_ID)
            .with(names::JOB_ID, job)
            .with(names::ROLE, role)
            .with(names::OPERATION, operation)
            .with(names::ATTEMPT, i64::from(attempt))
            .with(names::ITERATION, i64::from(self.root.level))
            .with(names::EPOCH, signed(self.epoch))
            .start()
    }

    /// An attempt was lost with its agent.
    pub fn lost(&self, job: &str) {
        self.event(names::EVENT_LOST, || vec![attribute(names::JOB_ID, job)]);
    }

    /// Another coordinator leads the run now, or this one ends: what is seen of the run ends here.
    fn close(&mut self) {
        let root = std::mem::take(&mut self.root);
        if let Some(since) = root.since {
            metrics::iteration(root.phase, since.elapsed());
        }
        root.span.end();
    }

    fn begin(&mut self, phase: &'static str, level: u32, part: i64, state: &RunState) {
        let before = if self.begun { self.trace() } else { state.trace.clone() };
        self.close();
        self.start(phase, level, part, |start| start.link(&before));
    }

    /// Goes on with what another leader, or nobody, has begun.
    fn go_on(&mut self, state: &RunState) {
        let phase = if state.concluding() { CONCLUSION } else { LEVELS };
        let level = state.summary.level;
        // The entry that created the run names the call of the API: a trace of its own, to link to.
        if self.epoch > 1 && !state.trace.is_none() {
            self.start(phase, level, 1, |start| {
                start.parent(&state.trace).with(names::TAKEOVER, true)
            });
        } else {
            self.start(phase, level, 1, |start| start.link(&state.trace));
        }
    }

    fn start(&mut self, phase: &'static str, level: u32, part: i64, place: impl FnOnce(Start) -> Start) {
        self.begun = true;
        let span = if recording() {
            let start = Start::new(names::SPAN_ITERATION, Kind::Internal, &self.run)
                .with(names::GEN_AI_OPERATION, "invoke_workflow")
                .with(names::GEN_AI_WORKFLOW, "sipdo")
                .with(names::ITERATION, i64::from(level))
                .with(names::PHASE, phase)
                .with(names::PART, part)
                .with(names::EPOCH, signed(self.epoch));
            place(start).start()
        } else {
            Span::none()
        };
        self.root = Root {
            span,
            phase,
            level,
            part,
            jobs: 0,
            since: Some(Instant::now()),
        };
    }

    fn emitted(&self, run_event: &RunEvent) {
        match run_event {
            RunEvent::ExampleJudged(example) => self.example(example),
            RunEvent::CandidateJudged(prompt) => self.candidate(prompt),
            RunEvent::ExampleQuarantined(set_aside) => {
                metrics::example("quarantined");
                let id = || vec![attribute(names::EXAMPLE_ID, &set_aside.example)];
                self.event(names::EVENT_QUARANTINED, id);
            }
            RunEvent::Challenged(challenged) => self.evaluation("challenge", mark(challenged.mark.as_ref()), || {
                vec![
                    attribute(names::EXAMPLE_ID, &challenged.example),
                    attribute(names::PROMPT_VERSION, challenged.version.to_string()),
                ]
            }),
            RunEvent::Scored(scored) => self.score(&scored.set, scored.score.as_ref()),
            RunEvent::ArmMeasured(arm) => self.score(&arm.name, arm.score.as_ref()),
            RunEvent::Warning(_) => self.event(names::EVENT_WARNING, Vec::new),
            RunEvent::LevelBegun(_) | RunEvent::ErrorsAnalysed(_) | RunEvent::Corrected(_) => {}
        }
    }

    fn example(&self, example: &pb::SyntheticExample) {
        let id = || attribute(names::EXAMPLE_ID, example.example.as_ref().map_or("", |it| &it.id));
        for vote in &example.votes {
            self.evaluation("vote", mark(vote.supports.as_ref()), || {
                let by = vote.by.clone().unwrap_or_default();
                vec![
                    id(),
                    attribute(names::VOTER, voter(vote.voter())),
                    attribute(names::GEN_AI_REQUEST_MODEL, by.model),
                    attribute(names::ENDPOINT, by.endpoint),
                ]
            });
        }
        let decision = example.decision.clone().unwrap_or_default();
        let verdict = match decision.kind() {
            pb::decision::Kind::Accepted => "accepted",
            pb::decision::Kind::Rejected => "rejected",
            pb::decision::Kind::SetAside | pb::decision::Kind::Unspecified => "set_aside",
        };
        metrics::example(verdict);
        self.event(names::EVENT_EXAMPLE, || {
            vec![
                id(),
                attribute(names::VERDICT, verdict),
                attribute(names::REFUSED_BY, &decision.by),
            ]
        });
    }

    fn candidate(&self, prompt: &pb::Prompt) {
        let accepted = prompt.standing() == pb::prompt::Standing::Accepted;
        let verdict = if accepted { "accepted" } else { "rejected" };
        metrics::candidate(verdict);
        let version = || attribute(names::PROMPT_VERSION, prompt.version.to_string());
        self.evaluation("confirmation", if accepted { "pass" } else { "fail" }, || {
            vec![version(), attribute(names::REFUSED_BY, &prompt.stage)]
        });
        self.event(names::EVENT_CANDIDATE, || {
            vec![
                version(),
                attribute(names::VERDICT, verdict),
                attribute(names::REFUSED_BY, &prompt.stage),
            ]
        });
    }

    fn score(&self, what: &str, score: Option<&pb::Score>) {
        let Some(score) = score else { return };
        let measured = score.right + score.wrong;
        let share = f64::from(score.right) / f64::from(measured.max(1));
        let what = scored(what);
        if measured > 0 {
            metrics::score(what, share);
        }
        self.evaluation("score", if measured > 0 { "pass" } else { "abstain" }, || {
            vec![
                attribute(names::SCORED, what),
                attribute(names::EVALUATION_VALUE, share),
                attribute(names::RIGHT, i64::from(score.right)),
                attribute(names::WRONG, i64::from(score.wrong)),
                attribute(names::NOT_MEASURED, i64::from(score.not_measured)),
            ]
        });
    }

    fn ended(&self, ended: &pb::Ended) {
        let state = ended.state().as_str_name().trim_start_matches("STATE_").to_lowercase();
        metrics::run_ended(&state);
        if ended.state() == pb::State::Failed {
            self.root.span.fail("run_failed");
        }
        self.root.span.set(names::STATE, state);
    }

    fn evaluation(&self, name: &'static str, label: &'static str, more: impl FnOnce() -> Vec<Attribute>) {
        self.event(names::EVENT_EVALUATION, || {
            let mut all = vec![
                attribute(names::EVALUATION_NAME, name),
                attribute(names::EVALUATION_LABEL, label),
            ];
            all.extend(more());
            all
        });
    }

    fn event(&self, name: &'static str, attributes: impl FnOnce() -> Vec<Attribute>) {
        if !self.root.span.is_none() {
            self.root.span.event(name, attributes());
        }
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.close();
        metrics::leading(-1);
    }
}

const LEVELS: &str = "levels";
const CONCLUSION: &str = "conclusion";
/// Sets of examples that a strategy scores a prompt on.
const SETS: [&str; 2] = ["train", "test"];

/// A job on its way to the server.
pub(crate) struct Sending {
    span: Span,
    role: &'static str,
    clock: Instant,
}

impl Sending {
    /// The place that the job's message carries: the creation context of all that is done for it.
    pub fn trace(&self) -> Trace {
        self.span.trace()
    }

    /// The server has said what became of it.
    pub fn settled(self, published: &Result<Published, BusError>) {
        let (outcome, error) = match published {
            Ok(Published::Queued) => ("queued", None),
            Ok(Published::Repeated) => ("repeated", None),
            Ok(Published::WindowFull) => ("window_full", None),
            Err(BusError::Unsettled { .. }) => ("unsettled", Some("timeout")),
            Err(_) => ("refused", Some("refused")),
        };
        metrics::job_sent(self.role, self.clock.elapsed(), error);
        self.span.set(names::PUBLISHED, outcome);
        if let Some(error) = error {
            self.span.fail(error);
        }
    }
}

/// A call of the API that makes a run.
pub(crate) fn creating(run: &str, strategy: &str, task: &str) -> Span {
    if !recording() {
        return Span::none();
    }
    Start::new(names::SPAN_CREATE_RUN, Kind::Server, run)
        .with(names::RPC_SYSTEM, "grpc")
        .with(names::RPC_METHOD, names::SPAN_CREATE_RUN)
        .with(names::STRATEGY, strategy)
        .with(names::TASK, task)
        .start()
}

/// The call was answered.
pub(crate) fn created(span: Span, made: &Result<u64, CreateRunError>, took: Duration) {
    let status = match made {
        Ok(_) => "OK",
        Err(CreateRunError::Exists { .. }) => "ALREADY_EXISTS",
        Err(_) => "UNAVAILABLE",
    };
    metrics::rpc(names::SPAN_CREATE_RUN, took, status);
    span.set(names::RPC_STATUS, status);
    if status == "UNAVAILABLE" {
        span.fail(status);
    }
    span.end();
}

/// The level or conclusion that these events begin.
fn boundary(events: &[pb::LogEvent]) -> Option<(&'static str, u32)> {
    events.iter().rev().find_map(|event| match event.event.as_ref()? {
        Event::Concluding(_) => Some((CONCLUSION, 0)),
        Event::Told(recorded) => match recorded.telling.as_ref()?.event.as_ref()? {
            RunEvent::LevelBegun(begun) => Some((LEVELS, begun.level)),
            _ => None,
        },
        _ => None,
    })
}

/// What was scored, as metrics name it: a set of examples or an arm. A prompt's own name may be anything.
fn scored(what: &str) -> &'static str {
    let mut known = SETS.into_iter().chain(ARMS);
    known.find(|known| *known == what).unwrap_or("other")
}

fn count_issued(events: &[pb::LogEvent]) -> usize {
    events
        .iter()
        .filter(|event| matches!(event.event, Some(Event::Issued(_))))
        .count()
}

fn mark(mark: Option<&pb::Mark>) -> &'static str {
    match mark.and_then(|mark| mark.mark.as_ref()) {
        Some(pb::mark::Mark::Right(true)) => "pass",
        Some(pb::mark::Mark::Right(false)) => "fail",
        Some(pb::mark::Mark::NotMeasured(_)) | None => "abstain",
    }
}

fn voter(voter: pb::vote::Voter) -> &'static str {
    match voter {
        pb::vote::Voter::Generator => "generator",
        pb::vote::Voter::Checker => "checker",
        pb::vote::Voter::Verifier => "verifier",
        pb::vote::Voter::Program | pb::vote::Voter::Unspecified => "program",
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_arm_of_a_conclusion_is_scored_under_its_own_name() {
        assert_eq!(ARMS.map(scored), ARMS);
        assert_eq!(SETS.map(scored), SETS);
        assert_eq!(scored("a prompt of the user's"), "other");
    }
}
