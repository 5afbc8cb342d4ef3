//! Every name of a span, event, attribute or metric, once.
//!
//! Names follow the OpenTelemetry semantic conventions 1.41.1 (generative AI and messaging) where they have one;
//! `sipdo.*` is ours. No other file of the project writes such a name as a literal, so a rename upstream costs one edit.
//! `docs/telemetry.md` says who emits what; a test holds the two together.

/// Declares string constants, and lists them in [`ALL`] so that a test can go through them.
macro_rules! names {
    ($(#[$about:meta] $name:ident = $text:literal;)*) => {
        $(#[$about] pub const $name: &str = $text;)*
        /// Every name of this file.
        pub const ALL: &[&str] = &[$($text),*];
    };
}

names! {
    /// Resource: which product the process belongs to.
    SERVICE_NAMESPACE = "service.namespace";
    /// Resource: the version of the binary.
    SERVICE_VERSION = "service.version";
    /// Resource: tells processes of one service apart.
    SERVICE_INSTANCE_ID = "service.instance.id";

    /// W3C trace context. Written in lower case, because NATS keeps the case of header names.
    TRACEPARENT = "traceparent";
    /// W3C trace context, the vendors' part.
    TRACESTATE = "tracestate";

    /// The run a span belongs to; on every span.
    RUN_ID = "sipdo.run.id";
    /// The same, where backends look for a conversation.
    CONVERSATION_ID = "gen_ai.conversation.id";
    /// The same, where backends look for a session.
    SESSION_ID = "session.id";
    /// The level of a strategy, from 1; 0 before the first.
    ITERATION = "sipdo.iteration";
    /// `levels` or `conclusion`.
    PHASE = "sipdo.phase";
    /// Which trace of a long iteration it is, from 1.
    PART = "sipdo.part";
    /// True where a coordinator goes on with an iteration that another one began.
    TAKEOVER = "sipdo.takeover";
    /// The leader's epoch.
    EPOCH = "sipdo.epoch";
    /// The job a span belongs to.
    JOB_ID = "sipdo.job.id";
    /// The role that does the work.
    ROLE = "sipdo.role";
    /// What is asked: `answer`, `synthesize`, `solve`, ...
    OPERATION = "sipdo.operation";
    /// Which attempt at a job, from 1.
    ATTEMPT = "sipdo.attempt";
    /// How often the queue has delivered the job, from 1.
    DELIVERY = "sipdo.delivery";
    /// How a published job was received: `queued`, `repeated` or `window_full`.
    PUBLISHED = "sipdo.published";
    /// What became of a job: `measured`, `not_measured`, `handed_back` or `dead_letter`.
    OUTCOME = "sipdo.outcome";
    /// Milliseconds that a job lay in the queue.
    WAITED_MS = "sipdo.waited_ms";
    /// Number of the request among those of a call, from 1: above 1 it is a retry or a repair.
    LLM_ATTEMPT = "sipdo.llm.attempt";
    /// Price of a completion in USD.
    LLM_COST_USD = "sipdo.llm.cost_usd";
    /// Name of the endpoint in the operator's file.
    ENDPOINT = "sipdo.endpoint";
    /// The answer came from the completion store.
    FROM_STORE = "sipdo.from_store";
    /// Strategy of a run.
    STRATEGY = "sipdo.strategy";
    /// Name of a run's task.
    TASK = "sipdo.task";
    /// Id of an example.
    EXAMPLE_ID = "sipdo.example.id";
    /// Version of a prompt.
    PROMPT_VERSION = "gen_ai.prompt.version";
    /// What an example or candidate came to: `accepted`, `rejected`, `set_aside`, `quarantined`.
    VERDICT = "sipdo.verdict";
    /// Which gate or stage refused it.
    REFUSED_BY = "sipdo.refused_by";
    /// Who votes: a role, or `program`.
    VOTER = "sipdo.voter";
    /// `right`, `wrong` or `not_measured`: a count of each.
    RIGHT = "sipdo.score.right";
    /// See [`RIGHT`].
    WRONG = "sipdo.score.wrong";
    /// See [`RIGHT`].
    NOT_MEASURED = "sipdo.score.not_measured";
    /// Which prompt was scored, or on which set.
    SCORED = "sipdo.scored";
    /// State of a run.
    STATE = "sipdo.state";

    /// What failed, by a name of low cardinality.
    ERROR_TYPE = "error.type";

    /// `messaging.system`: always [`NATS`] here.
    MESSAGING_SYSTEM = "messaging.system";
    /// `publish`, `process`, `ack`, `nak` or `term`.
    MESSAGING_OPERATION_NAME = "messaging.operation.name";
    /// `send`, `process` or `settle`.
    MESSAGING_OPERATION_TYPE = "messaging.operation.type";
    /// A subject without run and job; never an inbox.
    MESSAGING_DESTINATION = "messaging.destination.name";
    /// The subject with its variable parts named.
    MESSAGING_TEMPLATE = "messaging.destination.template";
    /// The durable consumer of a role.
    MESSAGING_CONSUMER_GROUP = "messaging.consumer.group.name";
    /// The job.
    MESSAGING_MESSAGE_ID = "messaging.message.id";
    /// The run.
    MESSAGING_CONVERSATION_ID = "messaging.message.conversation_id";
    /// Place in the stream.
    NATS_SEQUENCE = "messaging.nats.sequence";
    /// The stream.
    NATS_STREAM = "messaging.nats.stream";
    /// The value of [`MESSAGING_SYSTEM`].
    NATS = "nats";

    /// `chat`, `invoke_agent` or `invoke_workflow`.
    GEN_AI_OPERATION = "gen_ai.operation.name";
    /// The provider's flavour, from the operator's file.
    GEN_AI_PROVIDER = "gen_ai.provider.name";
    /// The workflow: `sipdo`.
    GEN_AI_WORKFLOW = "gen_ai.workflow.name";
    /// The role.
    GEN_AI_AGENT_NAME = "gen_ai.agent.name";
    /// The agent's process.
    GEN_AI_AGENT_ID = "gen_ai.agent.id";
    /// The program's version.
    GEN_AI_AGENT_VERSION = "gen_ai.agent.version";
    /// Model asked for.
    GEN_AI_REQUEST_MODEL = "gen_ai.request.model";
    /// Sampling.
    GEN_AI_REQUEST_TEMPERATURE = "gen_ai.request.temperature";
    /// Sampling.
    GEN_AI_REQUEST_TOP_P = "gen_ai.request.top_p";
    /// Sampling.
    GEN_AI_REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens";
    /// Sampling.
    GEN_AI_REQUEST_SEED = "gen_ai.request.seed";
    /// `text` or `json`.
    GEN_AI_OUTPUT_TYPE = "gen_ai.output.type";
    /// The provider's id of the answer.
    GEN_AI_RESPONSE_ID = "gen_ai.response.id";
    /// The model as the provider reports it.
    GEN_AI_RESPONSE_MODEL = "gen_ai.response.model";
    /// Why the model stopped.
    GEN_AI_FINISH_REASONS = "gen_ai.response.finish_reasons";
    /// Input tokens, cached ones included.
    GEN_AI_INPUT_TOKENS = "gen_ai.usage.input_tokens";
    /// Output tokens, reasoning included.
    GEN_AI_OUTPUT_TOKENS = "gen_ai.usage.output_tokens";
    /// Of the input, read from the provider's cache.
    GEN_AI_CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens";
    /// Of the input, written to the provider's cache.
    GEN_AI_CACHE_WRITE_TOKENS = "gen_ai.usage.cache_write.input_tokens";
    /// Of the output, reasoning.
    GEN_AI_REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens";
    /// Content, by opt-in alone: system messages.
    GEN_AI_SYSTEM_INSTRUCTIONS = "gen_ai.system_instructions";
    /// Content, by opt-in alone: the conversation.
    GEN_AI_INPUT_MESSAGES = "gen_ai.input.messages";
    /// Content, by opt-in alone: the answer.
    GEN_AI_OUTPUT_MESSAGES = "gen_ai.output.messages";
    /// `input` or `output`.
    GEN_AI_TOKEN_TYPE = "gen_ai.token.type";
    /// What a span is, for Phoenix and whoever reads OpenInference; on every span.
    OPENINFERENCE_KIND = "openinference.span.kind";
    /// The role, where Phoenix looks for an agent's name.
    AGENT_NAME = "agent.name";
    /// For Langfuse, by opt-in: price of a completion in USD.
    GEN_AI_COST = "gen_ai.usage.cost";
    /// For Langfuse, by opt-in: the program's version.
    LANGFUSE_RELEASE = "langfuse.release";
    /// For Langfuse, by opt-in: the run, as metadata that it can filter by.
    LANGFUSE_RUN = "langfuse.trace.metadata.run";
    /// Host of an endpoint.
    SERVER_ADDRESS = "server.address";
    /// Port of an endpoint.
    SERVER_PORT = "server.port";
    /// HTTP status of a failed request.
    HTTP_STATUS = "http.response.status_code";
    /// `grpc`.
    RPC_SYSTEM = "rpc.system.name";
    /// Service and method.
    RPC_METHOD = "rpc.method";
    /// gRPC status by name.
    RPC_STATUS = "rpc.response.status_code";

    /// Event: a vote on an example, or a judgment of a candidate.
    EVENT_EVALUATION = "gen_ai.evaluation.result";
    /// What was judged: `vote`, `confirmation`, `challenge` or `score`.
    EVALUATION_NAME = "gen_ai.evaluation.name";
    /// `pass`, `fail` or `abstain`.
    EVALUATION_LABEL = "gen_ai.evaluation.score.label";
    /// A share from 0 to 1.
    EVALUATION_VALUE = "gen_ai.evaluation.score.value";
    /// Event: an example was accepted, rejected or set aside.
    EVENT_EXAMPLE = "sipdo.example.judged";
    /// Event: a candidate prompt was accepted or rejected.
    EVENT_CANDIDATE = "sipdo.candidate.judged";
    /// Event: an example that outlived its repairs was set aside.
    EVENT_QUARANTINED = "sipdo.example.quarantined";
    /// Event: an attempt was lost with its agent.
    EVENT_LOST = "sipdo.attempt.lost";
    /// Event: something the user should know; the words are in the journal.
    EVENT_WARNING = "sipdo.warning";

    /// Histogram, `{token}`: tokens of a completion, by type.
    METRIC_TOKENS = "gen_ai.client.token.usage";
    /// Histogram, `s`: one request to a model.
    METRIC_MODEL_DURATION = "gen_ai.client.operation.duration";
    /// Histogram, `s`: from sending a job to the server's word that it is stored.
    METRIC_MESSAGING_DURATION = "messaging.client.operation.duration";
    /// Histogram, `s`: one job in an agent.
    METRIC_PROCESS_DURATION = "messaging.process.duration";
    /// Counter, `{message}`: jobs and results published.
    METRIC_SENT = "messaging.client.sent.messages";
    /// Counter, `{message}`: jobs taken.
    METRIC_CONSUMED = "messaging.client.consumed.messages";
    /// Histogram, `s`: one call of the API.
    METRIC_RPC_DURATION = "rpc.server.call.duration";
    /// Histogram, `s`: one iteration.
    METRIC_ITERATION = "sipdo.iteration.duration";
    /// Counter, `{candidate}`: candidate prompts by verdict.
    METRIC_CANDIDATES = "sipdo.candidates";
    /// Counter, `{example}`: synthetic examples by verdict.
    METRIC_EXAMPLES = "sipdo.examples";
    /// Counter, `{job}`: jobs by role and outcome.
    METRIC_JOBS = "sipdo.jobs";
    /// Histogram, `s`: how long a job lay in the queue.
    METRIC_QUEUE_WAIT = "sipdo.queue.wait";
    /// Counter, `USD`: price of completions by role and model.
    METRIC_COST = "sipdo.llm.cost";
    /// Counter, `{run}`: runs that have ended by state.
    METRIC_RUNS = "sipdo.runs";
    /// Up-down counter, `{run}`: runs that this process leads.
    METRIC_LEADING = "sipdo.runs.leading";
    /// Up-down counter, `{job}`: jobs in hand.
    METRIC_BUSY = "sipdo.jobs.active";
    /// Counter, `{attempt}`: attempts lost with their agent.
    METRIC_LOST = "sipdo.attempts.lost";
    /// Which cap of a run: `calls`, `tokens`, `usd` or `time`.
    BUDGET = "sipdo.budget";
    /// Gauge, `1`: what is left of a cap, of the run that has least.
    METRIC_BUDGET_LEFT = "sipdo.budget.left";
    /// Counter, `{span}`: spans by what became of them, `sent` or `lost`.
    METRIC_SPANS = "sipdo.telemetry.spans";
    /// Histogram, `1`: share of right answers among the measured ones, by what was scored.
    METRIC_SCORE = "sipdo.prompt.score";
}

/// Every metric.
pub const METRICS: &[&str] = &[
    METRIC_TOKENS,
    METRIC_MODEL_DURATION,
    METRIC_MESSAGING_DURATION,
    METRIC_PROCESS_DURATION,
    METRIC_SENT,
    METRIC_CONSUMED,
    METRIC_RPC_DURATION,
    METRIC_ITERATION,
    METRIC_CANDIDATES,
    METRIC_EXAMPLES,
    METRIC_JOBS,
    METRIC_QUEUE_WAIT,
    METRIC_COST,
    METRIC_RUNS,
    METRIC_LEADING,
    METRIC_BUSY,
    METRIC_LOST,
    METRIC_SCORE,
    METRIC_SPANS,
    METRIC_BUDGET_LEFT,
];

/// Root of an iteration.
pub const SPAN_ITERATION: &str = "invoke_workflow sipdo";
/// The API creates a run.
pub const SPAN_CREATE_RUN: &str = "sipdo.v1.RunService/CreateRun";

/// Names of what belongs to a role. They stand on every span and metric of every job, so they are made once, when this is compiled.
#[derive(Debug, PartialEq, Eq)]
pub struct RoleNames {
    /// The role.
    pub role: &'static str,
    /// Subject of its jobs, without the run.
    pub jobs: &'static str,
    /// Subject of its jobs with its variable part named.
    pub jobs_template: &'static str,
    /// Name of its results, without run and job.
    pub results: &'static str,
    /// Subject of its results with its variable parts named.
    pub results_template: &'static str,
    /// Span: a job is published.
    pub publish_job: &'static str,
    /// Span: a job is processed.
    pub process_job: &'static str,
    /// Span: a job is acknowledged.
    pub ack_job: &'static str,
    /// Span: a job is handed back.
    pub nak_job: &'static str,
    /// Span: nobody can do a job.
    pub term_job: &'static str,
    /// Span: a result is published.
    pub publish_result: &'static str,
    /// Span: the agent is at work.
    pub invoke: &'static str,
    /// What [`RoleNames::invoke`] is to whoever reads OpenInference.
    pub openinference: &'static str,
}

macro_rules! role_names {
    ($($role:literal is $kind:literal),*) => {
        static ROLES: &[RoleNames] = &[$(role_names!(@ $role, $kind)),*];
    };
    (@ $role:literal, $kind:literal) => {
        RoleNames {
            role: $role,
            jobs: concat!("sipdo.v1.job.", $role),
            jobs_template: concat!("sipdo.v1.job.", $role, ".{run}"),
            results: concat!("sipdo.v1.result.", $role),
            results_template: concat!("sipdo.v1.run.{run}.result.", $role, ".{job}"),
            publish_job: concat!("publish sipdo.v1.job.", $role),
            process_job: concat!("process sipdo.v1.job.", $role),
            ack_job: concat!("ack sipdo.v1.job.", $role),
            nak_job: concat!("nak sipdo.v1.job.", $role),
            term_job: concat!("term sipdo.v1.job.", $role),
            publish_result: concat!("publish sipdo.v1.result.", $role),
            invoke: concat!("invoke_agent ", $role),
            openinference: $kind,
        }
    };
}

/// Stands for a role that this version does not know.
static OTHER: RoleNames = role_names!(@ "other", "AGENT");

role_names!(
    "learner" is "AGENT",
    "checker" is "EVALUATOR",
    "verifier" is "EVALUATOR",
    "generator" is "AGENT",
    "optimizer" is "AGENT"
);

/// The names of a role.
#[must_use]
pub fn of_role(role: &str) -> &'static RoleNames {
    ROLES.iter().find(|names| names.role == role).unwrap_or(&OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_role_has_its_own_names_and_an_unknown_one_those_of_any_other() {
        for role in ["learner", "checker", "verifier", "generator", "optimizer"] {
            let names = of_role(role);
            assert_eq!(names.jobs_template, format!("sipdo.v1.job.{role}.{{run}}"));
            assert_eq!(names.publish_result, format!("publish sipdo.v1.result.{role}"));
        }
        assert_eq!(of_role("coordinator").role, "other");
    }

    #[test]
    fn every_name_is_there_once_and_none_is_outdated() {
        let names: BTreeSet<&str> = ALL.iter().copied().collect();
        assert_eq!(names.len(), ALL.len(), "a name is there twice");
        for outdated in [
            "gen_ai.system",
            "gen_ai.prompt",
            "gen_ai.completion",
            "gen_ai.usage.prompt_tokens",
        ] {
            assert!(!names.contains(outdated), "{outdated} was renamed upstream");
        }
        for name in ALL {
            let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._/".contains(c);
            assert!(name.chars().all(fits), "{name}");
        }
    }
}
