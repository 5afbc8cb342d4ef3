//! The streams and buckets of the contract: made where they are missing, checked where they are there.
//!
//! Any process may do this at any time, several at once. What an operator may tune (copies, sizes, ages, the window) is
//! left as it is found, unless the settings name it: then [`Bus::apply_limits`] changes the stream. What the bus relies
//! on (retention, discard, subjects, direct reads) must be right.

use std::time::Duration;

use async_nats::jetstream::context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::BusError;
use crate::limits::{Store, size};
use crate::settings::{BusSettings, Replicas};
use crate::subjects::{self, bucket_key, object_subjects};

/// Within this time a repeated `Nats-Msg-Id` is recognised. An optimisation: no guarantee of the bus rests on it.
const DEDUPLICATION: Duration = Duration::from_mins(2);
/// How long a server that has only just started, or elects its leader, is given to make or show a stream.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(200);
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
        let ensured = wanted
            .into_iter()
            .map(|(store, config)| self.ensure_stream(store, config));
        futures::future::try_join_all(ensured).await.map(|_| ())
    }

    /// Changes the limits of streams that are there already to those that the settings name. What they do not name stays.
    ///
    /// One process does this, the coordinator: settings that differ from process to process would change it to and fro.
    ///
    /// # Errors
    /// [`BusError::LimitRefused`] where the server does not take one; a server that cannot be asked.
    pub async fn apply_limits(&self) -> Result<(), BusError> {
        for store in Store::ALL {
            let limits = &self.settings().limits;
            let (bytes, age) = (limits.bytes(store), limits.age(store));
            if bytes.is_none() && age.is_none() {
                continue;
            }
            const DOING: &str = "reading the limits of a stream";
            let stream = self.jetstream().get_stream(store.stream()).await;
            let stream = stream.map_err(|error| BusError::failed(DOING, error))?;
            let found = &stream.cached_info().config;
            let mut config = found.clone();
            if let Some(bytes) = bytes {
                limit_bytes(store, &mut config, bytes);
            }
            config.max_age = age.unwrap_or(found.max_age);
            let limits = |config: &Config| (config.max_bytes.max(0), config.max_age, config.discard);
            if limits(&config) == limits(found) {
                continue;
            }
            let told = |config: &Config| {
                let bytes = u64::try_from(config.max_bytes).ok().filter(|bytes| *bytes > 0);
                let bytes = bytes.map_or("no limit of bytes".to_owned(), size);
                match config.max_age.as_secs() / 3600 {
                    0 => format!("{bytes}, for ever"),
                    hours => format!("{bytes}, {hours} h"),
                }
            };
            let (was, wanted) = (told(found), told(&config));
            if let Err(error) = self.jetstream().update_stream(&config).await {
                return Err(BusError::LimitRefused {
                    stream: config.name,
                    was,
                    wanted,
                    reason: error.to_string(),
                });
            }
            tracing::info!(stream = config.name, was, now = wanted, "limits changed");
        }
        Ok(())
    }

    async fn ensure_stream(&self, store: Store, config: Config) -> Result<(), BusError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_ensure_stream(store, &config).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Final(error)) => return Err(error),
                Err(Trouble::Passing(_)) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
                Err(Trouble::Passing(reason)) => return Err(unavailable(&config, reason)),
            }
        }
    }

    async fn try_ensure_stream(&self, store: Store, config: &Config) -> Result<(), Trouble> {
        match self.jetstream().get_stream(&config.name).await {
            Ok(stream) => return check(store, config, &stream.cached_info().config).map_err(Trouble::Final),
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
                GetStreamErrorKind::JetStream(refusal) => return Err(self.trouble(config, &refusal)),
                _ => return Err(Trouble::Passing(error.to_string())),
            },
        }
        let mut made = self.jetstream().create_stream(config.clone()).await;
        // A usual limit is only a precaution: a server with little room does without it.
        if config.max_bytes > 0
            && self.settings().limits.bytes(store).is_none()
            && made.as_ref().is_err_and(lacks_storage)
        {
            let unlimited = Config {
                max_bytes: -1,
                ..config.clone()
            };
            made = self.jetstream().create_stream(unlimited).await;
        }
        match made {
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
            // 503: no leader yet. No peers: not enough servers have joined yet, or one that has is not heard of at the moment.
            ErrorCode::CLUSTER_NO_PEERS => Trouble::Passing(refusal.to_string()),
            _ if refusal.code() == 503 => Trouble::Passing(refusal.to_string()),
            _ => Trouble::Final(unavailable(config, refusal.to_string())),
        }
    }
}

fn lacks_storage(error: &CreateStreamError) -> bool {
    matches!(
        error.kind(),
        CreateStreamErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STORAGE_RESOURCES_EXCEEDED
    )
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

/// The streams as they are made where they are missing.
fn wanted(settings: &BusSettings, replicas: usize) -> Vec<(Store, Config)> {
    let base = |store: Store, subjects: Vec<String>| {
        let mut config = Config {
            name: store.stream(),
            subjects,
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            num_replicas: replicas,
            allow_direct: true,
            max_age: settings.limits.age(store).unwrap_or(store.usual_age()),
            ..Config::default()
        };
        let bytes = settings.limits.bytes(store).unwrap_or(store.usual_bytes());
        limit_bytes(store, &mut config, bytes);
        config
    };
    let stream = |store: Store, subject: &str| Config {
        duplicate_window: DEDUPLICATION,
        ..base(store, vec![subject.to_owned()])
    };
    let bucket = |store: Store, name: &str, history: i64| {
        let config = base(store, vec![bucket_key(name, ">")]);
        Config {
            max_messages_per_subject: history,
            discard: match config.max_bytes {
                1.. => config.discard,
                _ => DiscardPolicy::New,
            },
            allow_rollup: true,
            deny_delete: true,
            ..config
        }
    };
    let kept = |store: Store, subject: &str| Config {
        deny_delete: true,
        ..stream(store, subject)
    };
    let configs = [
        (Store::Runs, kept(Store::Runs, subjects::ALL_RUNS)),
        (Store::Attempts, kept(Store::Attempts, subjects::ALL_ATTEMPTS)),
        (
            Store::Jobs,
            Config {
                retention: RetentionPolicy::WorkQueue,
                discard: DiscardPolicy::New,
                discard_new_per_subject: true,
                max_messages_per_subject: i64::from(settings.window_per_run),
                ..stream(Store::Jobs, subjects::ALL_JOBS)
            },
        ),
        (Store::DeadLetters, stream(Store::DeadLetters, subjects::ALL_DEAD)),
        (
            Store::Models,
            bucket(Store::Models, subjects::MODEL_BUCKET, MODEL_HISTORY),
        ),
        (
            Store::Completions,
            bucket(Store::Completions, subjects::COMPLETION_BUCKET, 1),
        ),
        (
            Store::Tasks,
            Config {
                discard: DiscardPolicy::New,
                allow_rollup: true,
                ..base(Store::Tasks, object_subjects(subjects::TASK_BUCKET).to_vec())
            },
        ),
    ];
    configs.into_iter().collect()
}

/// Sets a limit, and what is to happen at it: what is truth refuses what is new, what is a convenience forgets its oldest.
fn limit_bytes(store: Store, config: &mut Config, bytes: Option<u64>) {
    config.max_bytes = bytes.map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    if bytes.is_some() {
        config.discard = if store.forgets() {
            DiscardPolicy::Old
        } else {
            DiscardPolicy::New
        };
    }
}

/// Compares what the bus relies on.
fn check(store: Store, wanted: &Config, found: &Config) -> Result<(), BusError> {
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
    // At a limit of bytes these may refuse or forget, as it was asked for; without one it makes no difference.
    if !matches!(store, Store::Runs | Store::Attempts | Store::Completions) {
        same(
            "discard",
            format!("{:?}", wanted.discard),
            format!("{:?}", found.discard),
        )?;
    }
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
    let tunables = |config: &Config| (config.num_replicas, config.max_messages_per_subject.max(0));
    if tunables(wanted) != tunables(found) {
        tracing::info!(
            stream = wanted.name,
            wanted = ?tunables(wanted),
            found = ?tunables(found),
            "(copies, messages per subject) differ from the settings and stay as they are; `nats stream edit` changes them"
        );
    }
    Ok(())
}
