//! The streams and buckets of the contract: made where they are missing, checked where they are there.
//!
//! Any process may do this at any time, several at once. What an operator may tune by hand (copies, ages, the window)
//! is left as it is found; what the bus relies on (retention, discard, subjects, direct reads) must be right.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::BusError;
use crate::settings::{BusSettings, Replicas};
use crate::subjects::{self, bucket_key, bucket_stream, object_stream, object_subjects};

/// Within this time a repeated `Nats-Msg-Id` is recognised. An optimisation: no guarantee of the bus rests on it.
const DEDUPLICATION: Duration = Duration::from_mins(2);
/// How long a server that has only just started, or elects its leader, is given to make or show a stream.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
/// The heartbeat of a coordinator disappears after this time.
const COORDINATOR_AGE: Duration = Duration::from_mins(1);
const MODEL_HISTORY: i64 = 16;

impl Bus {
    /// Makes the streams and buckets that are missing and checks the others. May be called by anybody, at any time.
    ///
    /// # Errors
    /// A stream of the same name with settings that the bus cannot work with; a server that cannot make it.
    pub async fn ensure_streams(&self) -> Result<(), BusError> {
        let cluster = self.client().server_info().cluster.is_some();
        let replicas = match self.settings().replicas {
            Replicas::One => 1,
            Replicas::Three => 3,
            Replicas::Auto => 1 + 2 * usize::from(cluster),
        };
        let wanted = wanted(self.settings(), replicas);
        futures::future::try_join_all(wanted.into_iter().map(|config| self.ensure_stream(config)))
            .await
            .map(|_| ())
    }

    async fn ensure_stream(&self, config: Config) -> Result<(), BusError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_ensure_stream(&config).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing(_)) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Err(Trouble::Passing(reason)) => return Err(unavailable(&config, reason)),
            }
        }
    }

    async fn try_ensure_stream(&self, config: &Config) -> Result<(), Trouble> {
        match self.jetstream().get_stream(&config.name).await {
            Ok(stream) => return check(config, &stream.cached_info().config).map_err(Trouble::Final),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                GetStreamErrorKind::JetStream(refusal) => return Err(self.trouble(config, &refusal)),
                _ => return Err(Trouble::Passing(error.to_string())),
            },
        }
        match self.jetstream().create_stream(config.clone()).await {
            Ok(_) => {
                tracing::info!(stream = config.name, replicas = config.num_replicas, "created");
                Ok(())
            }
            Err(error) => match error.kind() {
                // Somebody else was quicker, with other tunables: look at theirs in the next round.
                CreateStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NAME_EXIST => {
                    Err(Trouble::Passing(refusal.to_string()))
                }
                CreateStreamErrorKind::JetStream(refusal) => Err(self.trouble(config, &refusal)),
                _ => Err(Trouble::Passing(error.to_string())),
            },
        }
    }

    fn trouble(&self, config: &Config, refusal: &ServerError) -> Trouble {
        match refusal.error_code() {
            ErrorCode::JETSTREAM_NOT_ENABLED | ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT => {
                Trouble::Final(BusError::NoJetStream {
                    server: self.server().0,
                })
            }
            // 503: no leader yet, not enough servers joined yet.
            _ if refusal.code() == 503 => Trouble::Passing(refusal.to_string()),
            _ => Trouble::Final(unavailable(config, refusal.to_string())),
        }
    }
}

enum Trouble {
    Passing(String),
    Final(BusError),
}

fn unavailable(config: &Config, reason: String) -> BusError {
    BusError::StreamUnavailable {
        stream: config.name.clone(),
        replicas: config.num_replicas,
        reason,
    }
}

fn wanted(settings: &BusSettings, replicas: usize) -> Vec<Config> {
    let base = |name: String, subjects: Vec<String>| Config {
        name,
        subjects,
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        num_replicas: replicas,
        allow_direct: true,
        ..Config::default()
    };
    let stream = |name: &str, subject: &str| Config {
        duplicate_window: DEDUPLICATION,
        ..base(name.to_owned(), vec![subject.to_owned()])
    };
    let bucket = |name: &str, history: i64, max_age: Duration| Config {
        max_messages_per_subject: history,
        max_age,
        discard: DiscardPolicy::New,
        allow_rollup: true,
        deny_delete: true,
        ..base(bucket_stream(name), vec![bucket_key(name, ">")])
    };
    let keep_runs = settings.keep_runs.unwrap_or_default();
    vec![
        Config {
            max_age: keep_runs,
            deny_delete: true,
            ..stream(subjects::RUN_STREAM, subjects::ALL_RUNS)
        },
        Config {
            max_age: keep_runs,
            deny_delete: true,
            ..stream(subjects::ATTEMPT_STREAM, subjects::ALL_ATTEMPTS)
        },
        Config {
            retention: RetentionPolicy::WorkQueue,
            discard: DiscardPolicy::New,
            discard_new_per_subject: true,
            max_messages_per_subject: i64::from(settings.window_per_run),
            ..stream(subjects::JOB_STREAM, subjects::ALL_JOBS)
        },
        Config {
            max_age: settings.keep_dead_letters,
            ..stream(subjects::DEAD_STREAM, subjects::ALL_DEAD)
        },
        bucket(subjects::MODEL_BUCKET, MODEL_HISTORY, Duration::ZERO),
        bucket(subjects::COORDINATOR_BUCKET, 1, COORDINATOR_AGE),
        bucket(subjects::COMPLETION_BUCKET, 1, settings.keep_completions),
        Config {
            discard: DiscardPolicy::New,
            allow_rollup: true,
            ..base(
                object_stream(subjects::TASK_BUCKET),
                object_subjects(subjects::TASK_BUCKET).to_vec(),
            )
        },
    ]
}

/// Compares what the bus relies on.
fn check(wanted: &Config, found: &Config) -> Result<(), BusError> {
    let same = |setting: &'static str, want: String, have: String| {
        if want == have {
            return Ok(());
        }
        Err(BusError::StreamMismatch {
            stream: wanted.name.clone(),
            setting,
            want,
            have,
        })
    };
    same("subjects", wanted.subjects.join(" "), found.subjects.join(" "))?;
    same(
        "retention",
        format!("{:?}", wanted.retention),
        format!("{:?}", found.retention),
    )?;
    same(
        "storage",
        format!("{:?}", wanted.storage),
        format!("{:?}", found.storage),
    )?;
    same(
        "discard",
        format!("{:?}", wanted.discard),
        format!("{:?}", found.discard),
    )?;
    same(
        "discard_new_per_subject",
        wanted.discard_new_per_subject.to_string(),
        found.discard_new_per_subject.to_string(),
    )?;
    same(
        "allow_direct",
        wanted.allow_direct.to_string(),
        found.allow_direct.to_string(),
    )?;
    let tunables = |config: &Config| (config.num_replicas, config.max_age, config.max_messages_per_subject);
    // The server writes "no limit" as -1.
    let unlimited = |(replicas, age, per_subject): (usize, Duration, i64)| (replicas, age, per_subject.max(0));
    if unlimited(tunables(wanted)) != unlimited(tunables(found)) {
        tracing::info!(
            stream = wanted.name,
            wanted = ?tunables(wanted),
            found = ?tunables(found),
            "(copies, age, messages per subject) differ from the settings and stay as they are; `nats stream edit` changes them"
        );
    }
    Ok(())
}
