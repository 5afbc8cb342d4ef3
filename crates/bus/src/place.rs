//! Publishing with a known outcome: compare-and-set on a subject, and plain messages that may be sent twice.
//!
//! A publish can fail in a way that leaves open whether it happened (a timeout, a server that dies). Here nobody ever
//! has to guess: such a publish is settled by reading the last message of its subject from the leader of the stream;
//! the module [`crate::settling`] decides.

use std::error::Error as _;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::stream::{DirectGetErrorKind, LastRawMessageErrorKind};
use async_nats::jetstream::{Error as ServerError, ErrorCode};
use tokio::time::Instant;

use crate::connection::Bus;
use crate::error::BusError;
use crate::message::{NewMessage, Stored};
use crate::settling::{Last, NextAction, PublishReply, Settling};
use crate::subjects::header;

const PAUSE: Duration = Duration::from_millis(100);

/// The server's codes for a limit of the account or of the server itself that was met.
const NO_ROOM: [ErrorCode; 4] = [
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::MEMORY_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
];
/// A limit of the stream that was met. The server has one code, `STREAM_STORE_FAILED`, for all that its store refuses, and only the
/// words tell the limits apart; the test below holds them against the real server.
const STORE_FULL: [&str; 3] = ["maximum bytes exceeded", "maximum messages exceeded", "no space left"];
/// The same, of a limit on the messages of one subject.
const WINDOW_FULL: [&str; 1] = ["maximum messages per subject exceeded"];

/// Where a message goes and what it is called in an error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    pub stream: &'static str,
    pub subject: &'a str,
    pub what: &'static str,
}

/// The outcome of a compare-and-set.
#[derive(Debug)]
pub(crate) enum CasOutcome {
    /// The message lies in the stream at this sequence.
    Stored(u64),
    /// Another message came first. It is given where it had to be read to know.
    Taken(Option<Stored>),
    /// The stream swallowed the message as a repetition of an older one with the same id.
    Repeated(u64),
}

/// Why a publish was not acknowledged.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The last sequence is another one.
    WrongSequence,
    /// The subject has as many messages as it may have.
    WindowFull,
    /// There is no room for it, in the stream or on the server.
    Full(String),
    /// It may or may not have been stored.
    Unsure(String),
    /// The server does not want it.
    Refused(String),
}

impl Refusal {
    pub fn of(error: &PublishError) -> Self {
        let server = error.source().and_then(|source| source.downcast_ref::<ServerError>());
        match (error.kind(), server) {
            (PublishErrorKind::WrongLastSequence, _) => Self::WrongSequence,
            // Newer servers have two codes for a lost compare-and-set, of which the client knows one.
            (_, Some(refusal)) if refusal.error_code() == ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
                Self::WrongSequence
            }
            (_, Some(refusal)) if NO_ROOM.contains(&refusal.error_code()) => Self::Full(refusal.to_string()),
            (_, Some(refusal)) if refusal.error_code() == ErrorCode::STREAM_STORE_FAILED => Self::of_store(refusal),
            (_, Some(refusal)) if refusal.code() == 503 => Self::Unsure(refusal.to_string()),
            (_, Some(refusal)) => Self::Refused(refusal.to_string()),
            // "Stream not found" is what nobody answering looks like, also while a server starts.
            (PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe | PublishErrorKind::StreamNotFound, None) => {
                Self::Unsure(error.to_string())
            }
            (_, None) => Self::Refused(error.to_string()),
        }
    }

    fn of_store(refusal: &ServerError) -> Self {
        let reason = refusal.to_string();
        let says = |words: &[&str]| words.iter().any(|words| reason.contains(words));
        if says(&WINDOW_FULL) {
            Self::WindowFull
        } else if says(&STORE_FULL) {
            Self::Full(reason)
        } else if refusal.code() == 503 {
            Self::Unsure(reason)
        } else {
            Self::Refused(reason)
        }
    }
}

/// What lies last, for [`Settling`].
fn read_as(last: Option<&Stored>, identity: &'static str, id: &str) -> Last {
    Last {
        seq: last.map_or(0, |last| last.seq),
        ours: last.is_some_and(|last| last.headers.get(identity) == Some(id)),
    }
}

impl Bus {
    /// Stores `message` if the last message of the subject has the sequence `expected` (0: there is none). The value of
    /// the header `identity` must be this call's own: by it the message is recognised when the outcome has to be read.
    pub(crate) async fn publish_if(
        &self,
        target: Target<'_>,
        message: NewMessage,
        expected: u64,
        identity: &'static str,
    ) -> Result<CasOutcome, BusError> {
        let message = message.with(header::EXPECTED_LAST, expected.to_string());
        self.check_size(target.what, &message)?;
        let id = message.headers.get(identity).unwrap_or_default().to_owned();
        let headers = message.headers.into_nats();
        let publish = PublishMessage::build().payload(message.payload).headers(headers);

        let start = Instant::now();
        let mut doubt = None::<String>;
        let mut settling = Settling::new(expected, identity == header::NONCE);
        loop {
            let mut full = None;
            let heard = match self
                .publish_once(target.subject, publish.clone())
                .await
                .map_err(|error| Refusal::of(&error))
            {
                Ok(ack) if ack.duplicate => PublishReply::Swallowed(ack.sequence),
                Ok(ack) => PublishReply::Stored(ack.sequence),
                Err(Refusal::WrongSequence) => PublishReply::WrongSequence,
                Err(Refusal::Unsure(reason)) => {
                    doubt = Some(reason);
                    PublishReply::Nothing
                }
                // An earlier try may have been stored, and may be what filled it.
                Err(Refusal::Full(reason)) if doubt.is_some() => {
                    full = Some(reason);
                    PublishReply::Nothing
                }
                Err(Refusal::Full(reason)) => return Err(self.full(target.what, target.stream, &reason).await),
                Err(Refusal::WindowFull) => return Err(BusError::failed(target.what, "the stream is full")),
                Err(Refusal::Refused(reason)) => {
                    return Err(BusError::Failed {
                        doing: target.what,
                        reason,
                    });
                }
            };
            let (mut next, mut last) = (settling.heard(heard), None);
            if next == NextAction::Read {
                let read = self.last_from_leader(target.stream, target.subject).await;
                let read = read.map_err(|error| doubt = Some(error.to_string())).ok();
                full = full.filter(|_| read.is_some());
                next = settling.read(read.as_ref().map(|last| read_as(last.as_ref(), identity, &id)));
                last = read.flatten();
            }
            if let (NextAction::Send, Some(reason)) = (next, full) {
                return Err(self.full(target.what, target.stream, &reason).await);
            }
            match next {
                NextAction::Stored(seq) => return Ok(CasOutcome::Stored(seq)),
                NextAction::Taken => return Ok(CasOutcome::Taken(last)),
                NextAction::Repeated(older) => return Ok(CasOutcome::Repeated(older)),
                NextAction::Read | NextAction::Send => {}
            }
            if start.elapsed() > self.settings().settle_within {
                let reason = doubt.unwrap_or_else(|| "the answers contradict each other".to_owned());
                return Err(BusError::Unsettled {
                    doing: target.what,
                    waited: start.elapsed(),
                    reason,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stores `message`, trying again while the outcome is unknown. It carries a message id, so that a repetition within
    /// two minutes is not stored twice; later ones may be, and the receiver has to bear it.
    pub(crate) async fn deliver(
        &self,
        stream: &str,
        subject: &str,
        what: &'static str,
        message: NewMessage,
        id: &str,
    ) -> Result<u64, BusError> {
        let message = if id.is_empty() {
            message
        } else {
            message.with(header::MESSAGE_ID, id)
        };
        self.check_size(what, &message)?;
        let publish = PublishMessage::build()
            .payload(message.payload)
            .headers(message.headers.into_nats());
        let start = Instant::now();
        loop {
            let reason = match self.publish_once(subject, publish.clone()).await {
                Ok(ack) => return Ok(ack.sequence),
                Err(error) => match Refusal::of(&error) {
                    Refusal::Unsure(reason) => reason,
                    Refusal::Full(reason) => return Err(self.full(what, stream, &reason).await),
                    _ => return Err(BusError::failed(what, error)),
                },
            };
            if start.elapsed() > self.settings().settle_within {
                return Err(BusError::Unsettled {
                    doing: what,
                    waited: start.elapsed(),
                    reason,
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn publish_once(&self, subject: &str, message: PublishMessage) -> Result<PublishAck, PublishError> {
        self.jetstream().send_publish(subject.to_owned(), message).await?.await
    }

    /// The last message of `subject`, which may hold wildcards, as the leader of the stream knows it.
    pub(crate) async fn last_from_leader(
        &self,
        stream: &'static str,
        subject: &str,
    ) -> Result<Option<Stored>, BusError> {
        let stream = self
            .jetstream()
            .get_stream_no_info(stream)
            .await
            .map_err(|e| BusError::failed("reading", e))?;
        match stream
            .raw_message_builder()
            .last_by_subject(subject.to_owned())
            .send()
            .await
        {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BusError::failed("reading the last message of a subject", error)),
        }
    }

    /// The first message of `subject`, as the leader of the stream knows it.
    pub(crate) async fn first_from_leader(
        &self,
        stream: &'static str,
        subject: &str,
    ) -> Result<Option<Stored>, BusError> {
        let stream = self
            .jetstream()
            .get_stream_no_info(stream)
            .await
            .map_err(|e| BusError::failed("reading", e))?;
        match stream
            .raw_message_builder()
            .sequence(1)
            .next_by_subject(subject.to_owned())
            .send()
            .await
        {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(BusError::failed("reading the first message of a subject", error)),
        }
    }

    /// The last message of `subject`, from whichever copy answers: quick, and in a cluster perhaps a moment old.
    pub(crate) async fn last_from_anyone(&self, stream: &str, subject: &str) -> Result<Option<Stored>, BusError> {
        let stream = self
            .jetstream()
            .get_stream_no_info(stream)
            .await
            .map_err(|e| BusError::failed("reading", e))?;
        match stream.direct_get_last_for_subject(subject).await {
            Ok(message) => Ok(Some(message.into())),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(BusError::failed("reading the last message of a subject", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::{NatsServer, NatsServerOptions};
    use crate::settings::BusSettings;
    use async_nats::jetstream::stream::{Config, DiscardPolicy};

    /// What the server says to the second of two messages of so many bytes on one subject, in a stream with these limits.
    async fn refusal(bus: &Bus, name: &str, limits: Config, bytes: usize) -> Refusal {
        let config = Config {
            name: name.to_owned(),
            subjects: vec![name.to_owned()],
            discard: DiscardPolicy::New,
            ..limits
        };
        bus.jetstream().create_stream(config).await.unwrap();
        let message = || PublishMessage::build().payload(vec![7; bytes].into());
        bus.publish_once(name, message()).await.unwrap();
        Refusal::of(&bus.publish_once(name, message()).await.unwrap_err())
    }

    #[tokio::test]
    async fn every_limit_of_a_stream_is_recognised_by_the_words_of_the_real_server() {
        let folder = tempfile::tempdir().unwrap();
        let server = NatsServer::start(NatsServerOptions::new(folder.path())).await.unwrap();
        let bus = Bus::connect(BusSettings::new(server.url())).await.unwrap();
        let limits = Config::default;
        let bytes = Config {
            max_bytes: 1_500,
            ..limits()
        };
        let messages = Config {
            max_messages: 1,
            ..limits()
        };
        for (name, limits, words) in [("bytes", bytes, STORE_FULL[0]), ("messages", messages, STORE_FULL[1])] {
            let refused = refusal(&bus, name, limits, 1_000).await;
            assert!(
                matches!(&refused, Refusal::Full(why) if why.contains(words)),
                "{refused:?}"
            );
        }
        let subject = Config {
            max_messages_per_subject: 1,
            discard_new_per_subject: true,
            ..limits()
        };
        let refused = refusal(&bus, "subject", subject, 1_000).await;
        assert!(matches!(refused, Refusal::WindowFull), "{refused:?}");
    }
}
