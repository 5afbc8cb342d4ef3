//! What stays in memory of each job that is done, in a leader and in its strategy. Alone in its process, since it reads how much
//! memory that has.

use sipdo_coordinator::{
    port::{BusAgents, Command},
    roster::Roster,
    run_state::RunState,
    scheduler::Scheduler,
};
use sipdo_domain::{Example, Metric, Role, Task, TaskBrief, task::TaskGates};
use sipdo_protocol::pb;
use std::{
    collections::BTreeMap,
    fs,
    pin::pin,
    task::{Context, Waker},
};

const WINDOW: usize = 64;
/// Jobs of the run, and after how many of them tables and allocator are taken to have found their size.
const JOBS: u32 = 20_000;
const WARM: u32 = 5_000;
/// Bytes of an answer.
const ANSWER: usize = 1_500;
/// Bytes that may stay of a job: its id, the place of its result, how long its calls took, and whether its answer was right.
const MOST: u64 = 200;

/// Resident memory of this process in bytes; none where the system does not say.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// A run under its leader.
struct LeaderExit {
    state: RunState,
    scheduler: Scheduler,
    sequence: u64,
    done: u32,
}

impl LeaderExit {
    fn take(&mut self, command: Command) {
        match command {
            Command::Ask(request) => self.scheduler.ask(request, &self.state),
            Command::Emit(_, done) | Command::Conclude(done) => drop(done.send(Ok(()))),
        }
    }

    /// Issues what the window allows, and answers it.
    fn work(&mut self, roster: &Roster) {
        let plan = self.scheduler.plan(&mut self.state, roster, &BTreeMap::new());
        self.sequence += 1;
        let entry = pb::Entry {
            events: plan.events,
            ..Default::default()
        };
        self.state.apply_entry(self.sequence, &entry);
        for job in plan.publish {
            self.sequence += 1;
            self.done += 1;
            let result = result(&job.job);
            assert!(self.state.apply_result(self.sequence, &result));
            self.scheduler.settled(result);
        }
    }
}

fn result(job: &str) -> pb::JobResult {
    let text = format!("{}\n\nAnswer: b", "a".repeat(ANSWER));
    let answer = pb::reply::Reply::Answer(pb::Answer { text });
    pb::JobResult {
        job: job.into(),
        attempt: 1,
        finding: Some(pb::job_result::Finding::Reply(pb::Reply { reply: Some(answer) })),
        usage: Some(pb::Usage {
            calls: 1,
            ..Default::default()
        }),
        by: Some(pb::Provenance {
            endpoint: "e".into(),
            model: "m".into(),
            ..Default::default()
        }),
        timing: Some(pb::Timing {
            model_ms: 7,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn task() -> Task {
    let example = |n: u32| Example {
        id: n.to_string(),
        input: n.to_string(),
        target: "b".into(),
        aliases: Vec::new(),
    };
    Task {
        name: "t".into(),
        brief: TaskBrief::default(),
        prompt: "p".into(),
        metric: Metric::exact(),
        train: Vec::new(),
        test: (0..JOBS).map(example).collect(),
        gates: TaskGates::default(),
        corpus: Vec::new(),
        seed: 1,
        accept: None,
        form: sipdo_domain::PromptForm::default(),
    }
}

#[test]
fn next_to_nothing_stays_of_a_job_that_is_done() {
    if resident().is_none() {
        println!("skipped: this system does not tell how much memory a process has");
        return;
    }
    let status = pb::AgentStatus {
        role: Role::Learner.name().into(),
        ..Default::default()
    };
    let (task, options, roster) = (task(), serde_json::Value::Null, Roster::new(vec![status]));
    let (agents, mut commands) = BusAgents::new("r");
    let mut strategy = pin!(sipdo_strategies::run("eval", &options, &task, &agents));
    let mut led = LeaderExit {
        state: RunState::new("r"),
        scheduler: Scheduler::new(WINDOW),
        sequence: 0,
        done: 0,
    };
    let mut warm = None;
    while strategy
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
    {
        while let Ok(command) = commands.try_recv() {
            led.take(command);
        }
        led.work(&roster);
        if led.done >= WARM && warm.is_none() {
            warm = resident().zip(Some(led.done));
        }
    }
    let (before, at) = warm.unwrap();
    assert_eq!(led.done, JOBS);
    let each = resident().unwrap().saturating_sub(before) / u64::from(JOBS - at);
    println!("{each} bytes stay of each of {JOBS} jobs with answers of {ANSWER} bytes");
    assert!(each < MOST, "{each} bytes stay of every job");
}
