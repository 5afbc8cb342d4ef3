//! Following a part of a stream in order, through everything: reconnects, restarts, lost consumers, lost messages.
//!
//! A [`Tail`] reads through a consumer of its own that lives in the server's memory and that it makes again, right
//! after the last message it has seen, whenever anything looks wrong. The client's ordered consumer does much the
//! same, but forgives the first missed heartbeat, and costs more per message.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::ConsumerErrorKind;
use async_nats::{Message, StatusCode, Subscriber};
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::connection::{Bus, Link};
use crate::error::BusError;
use crate::message::{DeliveryInfo, Headers, Stored, time_of};
use crate::subjects::{self, header, next_message};

/// Messages asked for at a time. Half of them may be on their way when the next are asked for.
const BATCH: usize = 1000;
const EXPIRES: Duration = Duration::from_secs(30);
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A server that should send a heartbeat and has not for this long has forgotten us.
const SILENCE: Duration = Duration::from_secs(2);
/// The server removes a consumer that nobody has asked for this long.
const FORGET: Duration = Duration::from_secs(10);
const LISTING: &str = "listing messages of a stream";
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A session on its way. It outlives a cancelled call: a caller that looks elsewhere every quarter of a second would otherwise begin
/// anew each time, and never end with a server that takes longer.
type Opening = Pin<Box<dyn Future<Output = Result<Session, NotOpened>> + Send + Sync>>;

/// Follows the messages of a subject filter of one stream.
pub(crate) struct Tail {
    bus: Bus,
    stream: String,
    filter: String,
    start: DeliverPolicy,
    link: watch::Receiver<Link>,
    /// The stream sequence of the last message handed out.
    last: u64,
    session: Option<Session>,
    opening: Option<Opening>,
    pause: Duration,
}

impl fmt::Debug for Tail {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Tail")
            .field("stream", &self.stream)
            .field("filter", &self.filter)
            .field("last", &self.last)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Session {
    inbox: String,
    messages: Subscriber,
    next: String,
    /// Messages asked for and not yet here.
    asked: usize,
    /// The consumer's own number of the last message; these have no gaps unless a message got lost on its way.
    consumer_seq: u64,
    epoch: u64,
    /// When the server was heard.
    heard: Instant,
    /// When somebody listened.
    listened: Instant,
}

impl Tail {
    /// Follows `filter` of `stream` from where `start` says.
    pub fn new(bus: &Bus, stream: impl Into<String>, filter: impl Into<String>, start: DeliverPolicy) -> Self {
        let link = bus.link();
        let (stream, filter) = (stream.into(), filter.into());
        Self {
            bus: bus.clone(),
            stream,
            filter,
            start,
            link,
            last: 0,
            session: None,
            opening: None,
            pause: Duration::ZERO,
        }
    }

    /// Waits for messages and hands out all that are here, at most `most`, at least one. Safe to cancel.
    ///
    /// # Errors
    /// Only if the stream is gone. A server that does not answer is waited for.
    pub async fn next_chunk(&mut self, most: usize) -> Result<Vec<Stored>, BusError> {
        loop {
            self.open().await?;
            let Some(session) = &mut self.session else { continue };
            if session.asked < BATCH / 2 {
                let ask = pull_request(BATCH, EXPIRES, HEARTBEAT);
                let sent = self
                    .bus
                    .client()
                    .publish_with_reply(session.next.clone(), session.inbox.clone(), ask)
                    .await;
                sent.map_err(|error| BusError::failed("asking for messages of a stream", error))?;
                session.asked += BATCH;
            }
            let patience = session.listen() + SILENCE;
            let epoch = session.epoch;
            let first = tokio::select! {
                biased;
                message = session.messages.next() => message,
                changed = self.link.wait_for(|link| link.epoch != epoch) => {
                    // A closed link is a closed client: nothing more will come.
                    changed.map_err(|_| BusError::failed("reading a stream", "the connection is closed"))?;
                    None
                }
                () = tokio::time::sleep_until(patience) => None,
            };
            // From here to the return nothing waits, so that a cancelled call loses no message.
            let chunk = self.take(first, most);
            if !chunk.is_empty() {
                return Ok(chunk);
            }
        }
    }

    /// Takes `first` and whatever else is here.
    fn take(&mut self, first: Option<Message>, most: usize) -> Vec<Stored> {
        let mut chunk = Vec::new();
        let mut next = first;
        while let Some(message) = next {
            let Some(session) = &mut self.session else { return chunk };
            match session.accept(message, self.last) {
                Accepted::Message(stored) => {
                    (self.last, self.pause) = (stored.seq, Duration::ZERO);
                    chunk.push(stored);
                }
                Accepted::Nothing => {}
                Accepted::Broken => {
                    self.session = None;
                    return chunk;
                }
            }
            if chunk.len() >= most {
                return chunk;
            }
            // The runtime's fairness would end a burst after a hundred messages; the limit here is `most`.
            next = match tokio::task::unconstrained(session.messages.next()).now_or_never() {
                Some(message @ Some(_)) => message,
                Some(None) => break,
                None => return chunk,
            };
        }
        self.session = None;
        chunk
    }

    async fn open(&mut self) -> Result<(), BusError> {
        if self.session.is_some() {
            return Ok(());
        }
        let begun = self.opening.take().unwrap_or_else(|| self.begin_to_open());
        let opened = self.opening.insert(begun).await;
        self.opening = None;
        match opened {
            Ok(session) => self.session = Some(session),
            Err(NotOpened::Gone) => {
                return Err(BusError::failed(
                    "reading a stream",
                    format!("there is no stream {}", self.stream),
                ));
            }
            Err(NotOpened::Other(reason)) => {
                tracing::debug!(stream = self.stream, reason, "cannot read the stream, trying again");
                self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
            }
        }
        Ok(())
    }

    fn begin_to_open(&self) -> Opening {
        let start = match self.last {
            0 => self.start,
            last => DeliverPolicy::ByStartSequence {
                start_sequence: last + 1,
            },
        };
        let (bus, link, pause) = (self.bus.clone(), self.link.clone(), self.pause);
        let (stream, filter) = (self.stream.clone(), self.filter.clone());
        Box::pin(async move {
            tokio::time::sleep(pause).await;
            let epoch = link.borrow().epoch;
            let name = format!("tail-{}", bus.unique());
            make_reader(&bus, &stream, &name, &filter, start).await?;
            let inbox = bus.client().new_inbox();
            let subscribed = bus.client().subscribe(inbox.clone()).await;
            Ok(Session {
                inbox,
                messages: subscribed.map_err(NotOpened::other)?,
                next: next_message(&stream, &name),
                asked: 0,
                consumer_seq: 0,
                epoch,
                heard: Instant::now(),
                listened: Instant::now(),
            })
        })
    }
}

enum NotOpened {
    Gone,
    Other(String),
}

impl NotOpened {
    fn other(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

enum Accepted {
    Message(Stored),
    Nothing,
    Broken,
}

impl Session {
    /// When the server was heard last. Where nobody has listened for a while it may have spoken since: then it is from now that
    /// silence counts. Calls that are cancelled and made again at once go on listening.
    fn listen(&mut self) -> Instant {
        let now = Instant::now();
        if now.duration_since(self.listened) > HEARTBEAT {
            self.heard = now;
        }
        self.listened = now;
        self.heard
    }

    /// Judges one message from the inbox. `last` is the stream sequence of the last message handed out.
    fn accept(&mut self, message: Message, last: u64) -> Accepted {
        self.heard = Instant::now();
        match message.status {
            None | Some(StatusCode::OK) => {}
            Some(StatusCode::IDLE_HEARTBEAT) => return Accepted::Nothing,
            Some(StatusCode::TIMEOUT | StatusCode::NOT_FOUND) => {
                self.asked = self.asked.saturating_sub(unanswered(&message).unwrap_or(self.asked));
                return Accepted::Nothing;
            }
            // The consumer is gone, its leader changed, the server goes down, or nobody is there.
            Some(_) => return Accepted::Broken,
        }
        let Some(info) = message.reply.as_deref().and_then(DeliveryInfo::parse) else {
            return Accepted::Broken;
        };
        self.asked = self.asked.saturating_sub(1);
        if info.consumer_seq != self.consumer_seq + 1 || info.stream_seq <= last {
            return Accepted::Broken;
        }
        self.consumer_seq = info.consumer_seq;
        Accepted::Message(stored(message, info))
    }
}

impl Bus {
    /// The last message of each subject that matches `filter`, oldest first.
    pub(crate) async fn last_of_each(&self, stream: &str, filter: &str) -> Result<Vec<Stored>, BusError> {
        self.collect(stream, filter, DeliverPolicy::LastPerSubject).await
    }

    /// All messages that a consumer with this start has at the moment.
    pub(crate) async fn collect(
        &self,
        stream: &str,
        filter: &str,
        start: DeliverPolicy,
    ) -> Result<Vec<Stored>, BusError> {
        let name = format!("list-{}", self.unique());
        let waiting = match make_reader(self, stream, &name, filter, start).await {
            Ok(waiting) => waiting,
            Err(NotOpened::Gone) => return Err(BusError::failed(LISTING, format!("there is no stream {stream}"))),
            Err(NotOpened::Other(reason)) => return Err(BusError::failed(LISTING, reason)),
        };
        let found = match waiting {
            0 => Ok(Vec::new()),
            _ => self.collect_from(stream, &name).await,
        };
        // The server would forget it by itself, but coordinators list every second. Whether it did is not worth waiting for.
        let forget = subjects::forget_consumer(stream, &name);
        let sent = self.client().publish(forget, Bytes::new()).await;
        sent.map_err(|error| BusError::failed(LISTING, error))?;
        found
    }

    async fn collect_from(&self, stream: &str, consumer: &str) -> Result<Vec<Stored>, BusError> {
        let mut found = Vec::new();
        let inbox = self.client().new_inbox();
        let mut messages = self
            .client()
            .subscribe(inbox.clone())
            .await
            .map_err(|error| BusError::failed(LISTING, error))?;
        let mut asked = 0;
        loop {
            if asked == 0 {
                // Not waiting for more: the server says so when there is nothing left. Counting instead would never end
                // if a message expired in between.
                let ask = pull_request_now(BATCH);
                let sent = self
                    .client()
                    .publish_with_reply(next_message(stream, consumer), inbox.clone(), ask)
                    .await;
                sent.map_err(|error| BusError::failed(LISTING, error))?;
                asked = BATCH;
            }
            let Ok(Some(message)) = tokio::time::timeout(SILENCE, messages.next()).await else {
                return Err(BusError::failed(LISTING, "no answer"));
            };
            match message.status {
                None | Some(StatusCode::OK) => {
                    asked -= 1;
                    if let Some(info) = message.reply.as_deref().and_then(DeliveryInfo::parse) {
                        found.push(stored(message, info));
                    }
                }
                Some(StatusCode::NOT_FOUND | StatusCode::TIMEOUT) => return Ok(found),
                Some(status) => return Err(BusError::failed(LISTING, format!("the server says {status}"))),
            }
        }
    }
}

/// Makes a consumer that reads without acknowledging, and returns how many messages it has.
async fn make_reader(
    bus: &Bus,
    stream: &str,
    name: &str,
    filter: &str,
    start: DeliverPolicy,
) -> Result<u64, NotOpened> {
    let config = pull::Config {
        name: Some(name.to_owned()),
        filter_subject: filter.to_owned(),
        deliver_policy: start,
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGET,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    };
    match bus.jetstream().create_consumer_on_stream(config, stream).await {
        Ok(consumer) => Ok(consumer.cached_info().num_pending),
        Err(error) => Err(match error.kind() {
            ConsumerErrorKind::JetStream(refusal) if refusal.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                NotOpened::Gone
            }
            _ => NotOpened::other(error),
        }),
    }
}

/// A request for messages of a pull consumer, as the server reads it.
pub(crate) fn pull_request(batch: usize, expires: Duration, heartbeat: Duration) -> Bytes {
    let (expires, heartbeat) = (nanos(expires), nanos(heartbeat));
    let request = serde_json::json!({ "batch": batch, "expires": expires, "idle_heartbeat": heartbeat });
    request.to_string().into()
}

/// A request for what a pull consumer has at the moment; the server says when that was all.
fn pull_request_now(batch: usize) -> Bytes {
    serde_json::json!({ "batch": batch, "no_wait": true })
        .to_string()
        .into()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// How many messages of an ended request did not come, if the server tells.
pub(crate) fn unanswered(message: &Message) -> Option<usize> {
    message
        .headers
        .as_ref()?
        .get(header::PENDING_MESSAGES)?
        .as_str()
        .parse()
        .ok()
}

fn stored(message: Message, info: DeliveryInfo) -> Stored {
    Stored {
        subject: message.subject.into_string(),
        seq: info.stream_seq,
        time: time_of(info.nanos),
        headers: Headers::from_nats(message.headers),
        payload: message.payload,
    }
}
