//! `sipdo.v1.RunService`: any coordinator answers for any run, because all of a run is in its stream.

mod request;
mod watch;

use crate::{
    admission, archive,
    context::{Context, roll_call},
    dead_letters,
    follow::Followed,
    jobs, models, observe,
    refusal::{bad_request, exists, internal, not_found, not_taken, precondition, unavailable},
    room,
    run_state::{RunState, created, is_end},
    run_view::RunView,
    view,
};
use futures::stream::BoxStream;
use prost::Message as _;
use sipdo_bus::{CreateRunError, NewMessage, RunId, now_ms};
use sipdo_domain::{Budget, Task};
use sipdo_protocol::{pb, pb::log_event::Event, pb::run_service_server::RunService, run_id, schema};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tonic::{Request, Response, Status};

use request::{
    asks_the_same, most_calls, options, page_position, parse, pools, position, resolved, reuse, strategy, words,
};
use watch::watch;

/// Runs on a page, by default and at most.
const PAGE: usize = 50;
const LARGEST_PAGE: usize = 500;
/// How long a request for more budget waits for the run to go on.
const REVIVAL: Duration = Duration::from_secs(5);
/// Dead letters that are shown with a run.
const LETTERS: usize = 3;

/// The service of one coordinator.
#[derive(Clone)]
pub struct Runs {
    context: Context,
    want: mpsc::UnboundedSender<RunId>,
}

type Answer<T> = Result<Response<T>, Status>;

impl Runs {
    /// A service that hands new runs to its own supervisor.
    pub fn new(context: Context, want: mpsc::UnboundedSender<RunId>) -> Self {
        Runs { context, want }
    }

    /// A run up to date.
    async fn open(&self, run: &RunId) -> Result<Arc<Followed<RunView>>, Status> {
        let followed = self.context.runs.open(run).await.map_err(unavailable)?;
        followed
            .filter(|followed| followed.read(|view| view.state.created.is_some()))
            .ok_or_else(|| not_found("run", run.as_str()))
    }

    /// A run as it is shown, with what it waits for at this moment.
    fn shown(&self, followed: &Followed<RunView>) -> pb::Run {
        let mut run = followed.read(|view| view::run(&view.state));
        if let Some(summary) = &mut run.summary {
            self.tell_what_no_journal_says(summary);
        }
        run
    }

    /// What holds at this moment, and only as this process sees it.
    fn tell_what_no_journal_says(&self, summary: &mut pb::Summary) {
        room::show_waiting(&self.context, summary);
        summary.left = self.context.is_left(summary);
    }

    async fn task_of(&self, created: &pb::Created) -> Result<pb::Task, Status> {
        let bytes = self.context.bus.task(&created.task_hash).await.map_err(unavailable)?;
        let bytes = bytes.ok_or_else(|| internal("the store does not hold the run's task any more"))?;
        pb::Task::decode(bytes).map_err(internal)
    }

    /// The user's own prompt. No event tells it: it is part of the task.
    async fn seed_of(&self, followed: &Followed<RunView>) -> Result<pb::Prompt, Status> {
        let created = followed.read(|view| view.state.created.clone()).unwrap_or_default();
        let task = self.task_of(&created).await?;
        Ok(sipdo_domain::Prompt::seed(task.prompt).into())
    }

    /// Checks everything that can be known before a run exists; gives its task, and what is doubtful.
    async fn check(&self, request: &pb::CreateRunRequest) -> Result<(Task, Vec<String>), Status> {
        if request.request_id.is_empty() && !request.validate_only {
            return Err(bad_request(
                "REQUEST_ID_MISSING",
                "request_id",
                "send a UUID, so that the call can be repeated safely",
            ));
        }
        let task = request
            .task
            .clone()
            .ok_or_else(|| bad_request("TASK_MISSING", "task", "a task is needed"))?;
        let task = Task::try_from(task).map_err(|error| bad_request("TASK_INVALID", "task", error.to_string()))?;
        if let Some(accept) = &task.accept {
            let checked = accept.check().and_then(|()| accept.check_labels(&task.brief.labels));
            checked.map_err(|error| bad_request("TASK_INVALID", "task.accept_json", error))?;
        }
        let options = options(&request.options_json)?;
        let strategy = strategy(request);
        sipdo_strategies::check_options(strategy, &options)
            .map_err(|error| bad_request("OPTIONS_INVALID", "options_json", error))?;
        let budget = request.budget.map(Budget::from).unwrap_or_default();
        let Some(forecast) = sipdo_strategies::forecast(&task, strategy, &options) else {
            return Ok((task, Vec::new()));
        };
        let least: u64 = forecast.least.values().sum();
        if let Some(cap) = budget.calls.filter(|cap| *cap < least) {
            let why = format!(
                "{cap} calls are too few for even the baselines and one level: the least that works is {least}"
            );
            return Err(bad_request("BUDGET_TOO_SMALL", "budget.calls", why));
        }
        let pools = pools(&forecast, &options);
        let asked = admission::asked(&forecast, &pools);
        let roster = models::present_of(&self.context, &asked).await?;
        admission::check(request, &task, &forecast, &budget, &roster, &pools)?;
        let judged = task.metric.needs_judge();
        let doubts = models::check_run(&self.context, &roster, request, &pools, judged).await?;
        Ok((task, doubts))
    }

    /// Waits until an ended run goes on: who looks at once, or takes the coordinator down, must not find it ended.
    async fn until_revived(&self, run: &RunId) -> Result<(), Status> {
        let followed = self.open(run).await?;
        let mut read = followed.progress();
        let revived = async { while followed.read(|view| view.state.ended()) && read.changed().await.is_ok() {} };
        // Where it takes longer it is taken up all the same, by this process or the next.
        drop(tokio::time::timeout(REVIVAL, revived).await);
        Ok(())
    }

    async fn control(&self, run: &str, mut control: pb::Control) -> Answer<pb::ControlRunResponse> {
        let id = parse(run)?;
        if control.kind() == pb::control::Kind::Unspecified {
            return Err(bad_request(
                "KIND_MISSING",
                "control.kind",
                "name the request: cancel, stop, pause, resume or set budget",
            ));
        }
        let Some(last) = self.context.bus.last_log(&id).await.map_err(unavailable)? else {
            return Err(not_found("run", run));
        };
        let summary = pb::Entry::decode(last.payload)
            .map_err(internal)?
            .summary
            .unwrap_or_default();
        let revives = control.kind() == pb::control::Kind::SetBudget && summary.state() == pb::State::BudgetExhausted;
        if is_end(summary.state()) && !revives {
            let why = format!("run {run} has ended ({})", words(summary.state()));
            return Err(precondition("RUN_ENDED", why));
        }
        let left = self.context.is_left(&summary);
        if control.kind() == pb::control::Kind::Continue && !left {
            let why = format!("run {run} is led already: what it was asked stays asked");
            return Err(precondition("RUN_LED", why));
        }
        if control.id.is_empty() {
            control.id = uuid::Uuid::now_v7().to_string();
        }
        // More budget alone is no wish that it goes on now.
        let takes_up = revives || (left && control.kind() != pb::control::Kind::SetBudget);
        let message = NewMessage::encode(&control, schema::CONTROL);
        self.context
            .bus
            .control(&id, message, &control.id)
            .await
            .map_err(not_taken)?;
        if takes_up {
            // Here, and not only where the supervisor takes it: until then another look would call it left.
            self.context.led.add(id.clone());
            drop(self.want.send(id.clone()));
        }
        if revives {
            self.until_revived(&id).await?;
        }
        Ok(Response::new(pb::ControlRunResponse {}))
    }
}

#[tonic::async_trait]
impl RunService for Runs {
    async fn create_run(&self, request: Request<pb::CreateRunRequest>) -> Answer<pb::Run> {
        let request = request.into_inner();
        let (task, warnings) = self.check(&request).await?;
        if request.validate_only {
            return Ok(Response::new(pb::Run {
                warnings,
                ..Default::default()
            }));
        }
        let run = parse(&run_id(&request.request_id))?;
        let bytes = request.task.clone().unwrap_or_default().encode_to_vec();
        // A call that is repeated gets the run that it made, whatever there is room for now.
        if self.context.bus.first_log(&run).await.map_err(unavailable)?.is_none() {
            room::demand(&self.context, bytes.len() as u64).await?;
        }
        let task_hash = self.context.bus.put_task(&bytes).await.map_err(not_taken)?;
        let created_ms = now_ms();
        let new = pb::Created {
            task_hash,
            strategy: strategy(&request).to_owned(),
            options_json: request.options_json.clone(),
            budget: request.budget,
            models: request.models.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            warnings,
            resolved_options_json: resolved(&request)?,
            reuse: Some(reuse(&request, created_ms)),
            most_calls: most_calls(&task, &request),
        };
        let mut state = RunState::new(run.as_str());
        state.summary.task.clone_from(&task.name);
        let mut entry = pb::Entry {
            run: run.as_str().into(),
            at_ms: created_ms,
            epoch: 0,
            events: vec![pb::LogEvent {
                event: Some(Event::Created(new.clone())),
            }],
            summary: None,
        };
        state.apply_entry(0, &entry);
        entry.summary = Some(state.summary.clone());
        let span = observe::creating(run.as_str(), strategy(&request), &task.name);
        let clock = std::time::Instant::now();
        let first = NewMessage::encode(&entry, schema::ENTRY).traced(&span.trace());
        let made = self.context.bus.create_run(&run, first).await;
        observe::created(span, &made, clock.elapsed());
        match made {
            Ok(_) => {}
            Err(CreateRunError::Exists { first, .. }) => {
                let first = pb::Entry::decode(first.payload).map_err(internal)?;
                if !created(first).is_some_and(|first| asks_the_same(&first, &new)) {
                    return Err(exists(
                        "the request id was used for a run with another task, strategy, options, budget or models: use a new id",
                    ));
                }
            }
            Err(CreateRunError::Bus(error)) => return Err(not_taken(error)),
        }
        self.context.led.add(run.clone());
        drop(self.want.send(run.clone()));
        Ok(Response::new(self.shown(&*self.open(&run).await?)))
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Answer<pb::Run> {
        let run = parse(&request.into_inner().run)?;
        let followed = self.open(&run).await?;
        let mut shown = self.shown(&followed);
        if shown.outcome.is_none() && !shown.prompts.iter().any(|prompt| prompt.version == 0) {
            shown.prompts.insert(0, self.seed_of(&followed).await?);
        }
        (shown.dead_letters, shown.dead_letters_total) = dead_letters::list(&self.context, Some(&run), LETTERS).await?;
        Ok(Response::new(shown))
    }

    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Answer<pb::ListRunsResponse> {
        let request = request.into_inner();
        let size = match usize::try_from(request.page_size) {
            Ok(0) => PAGE,
            Ok(size) => size.min(LARGEST_PAGE),
            Err(_) => return Err(bad_request("PAGE_SIZE", "page_size", "must be at least 0")),
        };
        let mut runs: Vec<pb::Summary> = self
            .context
            .bus
            .list_runs()
            .await
            .map_err(unavailable)?
            .into_iter()
            .filter_map(|(_, last)| pb::Entry::decode(last.payload).ok()?.summary)
            .collect();
        runs.iter_mut().for_each(|run| self.tell_what_no_journal_says(run));
        runs.sort_by_key(|run| std::cmp::Reverse(position(run)));
        if !request.page_token.is_empty() {
            let after = page_position(&request.page_token)?;
            runs.retain(|run| position(run) < after);
        }
        let more = runs.len() > size;
        runs.truncate(size);
        let last = runs.last().filter(|_| more).map(position);
        let next_page_token = last.map(|(at, run)| format!("{at}.{run}")).unwrap_or_default();
        Ok(Response::new(pb::ListRunsResponse { runs, next_page_token }))
    }

    type WatchRunStream = BoxStream<'static, Result<pb::RunUpdate, Status>>;

    async fn watch_run(&self, request: Request<pb::WatchRunRequest>) -> Answer<Self::WatchRunStream> {
        let request = request.into_inner();
        let run = parse(&request.run)?;
        let followed = self.open(&run).await?;
        let (updates, stream) = mpsc::channel(64);
        let context = self.context.clone();
        tokio::spawn(async move {
            if let Err(error) = watch(&context, &run, &followed, request.after_sequence, &updates).await {
                drop(updates.send(Err(unavailable(format!("{error:#}")))).await);
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(
            stream,
        ))))
    }

    async fn control_run(&self, request: Request<pb::ControlRunRequest>) -> Answer<pb::ControlRunResponse> {
        let request = request.into_inner();
        let control = request.control.ok_or_else(|| {
            bad_request(
                "CONTROL_MISSING",
                "control",
                "name the request: cancel, stop, pause, resume or set budget",
            )
        })?;
        self.control(&request.run, control).await
    }

    async fn list_jobs(&self, request: Request<pb::ListJobsRequest>) -> Answer<pb::ListJobsResponse> {
        let request = request.into_inner();
        let run = parse(&request.run)?;
        Ok(Response::new(jobs::list(&self.context.jobs, &run, &request).await?))
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Answer<pb::ControlRunResponse> {
        let control = pb::Control {
            kind: pb::control::Kind::Cancel.into(),
            ..Default::default()
        };
        self.control(&request.into_inner().run, control).await
    }

    type ExportRunStream = BoxStream<'static, Result<pb::Record, Status>>;

    async fn export_run(&self, request: Request<pb::ExportRunRequest>) -> Answer<Self::ExportRunStream> {
        let run = parse(&request.into_inner().run)?;
        let first = self.context.bus.first_log(&run).await.map_err(unavailable)?;
        let first = first.ok_or_else(|| not_found("run", run.as_str()))?;
        let first = pb::Entry::decode(first.payload).map_err(internal)?;
        let created = created(first).ok_or_else(|| internal("the first entry of the run does not create it"))?;
        let task = self.task_of(&created).await?.encode_to_vec();
        let (records, stream) = mpsc::channel(64);
        let context = self.context.clone();
        tokio::spawn(async move {
            if let Err(error) = archive::send(&context, &run, task, &records).await {
                drop(records.send(Err(unavailable(format!("{error:#}")))).await);
            }
        });
        let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn read_archive(&self, request: Request<tonic::Streaming<pb::Record>>) -> Answer<pb::Run> {
        let mut records = request.into_inner();
        let mut archived = archive::Archived::new();
        while let Some(record) = records.message().await? {
            archived
                .take(record)
                .map_err(|error| bad_request("ARCHIVE_INVALID", "records", format!("{error:#}")))?;
        }
        let state = archived.state();
        let state =
            state.ok_or_else(|| bad_request("ARCHIVE_INVALID", "records", "the run's first entry is not there"))?;
        Ok(Response::new(view::run(&state)))
    }

    async fn delete_run(&self, request: Request<pb::DeleteRunRequest>) -> Answer<pb::DeleteRunResponse> {
        let run = parse(&request.into_inner().run)?;
        if !self.open(&run).await?.read(|view| view.state.ended()) {
            let why = format!("run {run} has not ended: cancel it first");
            return Err(precondition("RUN_NOT_ENDED", why));
        }
        models::forget(&self.context, &run).await?;
        let messages = self.context.bus.delete_run(&run).await.map_err(unavailable)?;
        tracing::info!(%run, messages, "deleted");
        Ok(Response::new(pb::DeleteRunResponse { messages }))
    }

    async fn get_prompt(&self, request: Request<pb::GetPromptRequest>) -> Answer<pb::Prompt> {
        let request = request.into_inner();
        let run = parse(&request.run)?;
        let followed = self.open(&run).await?;
        let (version, found) = followed.read(|view| prompt_of(&view.state, request.version));
        if let Some(prompt) = found {
            return Ok(Response::new(prompt));
        }
        if version == 0 {
            return Ok(Response::new(self.seed_of(&followed).await?));
        }
        Err(not_found("prompt", &format!("v{version} of run {run}")))
    }

    async fn list_agents(&self, request: Request<pb::ListAgentsRequest>) -> Answer<pb::ListAgentsResponse> {
        let wait = match request.into_inner().wait_ms {
            0 => Duration::from_millis(400),
            wait => Duration::from_millis(u64::from(wait).min(10_000)),
        };
        let mut agents = roll_call(&self.context.bus, wait).await.map_err(unavailable)?;
        agents.sort_by(|a, b| (&a.role, &a.agent).cmp(&(&b.role, &b.agent)));
        Ok(Response::new(pb::ListAgentsResponse { agents }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<pb::ListDeadLettersRequest>,
    ) -> Answer<pb::ListDeadLettersResponse> {
        let request = request.into_inner();
        let most = match usize::try_from(request.page_size) {
            Ok(0) | Err(_) => PAGE,
            Ok(size) => size.min(LARGEST_PAGE),
        };
        let run = match request.run.as_str() {
            "" => None,
            run => Some(parse(run)?),
        };
        let (dead_letters, total) = dead_letters::list(&self.context, run.as_ref(), most).await?;
        Ok(Response::new(pb::ListDeadLettersResponse { dead_letters, total }))
    }

    async fn get_storage(&self, _: Request<pb::GetStorageRequest>) -> Answer<pb::Storage> {
        Ok(Response::new(room::show(&self.context).await?))
    }

    async fn set_model(&self, request: Request<pb::SetModelRequest>) -> Answer<pb::SetModelResponse> {
        let response = models::set(&self.context, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn list_models(&self, _: Request<pb::ListModelsRequest>) -> Answer<pb::ListModelsResponse> {
        let models = models::list(&self.context).await?;
        Ok(Response::new(pb::ListModelsResponse { models }))
    }

    async fn list_model_history(
        &self,
        request: Request<pb::ListModelHistoryRequest>,
    ) -> Answer<pb::ListModelHistoryResponse> {
        let response = models::history(&self.context, request.get_ref()).await?;
        Ok(Response::new(response))
    }

    async fn probe_model(&self, request: Request<pb::ProbeModelRequest>) -> Answer<pb::ProbeModelResponse> {
        let response = models::probe(&self.context, request.into_inner()).await?;
        Ok(Response::new(response))
    }
}

/// A version of a run's prompt, or else the best; and what is known of it.
fn prompt_of(state: &RunState, version: Option<u32>) -> (u32, Option<pb::Prompt>) {
    let best = state
        .outcome
        .as_ref()
        .map_or(state.summary.prompt_version, |outcome| outcome.best);
    let version = version.unwrap_or(best);
    let concluded = state.outcome.iter().flat_map(|outcome| &outcome.prompts);
    let mut known = concluded.chain(state.prompts.values());
    (version, known.find(|prompt| prompt.version == version).cloned())
}
