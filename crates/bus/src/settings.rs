//! How to reach the server and how its streams are made. One value, with defaults that suit one machine.

use std::path::PathBuf;
use std::time::Duration;

use crate::limits::Limits;

/// How many copies the server keeps of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replicas {
    /// Three in a cluster, one otherwise.
    #[default]
    Auto,
    /// One copy.
    One,
    /// Three copies; needs a cluster of three servers or more.
    Three,
}

/// Settings of the connection and of the streams.
#[derive(Debug, Clone)]
pub struct BusSettings {
    /// Servers to try, for example `nats://localhost:4222`. A user and password in a URL are never shown.
    pub urls: Vec<String>,
    /// A `.creds` file.
    pub credentials_file: Option<PathBuf>,
    /// A file with the seed of an nkey.
    pub nkey_seed_file: Option<PathBuf>,
    /// A file with the certificate of the authority that signed the server's.
    pub tls_ca_file: Option<PathBuf>,
    /// Name of the connection, shown in the server's own reports.
    pub name: String,
    /// First token of the subjects for answers to this process; give each role its own, so that rights can tell them apart.
    pub inbox_prefix: String,
    /// How long [`crate::Bus::connect`] waits for a server; `None` waits for ever, as an agent does.
    pub connect_within: Option<Duration>,
    /// How long a publish is tried again until its outcome is known, and a reading again until it is answered.
    pub settle_within: Duration,
    /// Copies of each message.
    pub replicas: Replicas,
    /// Jobs that may wait per run and role; the server refuses more, which keeps runs fair to each other.
    pub window_per_run: u32,
    /// How long an agent may be silent about a job before another gets it. Agents speak every third of it.
    pub ack_wait: Duration,
    /// How much each stream may hold, and for how long.
    pub limits: Limits,
}

impl Default for BusSettings {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".to_owned()],
            credentials_file: None,
            nkey_seed_file: None,
            tls_ca_file: None,
            name: "sipdo".to_owned(),
            inbox_prefix: "_INBOX".to_owned(),
            connect_within: None,
            settle_within: Duration::from_secs(30),
            replicas: Replicas::Auto,
            window_per_run: 256,
            ack_wait: Duration::from_secs(30),
            limits: Limits::default(),
        }
    }
}

impl BusSettings {
    /// The defaults, with this server.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            urls: vec![url.into()],
            ..Self::default()
        }
    }

    /// The servers, without users and passwords, for messages.
    pub(crate) fn shown_urls(&self) -> String {
        self.urls
            .iter()
            .map(|url| without_password(url))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// `url` with whatever stands before an `@` left out.
pub(crate) fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    if scheme.is_empty() {
        host.to_owned()
    } else {
        format!("{scheme}://{host}")
    }
}

/// User and password of a URL, or what stands there alone.
pub(crate) fn user_info(url: &str) -> Option<(&str, Option<&str>)> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (login, _) = rest.rsplit_once('@')?;
    Some(match login.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (login, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(without_password("nats://me:secret@host:4222"), "nats://host:4222");
        assert_eq!(without_password("token@host"), "host");
        assert_eq!(without_password("tls://host:4222"), "tls://host:4222");
    }
}
