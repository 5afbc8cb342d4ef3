//! What the tests of this crate share: a real nats-server, a provider on a real port that does as it is told, a leader, and agents that
//! can be dropped like a killed process.

#![expect(dead_code, reason = "each test file uses its own part")]

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use prost::Message as _;
use serde_json::{Value, json};
use sipdo_agent::role::{Form, InvalidReply, ModelOutput, Overhead, Plan, Request, RoleAgent};
use sipdo_agent::{AgentError, AgentSettings, Patience, serve};
use sipdo_bus::local::{NatsServer, NatsServerOptions};
use sipdo_bus::{Bus, BusSettings, JobId, JobMessage, NewMessage, Published, RunId, RunReader};
use sipdo_domain::{
    Answer, AnswerRequest, Ask, Measured, NotMeasured, Reason, Reply, Role, Solution, SolveRequest, TaskBrief,
};
use sipdo_llm::{Endpoint, Message, ModelSettings, Provider as Api, RetrySettings, Schema};
use sipdo_protocol::{JobOutcome, pb};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);
/// How long a job stays with a process that has died.
pub const ACK_WAIT: Duration = Duration::from_millis(900);

/// Waits until `seen` gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut seen: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = seen().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

// --- the provider

/// What the provider does with a request.
#[derive(Clone, Debug)]
pub enum Mode {
    /// Answers with this text.
    Say(String),
    /// Answers with the first text to the first request, and so on; the last one for ever.
    Script(Vec<String>),
    /// Writes until it is cut off.
    CutOff,
    /// Answers only when the gate is opened, as it is told by then.
    Gate,
    /// Refuses with this status.
    Status(u16),
}

/// An OpenAI-compatible provider on a port of its own.
pub struct Provider {
    pub url: String,
    state: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    mode: Mutex<Mode>,
    asked: Mutex<Vec<Value>>,
    open: watch::Sender<bool>,
}

impl Provider {
    pub async fn start(mode: Mode) -> Self {
        sipdo_llm::install_crypto_provider();
        let state = Arc::new(Shared {
            mode: Mutex::new(mode),
            asked: Mutex::default(),
            open: watch::channel(false).0,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let app = Router::new()
            .route("/v1/chat/completions", post(complete))
            .with_state(Arc::clone(&state));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { url, state, server }
    }

    pub fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
    }

    pub fn open_gate(&self) {
        self.state.open.send_replace(true);
    }

    /// Requests so far, refused ones included.
    pub fn asked(&self) -> Vec<Value> {
        self.state.asked.lock().unwrap().clone()
    }

    pub fn calls(&self) -> usize {
        self.asked().len()
    }

    pub async fn until_asked(&self, times: usize) {
        eventually(&format!("{times} requests"), || async {
            (self.calls() >= times).then_some(())
        })
        .await;
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn complete(State(state): State<Arc<Shared>>, body: axum::Json<Value>) -> Response {
    let number = {
        let mut asked = state.asked.lock().unwrap();
        asked.push(body.0.clone());
        asked.len() - 1
    };
    let told = || state.mode.lock().unwrap().clone();
    let mut mode = told();
    if matches!(mode, Mode::Gate) {
        state.open.subscribe().wait_for(|open| *open).await.unwrap();
        mode = told();
    }
    let (text, finish) = match mode {
        Mode::Say(text) => (text, "stop"),
        Mode::Script(lines) => (lines[number.min(lines.len() - 1)].clone(), "stop"),
        Mode::CutOff => ("and so on and".to_owned(), "length"),
        Mode::Gate => ("from behind the gate".to_owned(), "stop"),
        Mode::Status(status) => {
            let error = json!({"error": {"message": "told to refuse"}});
            return (StatusCode::from_u16(status).unwrap(), axum::Json(error)).into_response();
        }
    };
    axum::Json(json!({
        "id": format!("answer-{number}"),
        "model": match body.0["model"].as_str() {
            Some("dated") => "dated-2026-01-01",
            other => other.unwrap_or_default(),
        },
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 4},
    }))
    .into_response()
}

// --- the roles

/// Answers in free text, as the learner does.
pub struct Plain;

impl RoleAgent for Plain {
    fn role(&self) -> Role {
        Role::Learner
    }

    fn structured(&self) -> bool {
        false
    }

    fn overhead(&self) -> Overhead {
        Overhead::text(0)
    }

    fn plan(&self, ask: &Ask) -> Measured<Plan> {
        let Ask::Answer(AnswerRequest { prompt, input, .. }) = ask else {
            panic!("only answers are asked: {ask:?}")
        };
        let messages = vec![Message::system(prompt), Message::user(input)];
        Ok(Plan::Model(Request {
            messages,
            form: Form::Text,
            temperature: 0.0,
        }))
    }

    fn read(&self, _ask: &Ask, said: ModelOutput) -> Result<Reply, InvalidReply> {
        let ModelOutput::Text(text) = said else {
            panic!("text was asked for")
        };
        Ok(Answer { text }.into())
    }
}

/// Answers with an object, as the checker does, and asks again for what is too long.
pub struct Shaped(Arc<Schema>);

impl Shaped {
    pub fn new() -> Self {
        let json = json!({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]});
        Self(Arc::new(Schema::new("solution", json).unwrap()))
    }
}

impl RoleAgent for Shaped {
    fn role(&self) -> Role {
        Role::Checker
    }

    fn overhead(&self) -> Overhead {
        Overhead::json(0, [self.0.as_ref()])
    }

    fn plan(&self, ask: &Ask) -> Measured<Plan> {
        match ask {
            Ask::Solve(riddle) => Ok(Plan::Model(Request {
                messages: vec![Message::user(&riddle.input)],
                form: Form::Json(Arc::clone(&self.0)),
                temperature: 0.7,
            })),
            Ask::Check(program) => Ok(Plan::Program(program.clone())),
            other => panic!("not for a checker: {other:?}"),
        }
    }

    fn read(&self, _ask: &Ask, said: ModelOutput) -> Result<Reply, InvalidReply> {
        let ModelOutput::Json(value) = said else {
            panic!("an object was asked for")
        };
        let answer = value["answer"].as_str().unwrap().to_owned();
        if answer.len() > 20 {
            let why = NotMeasured::new(Reason::TooLarge, "too long");
            return Err(InvalidReply {
                why,
                ask_again: Some("Shorter, please.".to_owned()),
            });
        }
        Ok(Solution {
            working: String::new(),
            answer,
        }
        .into())
    }
}

// --- the world

/// A server, a leader's connection to it, and a folder for spools.
pub struct World {
    pub nats: NatsServer,
    pub bus: Bus,
    pub folder: TempDir,
}

impl World {
    pub async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut NatsServerOptions)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = NatsServerOptions::new(folder.path().join("nats"));
        change(&mut options);
        let nats = NatsServer::start(options).await.unwrap();
        let bus = Bus::connect(BusSettings {
            ack_wait: ACK_WAIT,
            ..BusSettings::new(nats.url())
        })
        .await
        .unwrap();
        bus.ensure_streams().await.unwrap();
        Self { nats, bus, folder }
    }

    /// Settings of an agent of `role` at `provider`, with a spool of its own name.
    pub fn settings(&self, role: Role, provider: &Provider, spool: &str) -> AgentSettings {
        settings(&self.nats.url(), &self.folder.path().join(spool), role, &provider.url)
    }

    /// Publishes a job, attempt by attempt, and says where its result will be.
    pub async fn publish(&self, job: &Job) {
        let Job {
            run,
            ask,
            attempt,
            sample,
            seed,
            model,
            repeat,
            max_calls,
            reuse,
        } = job.clone();
        let role = sipdo_bus::Role::new(ask.role().name()).unwrap();
        let id = job.id();
        let wire = pb::Job {
            run: run.clone(),
            job: id.clone(),
            attempt,
            epoch: 1,
            sample,
            seed,
            model,
            ask: Some(ask.into()),
            max_calls,
            at_most: None,
            reuse,
        };
        let message = JobMessage {
            role,
            suspect: false,
            run: RunId::new(&run).unwrap(),
            job: JobId::new(&id).unwrap(),
            attempt,
            epoch: 1,
            repeat,
            message: NewMessage::encode(&wire, "job.v1"),
        };
        let published = self.bus.publish_job(message).await.unwrap().settled().await.unwrap();
        assert_eq!(published, Published::Queued);
    }

    pub async fn result_now(&self, job: &Job) -> Option<JobOutcome> {
        let (run, role, id) = job.place();
        let stored = self.bus.result(&run, &role, &id).await.ok()??;
        Some(JobOutcome::try_from(pb::JobResult::decode(stored.payload).unwrap()).unwrap())
    }

    pub async fn result(&self, job: &Job) -> JobOutcome {
        eventually("a result", || self.result_now(job)).await
    }

    /// Waits until the agents that are there have settled `done` deliveries, and finds no other left in the queue of the run.
    pub async fn until_done(&self, job: &Job, done: u64) {
        eventually(&format!("{done} deliveries done"), || async {
            let cards = self.cards().await;
            assert!(cards.iter().map(|card| card.done).sum::<u64>() <= done, "{cards:?}");
            (cards.iter().map(|card| card.done).sum::<u64>() == done).then_some(())
        })
        .await;
        let (run, _, _) = job.place();
        assert_eq!(self.bus.purge_jobs(&run).await.unwrap(), 0, "every job is acknowledged");
    }

    /// Waits for the record of a lost attempt.
    pub async fn lost(&self, job: &Job) -> pb::AttemptLost {
        let (run, role, id) = job.place();
        let mut reader = RunReader::open(&self.bus, &run, 0).await.unwrap();
        let wanted = sipdo_bus::RunSubject::Lost {
            role,
            job: id,
            n: job.attempt,
        };
        let search = async {
            loop {
                let chunk = reader.next_chunk().await.unwrap();
                if let Some(found) = chunk.messages.into_iter().find(|message| message.kind == wanted) {
                    return pb::AttemptLost::decode(found.payload).unwrap();
                }
            }
        };
        tokio::time::timeout(DEADLINE, search)
            .await
            .expect("a lost attempt is reported")
    }

    pub async fn cards(&self) -> Vec<pb::AgentStatus> {
        let cards = self.bus.roll_call(Duration::from_millis(150)).await.unwrap_or_default();
        cards
            .into_iter()
            .map(|card| pb::AgentStatus::decode(card).unwrap())
            .collect()
    }

    /// Leaves the record of an attempt by a process that is gone.
    pub async fn attempt_by_the_dead(&self, job: &Job) {
        let (run, role, id) = job.place();
        let attempt = pb::Attempt {
            agent: "learner-dead".to_owned(),
            at_ms: 1,
        };
        let message = NewMessage::encode(&attempt, "attempt.v1");
        assert!(
            self.bus
                .create_attempt(&run, &role, &id, job.attempt, message)
                .await
                .unwrap()
                .is_new()
        );
    }
}

pub fn settings(nats_url: &str, spool_dir: &Path, role: Role, provider_url: &str) -> AgentSettings {
    let retry = RetrySettings {
        attempts: 1,
        ..RetrySettings::default()
    };
    let endpoint = Endpoint {
        base_url: Some(provider_url.to_owned()),
        retry,
        prices: BTreeMap::from([("small".to_owned(), price("1", "10"))]),
        ..Endpoint::new(Api::Openai)
    };
    AgentSettings {
        role,
        pool: role.into(),
        bus: BusSettings {
            ack_wait: ACK_WAIT,
            settle_within: Duration::from_secs(2),
            ..BusSettings::new(nats_url)
        },
        endpoints: BTreeMap::from([("main".to_owned(), endpoint)]),
        model: ModelSettings::new("main", "small"),
        slots: 4,
        programs: BTreeMap::new(),
        admin_listen: ([127, 0, 0, 1], 0).into(),
        admin_port_file: None,
        spool_dir: spool_dir.to_owned(),
        grace: Duration::from_secs(10),
    }
}

fn price(input: &str, output: &str) -> sipdo_llm::Price {
    sipdo_llm::Price {
        input_per_million: input.parse().unwrap(),
        output_per_million: output.parse().unwrap(),
        cached_input_per_million: None,
        cache_write_input_per_million: None,
    }
}

/// A job as a leader would publish it.
#[derive(Clone, Debug)]
pub struct Job {
    pub run: String,
    pub ask: Ask,
    pub attempt: u32,
    pub sample: u32,
    pub seed: u64,
    pub model: Option<pb::ModelChoice>,
    pub repeat: u32,
    pub max_calls: u32,
    pub reuse: Option<pb::Reuse>,
}

impl Job {
    fn new(run: &str, ask: Ask) -> Self {
        Self {
            run: run.to_owned(),
            ask,
            attempt: 1,
            sample: 0,
            seed: 7,
            model: None,
            repeat: 0,
            max_calls: 3,
            reuse: None,
        }
    }

    pub fn answer(run: &str, input: &str) -> Self {
        Self::new(
            run,
            Ask::Answer(AnswerRequest {
                prompt: "Be brief.".to_owned(),
                input: input.to_owned(),
                ..AnswerRequest::default()
            }),
        )
    }

    pub fn solve(run: &str, input: &str) -> Self {
        Self::new(
            run,
            Ask::Solve(SolveRequest {
                task: TaskBrief::default(),
                input: input.to_owned(),
                pool: String::new(),
            }),
        )
    }

    pub fn id(&self) -> String {
        sipdo_protocol::job_id(&self.run, &self.ask.clone().into(), self.sample)
    }

    pub fn place(&self) -> (RunId, sipdo_bus::Role, JobId) {
        let role = sipdo_bus::Role::new(self.ask.role().name()).unwrap();
        (RunId::new(&self.run).unwrap(), role, JobId::new(self.id()).unwrap())
    }
}

// --- agents

/// An agent at work in this process. Dropped, it is gone like a killed process.
pub struct Running {
    task: JoinHandle<Result<(), AgentError>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    pub fn start(settings: AgentSettings, role: Box<dyn RoleAgent>) -> Self {
        let patience = Patience {
            failures: 2,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_millis(200),
            hold: Duration::from_secs(60),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(settings, role, patience, async {
            let _ = stopped.await;
        }));
        Self { task, stop: Some(stop) }
    }

    /// What SIGTERM does.
    pub fn terminate(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for the end.
    pub async fn ended(mut self) -> Result<(), AgentError> {
        tokio::time::timeout(DEADLINE, &mut self.task)
            .await
            .expect("the agent ends")
            .unwrap()
    }

    /// What `kill -9` does.
    pub async fn kill(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}
