//! Every subject, stream, bucket and header name of the contract, made by typed functions. No other file spells one.
//!
//! Names that come from outside (runs, jobs, roles, processes) are checked once, when they become a [`RunId`],
//! [`JobId`], [`Role`] or [`AgentId`]; a subject made of them can therefore never reach beyond its own place.

use std::fmt;
use std::sync::Arc;

use crate::error::BusError;

/// Longest name that may become one token of a subject.
pub const MAX_TOKEN: usize = 128;

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a name of 1 to 128 letters, digits, `_` or `-`.
            ///
            /// # Errors
            /// [`BusError::InvalidName`] for anything else.
            pub fn new(text: impl AsRef<str>) -> Result<Self, BusError> {
                check_token($what, text.as_ref()).map(|()| Self(text.as_ref().into()))
            }

            /// The name itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

token!(
    /// One optimization of one task.
    RunId,
    "run id"
);
token!(
    /// One unit of work, named by the hash of what is asked.
    JobId,
    "job id"
);
token!(
    /// What kind of agent does the work: `learner`, `checker`, ...
    Role,
    "role"
);
token!(
    /// One running process. A process started again is another one.
    AgentId,
    "agent id"
);

fn check_token(what: &'static str, text: &str) -> Result<(), BusError> {
    let reason = if text.is_empty() {
        "it is empty".to_owned()
    } else if text.len() > MAX_TOKEN {
        format!("it has {} characters, at most {MAX_TOKEN} are allowed", text.len())
    } else if let Some(bad) = text
        .chars()
        .find(|c| !(c.is_ascii_alphanumeric() || *c == '_' || *c == '-'))
    {
        format!("{bad:?} is not allowed, only letters, digits, `_` and `-`")
    } else {
        return Ok(());
    };
    Err(BusError::InvalidName {
        what,
        text: text.chars().take(MAX_TOKEN).collect(),
        reason,
    })
}

/// Stream of all runs: decisions, results, lost attempts, control.
pub const RUN_STREAM: &str = "SIPDO_RUN";
/// Stream of the rights to buy.
pub const ATTEMPT_STREAM: &str = "SIPDO_ATTEMPT";
/// Work queue of jobs.
pub const JOB_STREAM: &str = "SIPDO_JOB";
/// Stream of messages nobody could handle.
pub const DEAD_STREAM: &str = "SIPDO_DEAD";
/// Object store of tasks.
pub const TASK_BUCKET: &str = "sipdo_tasks";
/// Which model each role uses.
pub const MODEL_BUCKET: &str = "sipdo_models";
/// Answers already bought.
pub const COMPLETION_BUCKET: &str = "sipdo_completions";

/// Wildcard of [`RUN_STREAM`].
pub const ALL_RUNS: &str = "sipdo.v1.run.>";
/// The logs of all runs.
pub const ALL_LOGS: &str = "sipdo.v1.run.*.log";
/// Wildcard of [`ATTEMPT_STREAM`].
pub const ALL_ATTEMPTS: &str = "sipdo.v1.attempt.>";
/// Wildcard of [`JOB_STREAM`].
pub const ALL_JOBS: &str = "sipdo.v1.job.>";
/// Wildcard of [`DEAD_STREAM`].
pub const ALL_DEAD: &str = "sipdo.v1.dead.>";
/// Every process answers here with its card.
pub const ROLL_CALL: &str = "sipdo.v1.agents.ping";
/// Every run's cancellation.
pub const ALL_CANCELS: &str = "sipdo.v1.cancel.*";

const RUN_PREFIX: &str = "sipdo.v1.run.";
const DEAD_PREFIX: &str = "sipdo.v1.dead.";
const JOB_PREFIX: &str = "sipdo.v1.job.";
const CANCEL_PREFIX: &str = "sipdo.v1.cancel.";

/// Decisions of `run`, written only by its leader.
#[must_use]
pub fn run_log(run: &RunId) -> String {
    format!("{RUN_PREFIX}{run}.log")
}

/// Everything about `run`.
#[must_use]
pub fn run_all(run: &RunId) -> String {
    format!("{RUN_PREFIX}{run}.>")
}

/// What users ask of `run` while it goes on.
#[must_use]
pub fn run_control(run: &RunId) -> String {
    format!("{RUN_PREFIX}{run}.control")
}

/// The one result of `job`.
#[must_use]
pub fn run_result(run: &RunId, role: &Role, job: &JobId) -> String {
    format!("{RUN_PREFIX}{run}.result.{role}.{job}")
}

/// The record that attempt `n` of `job` ended with its agent.
#[must_use]
pub fn run_lost(run: &RunId, role: &Role, job: &JobId, n: u32) -> String {
    format!("{RUN_PREFIX}{run}.lost.{role}.{job}.{n}")
}

/// The right to buy attempt `n` of `job`.
#[must_use]
pub fn attempt(run: &RunId, role: &Role, job: &JobId, n: u32) -> String {
    format!("sipdo.v1.attempt.{role}.{run}.{job}.{n}")
}

/// The rights to buy that were taken in `run`.
#[must_use]
pub fn attempts_of_run(run: &RunId) -> String {
    format!("sipdo.v1.attempt.*.{run}.>")
}

/// The job and the number of an attempt, from the subject of its record.
#[must_use]
pub fn attempt_place(subject: &str) -> Option<(JobId, u32)> {
    let mut tokens = subject.rsplit('.');
    let n = tokens.next()?.parse().ok()?;
    Some((JobId::new(tokens.next()?).ok()?, n))
}

/// Jobs of `run` for `role`.
#[must_use]
pub fn jobs(role: &Role, run: &RunId) -> String {
    format!("{JOB_PREFIX}{role}.{run}")
}

/// The lane of suspects of `role`: jobs whose last attempt ended with its agent's death. A queue of its own beside the role's.
///
/// # Errors
/// A role's name that is too long for it.
pub fn suspects(role: &Role) -> Result<Role, BusError> {
    Role::new(format!("suspect-{role}"))
}

/// Jobs for `role`, of any run.
#[must_use]
pub fn jobs_of_role(role: &Role) -> String {
    format!("{JOB_PREFIX}{role}.>")
}

/// Jobs of `run`, for any role.
#[must_use]
pub fn jobs_of_run(run: &RunId) -> String {
    format!("{JOB_PREFIX}*.{run}")
}

/// Messages of `run` that `role` could not handle.
#[must_use]
pub fn dead(role: &Role, run: &RunId) -> String {
    format!("{DEAD_PREFIX}{role}.{run}")
}

/// Messages of `run` that nobody could handle, of any role.
#[must_use]
pub fn dead_of_run(run: &RunId) -> String {
    format!("{DEAD_PREFIX}*.{run}")
}

/// Where the process `agent` answers with its card.
#[must_use]
pub fn ping(agent: &AgentId) -> String {
    format!("sipdo.v1.agent.{agent}.ping")
}

/// Where the process `agent` is asked to try a model.
#[must_use]
pub fn probe(agent: &AgentId) -> String {
    format!("sipdo.v1.agent.{agent}.probe")
}

/// Tells everybody at once that `run` is cancelled.
#[must_use]
pub fn cancel(run: &RunId) -> String {
    format!("{CANCEL_PREFIX}{run}")
}

/// The run that a subject made by [`cancel`] names.
#[must_use]
pub fn cancelled_run(subject: &str) -> Option<RunId> {
    RunId::new(subject.strip_prefix(CANCEL_PREFIX)?).ok()
}

/// The role and run of a job's subject.
#[must_use]
pub fn job_place(subject: &str) -> Option<(Role, RunId)> {
    role_and_run(subject.strip_prefix(JOB_PREFIX)?)
}

/// The role and run of a dead letter's subject.
#[must_use]
pub fn dead_place(subject: &str) -> Option<(Role, RunId)> {
    role_and_run(subject.strip_prefix(DEAD_PREFIX)?)
}

fn role_and_run(rest: &str) -> Option<(Role, RunId)> {
    let (role, run) = rest.split_once('.')?;
    Some((Role::new(role).ok()?, RunId::new(run).ok()?))
}

/// What a message of a run is, told by its subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunSubject {
    /// A decision of the run's leader.
    Log,
    /// The result of a job.
    Result {
        /// Who worked on it.
        role: Role,
        /// Which job.
        job: JobId,
    },
    /// Attempt `n` of a job ended with its agent.
    Lost {
        /// Who worked on it.
        role: Role,
        /// Which job.
        job: JobId,
        /// Which attempt.
        n: u32,
    },
    /// A user's wish: cancel, pause, resume, raise the budget, swap a model.
    Control,
    /// A kind that a newer version of sipdo writes. Leave it alone.
    Unknown,
}

impl fmt::Display for RunSubject {
    /// The subject below that of the run, as [`run_part`] takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => f.write_str("log"),
            Self::Result { role, job } => write!(f, "result.{role}.{job}"),
            Self::Lost { role, job, n } => write!(f, "lost.{role}.{job}.{n}"),
            Self::Control => f.write_str("control"),
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// The kind that is written so below the subject of a run.
#[must_use]
pub fn run_part(part: &str) -> RunSubject {
    run_place(&format!("{RUN_PREFIX}run.{part}")).map_or(RunSubject::Unknown, |(_, kind)| kind)
}

/// Everything kept about `run` outside [`RUN_STREAM`], by stream.
#[must_use]
pub fn beside_run(run: &RunId) -> [(&'static str, String); 3] {
    [
        (ATTEMPT_STREAM, attempts_of_run(run)),
        (JOB_STREAM, jobs_of_run(run)),
        (DEAD_STREAM, dead_of_run(run)),
    ]
}

/// Takes the subject of a message of [`RUN_STREAM`] apart.
#[must_use]
pub fn run_place(subject: &str) -> Option<(RunId, RunSubject)> {
    let mut tokens = subject.strip_prefix(RUN_PREFIX)?.split('.');
    let run = RunId::new(tokens.next()?).ok()?;
    let rest = [
        tokens.next(),
        tokens.next(),
        tokens.next(),
        tokens.next(),
        tokens.next(),
    ];
    let kind = match rest {
        [Some("log"), None, ..] => Some(RunSubject::Log),
        [Some("control"), None, ..] => Some(RunSubject::Control),
        [Some("result"), Some(role), Some(job), None, _] => {
            role_and_job(role, job).map(|(role, job)| RunSubject::Result { role, job })
        }
        [Some("lost"), Some(role), Some(job), Some(n), None] => role_and_job(role, job)
            .zip(n.parse().ok())
            .map(|((role, job), n)| RunSubject::Lost { role, job, n }),
        _ => None,
    };
    Some((run, kind.unwrap_or(RunSubject::Unknown)))
}

fn role_and_job(role: &str, job: &str) -> Option<(Role, JobId)> {
    Some((Role::new(role).ok()?, JobId::new(job).ok()?))
}

/// The stream behind a key-value bucket.
#[must_use]
pub fn bucket_stream(bucket: &str) -> String {
    format!("KV_{bucket}")
}

/// The subject of `key` in a key-value bucket.
#[must_use]
pub fn bucket_key(bucket: &str, key: &str) -> String {
    format!("$KV.{bucket}.{key}")
}

/// The stream behind an object store.
#[must_use]
pub fn object_stream(bucket: &str) -> String {
    format!("OBJ_{bucket}")
}

/// The subjects of an object store: chunks and descriptions.
#[must_use]
pub fn object_subjects(bucket: &str) -> [String; 2] {
    [format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")]
}

/// Where a pull consumer is asked for messages.
#[must_use]
pub fn next_message(stream: &str, consumer: &str) -> String {
    format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}")
}

/// Where a consumer is removed.
#[must_use]
pub fn forget_consumer(stream: &str, consumer: &str) -> String {
    format!("$JS.API.CONSUMER.DELETE.{stream}.{consumer}")
}

/// Names of headers. Ours begin with `Sipdo-`; trace context keeps its W3C names, in lower case.
pub mod header {
    /// Schema of the payload, for example `job.v1`.
    pub const SCHEMA: &str = "Sipdo-Schema";
    /// Job id.
    pub const JOB: &str = "Sipdo-Job";
    /// Epoch of the leader that published the message.
    pub const EPOCH: &str = "Sipdo-Epoch";
    /// Number of the attempt that a job's message grants.
    pub const ATTEMPT: &str = "Sipdo-Attempt";
    /// Unique to one call that creates a message once: tells the caller's own message from another's.
    pub const NONCE: &str = "Sipdo-Nonce";
    /// Dead letters: why.
    pub const DEAD_REASON: &str = "Sipdo-Dead-Reason";
    /// Dead letters: the subject it came from.
    pub const DEAD_SUBJECT: &str = "Sipdo-Dead-Subject";
    /// Dead letters: how often it was delivered.
    pub const DEAD_DELIVERED: &str = "Sipdo-Dead-Delivered";
    /// Deduplication of a stream.
    pub const MESSAGE_ID: &str = "Nats-Msg-Id";
    /// Compare-and-set on the last message of a subject.
    pub const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";
    /// Who changed an entry of the model registry, in words.
    pub const BY: &str = "Sipdo-By";
    /// What an entry of a key-value bucket stands for, if not a value.
    pub const KV_OPERATION: &str = "KV-Operation";
    /// Messages that a pull request asked for and did not get.
    pub const PENDING_MESSAGES: &str = "Nats-Pending-Messages";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_not_reach_beyond_its_place() {
        for bad in ["", "a.b", "a b", "*", ">", "ä", "a/b", "x\r\nINJECT"] {
            assert!(RunId::new(bad).is_err(), "{bad:?}");
        }
        assert!(JobId::new("x".repeat(MAX_TOKEN)).is_ok());
        let error = JobId::new("x".repeat(MAX_TOKEN + 1)).unwrap_err().to_string();
        assert!(error.contains("job id") && error.contains("129"), "{error}");
    }

    #[test]
    fn subjects_of_a_run_are_read_back_as_they_were_made() {
        let (run, role, job) = (
            RunId::new("r-1").unwrap(),
            Role::new("learner").unwrap(),
            JobId::new("j_9").unwrap(),
        );
        let read = |subject: String| run_place(&subject).unwrap();
        assert_eq!(read(run_log(&run)), (run.clone(), RunSubject::Log));
        assert_eq!(read(run_control(&run)), (run.clone(), RunSubject::Control));
        let (role_, job_) = (role.clone(), job.clone());
        assert_eq!(
            read(run_result(&run, &role, &job)).1,
            RunSubject::Result { role: role_, job: job_ }
        );
        assert_eq!(
            read(run_lost(&run, &role, &job, 3)).1,
            RunSubject::Lost {
                role: role.clone(),
                job,
                n: 3
            }
        );
        assert_eq!(read(format!("{RUN_PREFIX}{run}.log.more")).1, RunSubject::Unknown);
        assert_eq!(read(format!("{RUN_PREFIX}{run}.result.a.b.c")).1, RunSubject::Unknown);
        assert_eq!(read(format!("{RUN_PREFIX}{run}.tomorrow")).1, RunSubject::Unknown);
        assert_eq!(run_place("other.r.log"), None);
        assert_eq!(job_place(&jobs(&role, &run)), Some((role.clone(), run.clone())));
        assert_eq!(dead_place(&dead(&role, &run)), Some((role, run.clone())));
        assert_eq!(cancelled_run(&cancel(&run)), Some(run));
    }
}
