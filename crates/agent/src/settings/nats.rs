//! `[nats]`: how to reach the bus, as an operator writes it.

use serde::{Deserialize, Serialize};
use sipdo_bus::{BusSettings, Limits, Replicas};
use sipdo_process::nats_urls;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// `[nats]`. What is left out is as [`BusSettings`] has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NatsSettings {
    /// One server or several, with commas between them: `nats://one:4222,nats://two:4222`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A `.creds` file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_file: Option<PathBuf>,
    /// A file with the seed of an nkey.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nkey_seed_file: Option<PathBuf>,
    /// A file with the certificate of the authority that signed the server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_ca_file: Option<PathBuf>,
    /// Copies of each message, 1 or 3; three in a cluster and one otherwise if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Seconds that an agent may be silent about a job before another gets it; 30 if absent. The same for all agents of a role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_wait_seconds: Option<u32>,
    /// How many bytes a stream may hold, by its name, such as `runs = "20GB"`, or `total` for all together. `docs/storage.md`
    /// has the names and what happens at a limit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub max_bytes: BTreeMap<String, String>,
    /// How long a stream keeps what is in it, by its name, such as `completions = "30d"`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub keep: BTreeMap<String, String>,
}

impl NatsSettings {
    /// The bus settings of a process called `name`.
    pub fn bus(&self, name: &str) -> BusSettings {
        let defaults = BusSettings::default();
        let urls = self.url.as_deref().map(nats_urls).unwrap_or(defaults.urls);
        BusSettings {
            urls,
            credentials_file: self.credentials_file.clone(),
            nkey_seed_file: self.nkey_seed_file.clone(),
            tls_ca_file: self.tls_ca_file.clone(),
            name: format!("sipdo-{name}"),
            inbox_prefix: format!("_INBOX_{name}"),
            replicas: match self.replicas {
                None => Replicas::Auto,
                Some(3) => Replicas::Three,
                Some(_) => Replicas::One,
            },
            ack_wait: self
                .ack_wait_seconds
                .map_or(defaults.ack_wait, |seconds| Duration::from_secs(seconds.into())),
            limits: self.limits().unwrap_or_default(),
            ..defaults
        }
    }

    /// The limits of the streams. What is wrong is told by `problem` before anybody asks for them.
    fn limits(&self) -> Result<Limits, (&'static str, String)> {
        let mut limits = Limits::default();
        for (name, value) in &self.max_bytes {
            let set = limits.set_max_bytes(name, value);
            set.map_err(|problem| ("max_bytes", problem))?;
        }
        for (name, value) in &self.keep {
            limits.set_keep(name, value).map_err(|problem| ("keep", problem))?;
        }
        Ok(limits)
    }

    /// The limits as flags of a coordinator, which is who applies them.
    pub fn limit_flags(&self) -> Vec<String> {
        [("--max-bytes", &self.max_bytes), ("--keep", &self.keep)]
            .into_iter()
            .filter(|(_, limits)| !limits.is_empty())
            .flat_map(|(flag, limits)| {
                let pairs: Vec<String> = limits.iter().map(|(name, value)| format!("{name}={value}")).collect();
                [flag.to_owned(), pairs.join(",")]
            })
            .collect()
    }

    /// What is wrong, as a key and words.
    pub(super) fn problem(&self) -> Option<(&'static str, String)> {
        if self.url.as_deref().is_some_and(|url| nats_urls(url).is_empty()) {
            return Some(("url", "is empty: write for example nats://localhost:4222".into()));
        }
        if self.credentials_file.is_some() && self.nkey_seed_file.is_some() {
            return Some((
                "credentials_file",
                "give credentials_file or nkey_seed_file, not both".into(),
            ));
        }
        if self
            .ack_wait_seconds
            .is_some_and(|seconds| !(1..=3600).contains(&seconds))
        {
            return Some(("ack_wait_seconds", "must be 1 to 3600".into()));
        }
        if let Err(problem) = self.limits() {
            return Some(problem);
        }
        self.replicas.filter(|replicas| ![1, 3].contains(replicas)).map(|_| {
            (
                "replicas",
                "must be 1 or 3; leave it out to let the server decide".into(),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_servers_may_be_named_and_each_role_has_its_own_inbox() {
        let nats = NatsSettings {
            url: Some("nats://a:1, nats://b:2".into()),
            replicas: Some(3),
            ..NatsSettings::default()
        };
        let bus = nats.bus("checker");
        assert_eq!(bus.urls, ["nats://a:1", "nats://b:2"]);
        assert_eq!(
            (bus.name.as_str(), bus.inbox_prefix.as_str()),
            ("sipdo-checker", "_INBOX_checker")
        );
        assert_eq!(bus.replicas, Replicas::Three);
    }

    #[test]
    fn limits_become_flags_of_the_coordinator_and_wrong_ones_are_named() {
        let pair = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let nats = NatsSettings {
            max_bytes: pair("runs", "20GB"),
            keep: pair("completions", "7d"),
            ..NatsSettings::default()
        };
        assert_eq!(nats.problem(), None);
        assert_eq!(
            nats.limit_flags(),
            ["--max-bytes", "runs=20GB", "--keep", "completions=7d"]
        );
        assert!(NatsSettings::default().limit_flags().is_empty());
        let wrong = NatsSettings {
            keep: pair("jobs", "1d"),
            ..nats
        };
        let (key, problem) = wrong.problem().unwrap();
        assert_eq!(key, "keep");
        assert!(problem.contains("jobs have no age"), "{problem}");
    }
}
