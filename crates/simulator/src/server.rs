//! The HTTP server: OpenAI's endpoints, and a few of our own for tests.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::faults::{Fault, FaultKind, Faults};
use crate::ledger::{End, Ledger, OpenCall};
use crate::listener::{ConnectionHandle, CuttableListener};
use crate::request::ChatRequest;
use crate::roles::{self, Turn};
use crate::settings::Settings;
use crate::wire::{self, Completion};

/// The largest request that is taken, in bytes.
const MAX_REQUEST: usize = 16 << 20;

/// Serves until the future is dropped or fails.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve(settings: Settings, listener: TcpListener) -> io::Result<()> {
    serve_until(settings, listener, std::future::pending()).await
}

/// Serves until `stop` is ready, then ends the open calls in peace.
///
/// # Errors
/// When the listener fails for good.
pub async fn serve_until(
    settings: Settings,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    run(Arc::new(Simulator::new(settings)), listener, stop).await
}

/// Starts a server of its own on a free port of this machine.
///
/// # Errors
/// When no port can be bound.
pub async fn spawn(settings: Settings) -> io::Result<Running> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let simulator = Arc::new(Simulator::new(settings));
    let task = tokio::spawn(run(Arc::clone(&simulator), listener, std::future::pending()));
    Ok(Running {
        address,
        simulator,
        task,
    })
}

/// A server in this process; it stops when this is dropped.
pub struct Running {
    address: SocketAddr,
    simulator: Arc<Simulator>,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL that a client of OpenAI's API is given, ending in `/v1`.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it has answered so far.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.simulator.ledger
    }

    /// Adds faults to the script.
    pub fn add_faults(&self, faults: Vec<Fault>) {
        self.simulator.faults.add(faults);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All state of a server.
struct Simulator {
    settings: Settings,
    ledger: Arc<Ledger>,
    faults: Faults,
    taken: Mutex<VecDeque<Instant>>,
    fingerprint: Arc<str>,
}

impl Simulator {
    fn new(settings: Settings) -> Self {
        Self {
            ledger: Arc::new(Ledger::new(settings.ledger_calls)),
            faults: Faults::new(settings.faults.clone()),
            taken: Mutex::default(),
            fingerprint: settings.fingerprint().into(),
            settings,
        }
    }

    /// Counts a request against the limit of the last minute; beyond it, says after how long one is taken again.
    fn over_limit(&self) -> Option<Duration> {
        let limit = self.settings.limit.requests_per_minute?;
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let minute = Duration::from_secs(60);
        while taken.front().is_some_and(|first| now.duration_since(*first) >= minute) {
            taken.pop_front();
        }
        if taken.len() < limit {
            taken.push_back(now);
            return None;
        }
        Some(
            taken
                .front()
                .map_or(minute, |first| minute.saturating_sub(now.duration_since(*first))),
        )
    }
}

async fn run(
    simulator: Arc<Simulator>,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/models", get(models))
        .route("/healthz", get(async || "ok"))
        .route("/admin/faults", get(script).post(add_faults))
        .route("/admin/ledger", get(ledger))
        .route("/admin/reset", post(reset))
        .fallback(async || wire::error(StatusCode::NOT_FOUND, "there is no such path", "not_found"))
        .layer(DefaultBodyLimit::max(MAX_REQUEST))
        .with_state(simulator);
    let service = router.into_make_service_with_connect_info::<ConnectionHandle>();
    axum::serve(CuttableListener(listener), service)
        .with_graceful_shutdown(stop)
        .await
}

async fn models(State(simulator): State<Arc<Simulator>>, headers: HeaderMap) -> Response {
    if let Some(refusal) = unauthorised(&simulator.settings, &headers) {
        return refusal;
    }
    let models: Vec<Value> = simulator
        .settings
        .model_names()
        .map(|name| json!({"id": name, "object": "model", "created": 0, "owned_by": "sipdo-simulator"}))
        .collect();
    Json(json!({"object": "list", "data": models})).into_response()
}

async fn script(State(simulator): State<Arc<Simulator>>) -> Json<Vec<Fault>> {
    Json(simulator.faults.script())
}

async fn add_faults(State(simulator): State<Arc<Simulator>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Vec<Fault>>(&body) {
        Ok(faults) => Json(json!({"waiting": simulator.faults.add(faults)})).into_response(),
        Err(error) => {
            let message = format!("expected a JSON list of faults: {error}; kinds: {}", FaultKind::names());
            wire::error(StatusCode::BAD_REQUEST, &message, "invalid_request_error")
        }
    }
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

async fn ledger(State(simulator): State<Arc<Simulator>>, Query(page): Query<Page>) -> Response {
    let calls = simulator.ledger.calls(page.after, page.limit.unwrap_or(usize::MAX));
    Json(json!({"totals": simulator.ledger.totals(), "calls": calls})).into_response()
}

async fn reset(State(simulator): State<Arc<Simulator>>) -> StatusCode {
    simulator.ledger.clear();
    simulator.faults.clear();
    simulator.taken.lock().unwrap_or_else(PoisonError::into_inner).clear();
    StatusCode::NO_CONTENT
}

/// `POST /v1/chat/completions`.
async fn complete(
    State(simulator): State<Arc<Simulator>>,
    ConnectInfo(line): ConnectInfo<ConnectionHandle>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let settings = &simulator.settings;
    if let Some(refusal) = unauthorised(settings, &headers) {
        return refusal;
    }
    let request: ChatRequest = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            return wire::error(
                StatusCode::BAD_REQUEST,
                &format!("malformed request: {error}"),
                "invalid_request_error",
            );
        }
    };
    if request.messages.is_empty() {
        return wire::error(
            StatusCode::BAD_REQUEST,
            "`messages` must not be empty",
            "invalid_request_error",
        );
    }
    let Some(ability) = settings.ability(&request.model) else {
        let message = format!(
            "The model `{}` does not exist or you do not have access to it.",
            request.model
        );
        return wire::error(StatusCode::NOT_FOUND, &message, "model_not_found");
    };
    let (role, form) = request.task();
    let draw = request.draw(settings.seed);
    let from = line.from().to_string();
    let call = simulator
        .ledger
        .open(role.name(), &request.model, draw.short_hex(), from);
    if let Some(wait) = simulator.over_limit() {
        call.struck(FaultKind::RateLimited);
        let seconds = (wait.as_secs() + 1).to_string();
        return refuse(call, 429, settings.limit.retry_after.then_some(seconds.as_str()));
    }
    let fault = simulator.faults.strike(role, &request.model, &draw);
    if let Some(fault) = &fault {
        call.struck(fault.kind);
        if let Some(status) = error_status(fault) {
            return refuse(call, status, fault.retry_after.as_deref());
        }
    }
    pause(settings, &draw, fault.as_ref()).await;
    let sections = request.sections();
    let turn = Turn {
        request: &request,
        role,
        form,
        sections,
        draw,
        rates: &settings.rates,
        ability,
    };
    let mut completion = Completion::new(&request, &turn.draw, &simulator.fingerprint, roles::reply(&turn));
    deliver(call, &mut completion, fault.map(|fault| fault.kind), &line, settings)
}

fn unauthorised(settings: &Settings, headers: &HeaderMap) -> Option<Response> {
    let key = settings.api_key.as_ref()?;
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let right = sent
        .and_then(|value| value.strip_prefix("Bearer "))
        .is_some_and(|sent| key.is(sent));
    (!right).then(|| {
        wire::error(
            StatusCode::UNAUTHORIZED,
            "Incorrect API key provided.",
            "invalid_api_key",
        )
    })
}

fn error_status(fault: &Fault) -> Option<u16> {
    let usual = match fault.kind {
        FaultKind::RateLimited => 429,
        FaultKind::ServerError => 500,
        FaultKind::Overloaded => 529,
        _ => return None,
    };
    Some(fault.status.unwrap_or(usual))
}

fn refuse(call: OpenCall, status: u16, retry_after: Option<&str>) -> Response {
    call.end(&End {
        outcome: "refused",
        status,
        prompt_tokens: 0,
        completion_tokens: 0,
    });
    let (message, code) = match status {
        429 => ("Rate limit reached.", "rate_limit_exceeded"),
        529 => ("The server is overloaded.", "overloaded"),
        _ => ("The server had an error while processing your request.", "server_error"),
    };
    let mut response = wire::error(
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        message,
        code,
    );
    if let Some(value) = retry_after.and_then(|value| value.parse().ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// The time the answer takes.
async fn pause(settings: &Settings, draw: &crate::draw::Draw, fault: Option<&Fault>) {
    let latency = settings.latency;
    let drawn = draw.below(
        "latency",
        usize::try_from(latency.max_ms - latency.min_ms).unwrap_or(0) + 1,
    );
    let mut wait = Duration::from_millis(latency.min_ms + drawn as u64);
    let asked = fault.and_then(|fault| fault.delay_ms).map(Duration::from_millis);
    match fault.map(|fault| fault.kind) {
        Some(FaultKind::Hang) => wait += asked.unwrap_or(Duration::from_secs(settings.hang_seconds)),
        Some(FaultKind::Delay) => wait += asked.unwrap_or(Duration::from_secs(2)),
        _ => wait += asked.unwrap_or_default(),
    }
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
}

/// Sends the completion, or what the fault makes of it.
fn deliver(
    call: OpenCall,
    completion: &mut Completion,
    fault: Option<FaultKind>,
    line: &ConnectionHandle,
    settings: &Settings,
) -> Response {
    match fault {
        Some(FaultKind::Truncated) => completion.truncate(),
        Some(FaultKind::MalformedContent) => completion.malform(),
        Some(FaultKind::Empty) => completion.set("", "stop"),
        Some(FaultKind::Refusal) => completion.refuse(),
        _ => {}
    }
    let (outcome, status) = match fault {
        Some(FaultKind::Reset) => ("broken", 0),
        Some(FaultKind::CutOff | FaultKind::MalformedBody | FaultKind::WrongContentType) => ("broken", 200),
        _ => ("answered", 200),
    };
    let (prompt_tokens, completion_tokens) = completion.tokens();
    let end = End {
        outcome,
        status,
        prompt_tokens,
        completion_tokens,
    };
    if fault == Some(FaultKind::SlowDrip) {
        // On its way for seconds, it is answered when its last piece is sent, and abandoned where the caller goes before.
        return wire::drip(completion, Duration::from_millis(settings.drip_ms), move || {
            call.end(&end)
        });
    }
    call.end(&end);
    match fault {
        Some(FaultKind::Reset) => {
            line.cut();
            StatusCode::OK.into_response()
        }
        Some(FaultKind::CutOff) => wire::cut_off(completion),
        Some(FaultKind::MalformedBody) => wire::half_body(completion),
        Some(FaultKind::WrongContentType) => wire::web_page(),
        _ => wire::whole(completion),
    }
}
