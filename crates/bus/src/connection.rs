//! The connection: waits for the server, checks that it can be trusted with a journal, and tells how the link does.

use std::path::Path;
use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, ServerAddr};
use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{BusError, OLDEST_SERVER};
use crate::message::NewMessage;
use crate::settings::{BusSettings, user_info, without_password};
use crate::subjects::{self, AgentId};

const PING: Duration = Duration::from_secs(2);
const REQUEST: Duration = Duration::from_secs(3);
const JETSTREAM: Duration = Duration::from_millis(2500);
const LONGEST_RECONNECT: Duration = Duration::from_millis(400);
/// How often a process that waits for its server says so.
const REMIND: Duration = Duration::from_secs(10);

/// A connection to NATS that has been found fit. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Bus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    client: Client,
    jetstream: Context,
    settings: BusSettings,
    link: watch::Receiver<Link>,
    /// Unique to this connection; with a counter it makes names that nobody else makes.
    nonce: String,
    counter: AtomicU64,
}

/// How the connection does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Whether there is a connection at the moment.
    pub connected: bool,
    /// How often a connection was made. A change means that anything the server held for the old one may be gone.
    pub epoch: u64,
    /// When the present connection was made, or the last one was lost.
    pub since: Instant,
    /// The last complaint of the server or the client: an authorization denied, a slow consumer.
    pub last_error: Option<String>,
}

impl Bus {
    /// Connects, waits for the server to come, and checks its version and that it has JetStream.
    ///
    /// # Errors
    /// Unusable settings; nobody there within [`BusSettings::connect_within`]; a server too old or without JetStream.
    pub async fn connect(settings: BusSettings) -> Result<Self, BusError> {
        let addresses = settings
            .urls
            .iter()
            .map(|url| address(url))
            .collect::<Result<Vec<_>, _>>()?;
        let first = Link {
            connected: false,
            epoch: 0,
            since: Instant::now(),
            last_error: None,
        };
        let (sender, link) = watch::channel(first);
        let options = options(&settings).await?.event_callback(move |event| {
            note(&sender, &event);
            async {}
        });
        let client = options
            .connect(addresses)
            .await
            .map_err(|error| BusError::failed("connecting to NATS", error))?;
        wait_for_server(&settings, link.clone()).await?;
        check_server(&client)?;
        let jetstream = jetstream::ContextBuilder::new()
            .timeout(JETSTREAM)
            .build(client.clone());
        let nonce = client.new_inbox().rsplit('.').next().unwrap_or_default().to_owned();
        let inner = Inner {
            client,
            jetstream,
            settings,
            link,
            nonce,
            counter: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The settings it was made with.
    #[must_use]
    pub fn settings(&self) -> &BusSettings {
        &self.inner.settings
    }

    /// Follows the connection. `/readyz` asks here.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.inner.link.clone()
    }

    /// Whether there is a connection at the moment.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.inner.link.borrow().connected
    }

    /// The most bytes that one message may have, with its headers; those that the bus adds take less than 1 KiB.
    #[must_use]
    pub fn max_message(&self) -> usize {
        self.inner.client.max_payload()
    }

    /// Name and version of the server, for `sipdo doctor`.
    #[must_use]
    pub fn server(&self) -> (String, String) {
        let info = self.inner.client.server_info();
        (info.server_name, info.version)
    }

    /// Waits until the server has seen everything sent so far: subscriptions, acknowledgements. Call it before a process
    /// ends. The client's own flush only tells that the bytes have left.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn flush(&self) -> Result<(), BusError> {
        // The server takes one thing of a connection after the other, and answers at once for a process that is nobody.
        let nobody = subjects::ping(&AgentId::new(self.unique())?);
        match self.client().request(nobody, Bytes::new()).await {
            Err(error) if error.kind() != RequestErrorKind::NoResponders => Err(BusError::failed(
                "waiting for the server to have seen everything",
                error,
            )),
            _ => Ok(()),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(crate) fn jetstream(&self) -> &Context {
        &self.inner.jetstream
    }

    /// A name that no other call, in this or any other process, gets.
    pub(crate) fn unique(&self) -> String {
        format!(
            "{}-{}",
            self.inner.nonce,
            self.inner.counter.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// Refuses a message that the server would refuse, before anything is sent.
    pub(crate) fn check_size(&self, what: &'static str, message: &NewMessage) -> Result<(), BusError> {
        let (size, limit) = (message.size(), self.max_message());
        if size > limit {
            Err(BusError::TooLarge { what, size, limit })
        } else {
            Ok(())
        }
    }
}

/// The address alone: the client takes no login from a URL, and writes URLs into its log lines as they are.
fn address(url: &str) -> Result<ServerAddr, BusError> {
    let shown = without_password(url);
    if shown.trim().is_empty() {
        return Err(wrong(url, "it is empty"));
    }
    ServerAddr::from_str(&shown).map_err(|error| wrong(url, error))
}

fn wrong(url: &str, reason: impl ToString) -> BusError {
    BusError::Url {
        url: without_password(url),
        reason: reason.to_string(),
    }
}

async fn options(settings: &BusSettings) -> Result<ConnectOptions, BusError> {
    let mut options = ConnectOptions::new()
        .name(&settings.name)
        .custom_inbox_prefix(&settings.inbox_prefix)
        .retry_on_initial_connect()
        .max_reconnects(None)
        .connection_timeout(REQUEST)
        .ping_interval(PING)
        .request_timeout(Some(REQUEST))
        .reconnect_delay_callback(|attempt| {
            Duration::from_millis(25)
                .saturating_mul(1 << attempt.min(5))
                .min(LONGEST_RECONNECT)
        });
    options = match login(&settings.urls)? {
        Some((user, Some(password))) => options.user_and_password(user, password),
        Some((token, None)) => options.token(token),
        None => options,
    };
    if let Some(path) = &settings.credentials_file {
        options = options
            .credentials_file(path)
            .await
            .map_err(|error| unusable(path, error))?;
    }
    if let Some(path) = &settings.nkey_seed_file {
        let seed = tokio::fs::read_to_string(path)
            .await
            .map_err(|error| unusable(path, error))?;
        options = options.nkey(seed.trim().to_owned());
    }
    if let Some(path) = &settings.tls_ca_file {
        tokio::fs::metadata(path).await.map_err(|error| unusable(path, error))?;
        options = options.add_root_certificates(path.clone());
    }
    Ok(options)
}

/// User and password of the servers' URLs, or a token alone. One client logs in everywhere in the same way.
fn login(urls: &[String]) -> Result<Option<(String, Option<String>)>, BusError> {
    let mut login = None;
    for url in urls {
        let Some((user, password)) = user_info(url) else {
            continue;
        };
        let decode = |text| decoded(text).ok_or_else(|| wrong(url, "its user or password is not encoded as a URL's"));
        let found = (decode(user)?, password.map(decode).transpose()?);
        if login.get_or_insert_with(|| found.clone()) != &found {
            return Err(wrong(url, "its user or password is not that of the other servers"));
        }
    }
    Ok(login)
}

/// `%41` as `A`.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn unusable(path: &Path, error: std::io::Error) -> BusError {
    BusError::Credentials {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn note(link: &watch::Sender<Link>, event: &Event) {
    link.send_modify(|link| match event {
        Event::Connected => {
            (link.connected, link.since) = (true, Instant::now());
            link.epoch += 1;
        }
        Event::Disconnected | Event::Closed => (link.connected, link.since) = (false, Instant::now()),
        // A permission denied reaches the caller only as a timeout; the reason is told nowhere but here.
        Event::ServerError(_) | Event::ClientError(_) | Event::SlowConsumer(_) => {
            link.last_error = Some(event.to_string());
        }
        Event::LameDuckMode | Event::Draining => {}
    });
    match event {
        Event::Connected => tracing::info!("connected to NATS"),
        Event::Disconnected => tracing::warn!("lost the connection to NATS, trying again"),
        Event::ServerError(error) => tracing::error!(%error, "NATS refused something"),
        Event::ClientError(error) => tracing::debug!(%error, "NATS client"),
        other => tracing::info!(event = %other, "NATS"),
    }
}

async fn wait_for_server(settings: &BusSettings, mut link: watch::Receiver<Link>) -> Result<(), BusError> {
    let start = Instant::now();
    let deadline = settings.connect_within.map(|within| start + within);
    loop {
        let pause = deadline.map_or(REMIND, |deadline| {
            deadline.saturating_duration_since(Instant::now()).min(REMIND)
        });
        if tokio::time::timeout(pause, link.wait_for(|link| link.connected))
            .await
            .is_ok_and(|seen| seen.is_ok())
        {
            return Ok(());
        }
        let last = link
            .borrow()
            .last_error
            .clone()
            .unwrap_or_else(|| "no connection".to_owned());
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(BusError::Unreachable {
                urls: settings.shown_urls(),
                waited: start.elapsed(),
                last,
            });
        }
        tracing::warn!(urls = settings.shown_urls(), last, "waiting for a NATS server");
    }
}

fn check_server(client: &Client) -> Result<(), BusError> {
    let info = client.server_info();
    let server = if info.server_name.is_empty() {
        info.host
    } else {
        info.server_name
    };
    if version(&info.version).is_none_or(|found| found < OLDEST_SERVER) {
        return Err(BusError::TooOld {
            server,
            found: info.version,
        });
    }
    if !info.jetstream {
        return Err(BusError::NoJetStream { server });
    }
    Ok(())
}

/// `2.11.0-RC.1` as numbers; a release candidate counts as its release.
pub(crate) fn version(text: &str) -> Option<(u64, u64, u64)> {
    let core = text.trim().trim_start_matches('v').split(['-', '+']).next()?;
    let mut numbers = core.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("2.9.10").unwrap() < OLDEST_SERVER);
        assert!(version("2.10.27").unwrap() >= OLDEST_SERVER);
        assert!(version("v2.15.1").unwrap() > OLDEST_SERVER);
        assert_eq!(version("2.11.0-RC.1"), Some((2, 11, 0)));
        assert_eq!(version("edge"), None);
    }

    #[test]
    fn a_bad_url_is_shown_without_its_password() {
        let error = address("http://me:secret@host").unwrap_err().to_string();
        assert!(error.contains("host") && !error.contains("secret"), "{error}");
        assert!(address("").is_err());
        assert!(address("localhost:4222").is_ok());
        let address = address("nats://me:secret@host:5").unwrap();
        assert_eq!(
            (address.username(), address.password(), address.port()),
            (None, None, 5)
        );
    }

    #[test]
    fn who_logs_in_is_read_from_the_urls() {
        let told = |urls: &[&str]| login(&urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>());
        let pair = |user: &str, password: Option<&str>| Some((user.to_owned(), password.map(str::to_owned)));
        assert_eq!(told(&["nats://host", "host:1"]).unwrap(), None);
        assert_eq!(
            told(&["nats://me:s%40%C3%A9:x@host", "b"]).unwrap(),
            pair("me", Some("s@é:x"))
        );
        assert_eq!(told(&["tls://t0ken@host"]).unwrap(), pair("t0ken", None));
        for bad in [
            ["nats://me:secret@a", "nats://me:other-secret@b"],
            ["nats://me:secret%4@a", "b"],
        ] {
            let error = told(&bad).unwrap_err().to_string();
            assert!(
                error.contains("user or password") && !error.contains("secret"),
                "{error}"
            );
        }
    }
}
