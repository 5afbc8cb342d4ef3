//! Messages as the rest of sipdo sees them: bytes and headers, with no type of the NATS client in sight.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_nats::{HeaderMap, HeaderValue};
use bytes::Bytes;
use sipdo_telemetry::{Trace, propagation};

use crate::subjects::header;

/// Headers of a message. Names keep their case; each name has one value.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(HeaderMap);

impl Headers {
    /// No headers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`, if it is there.
    #[must_use]
    pub fn get(&self, name: &'static str) -> Option<&str> {
        self.0.get(name).map(HeaderValue::as_str)
    }

    /// The value of `name` as a number, if it is there and is one.
    #[must_use]
    pub fn number(&self, name: &'static str) -> Option<u64> {
        self.get(name)?.parse().ok()
    }

    /// Sets `name`. Line breaks become blanks: a header is one line, and the client would panic.
    pub fn set(&mut self, name: &'static str, value: impl AsRef<str>) {
        let value = value.as_ref();
        let value = if value.contains(['\r', '\n']) {
            value.replace(['\r', '\n'], " ")
        } else {
            value.to_owned()
        };
        self.0.insert(name, value);
    }

    /// The place in a trace that these headers name; nowhere if they name none, or nothing is recorded.
    #[must_use]
    pub fn trace(&self) -> Trace {
        propagation::extract(|name| self.get(name))
    }

    /// Writes a place in a trace, if it is one.
    pub fn set_trace(&mut self, trace: &Trace) {
        propagation::inject(trace, |name, value| self.set(name, value));
    }

    pub(crate) fn from_nats(headers: Option<HeaderMap>) -> Self {
        Self(headers.unwrap_or_default())
    }

    pub(crate) fn into_nats(self) -> HeaderMap {
        self.0
    }

    /// Bytes that these headers take on the wire.
    fn size(&self) -> usize {
        if self.0.is_empty() {
            return 0;
        }
        let lines = self.0.iter().map(|(name, values)| {
            values
                .iter()
                .map(|value| AsRef::<str>::as_ref(name).len() + value.as_str().len() + 4)
                .sum::<usize>()
        });
        "NATS/1.0\r\n\r\n".len() + lines.sum::<usize>()
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self
            .0
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name, value.as_str())));
        f.debug_map()
            .entries(pairs.map(|(name, value)| (name.to_string(), value)))
            .finish()
    }
}

/// A message to be published.
#[derive(Clone, Debug, Default)]
pub struct NewMessage {
    /// The content; protobuf everywhere in sipdo.
    pub payload: Bytes,
    /// The headers, without those that the bus itself sets.
    pub headers: Headers,
}

impl NewMessage {
    /// A message of these bytes.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self {
            payload: payload.into(),
            headers: Headers::new(),
        }
    }

    /// A message of this protobuf value, whose schema (for example `result.v1`) is told in a header.
    pub fn encode(value: &impl prost::Message, schema: &str) -> Self {
        Self::new(value.encode_to_vec()).with(header::SCHEMA, schema)
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        self.headers.set(name, value);
        self
    }

    /// With this place in a trace, for the reader to go on from.
    #[must_use]
    pub fn traced(mut self, trace: &Trace) -> Self {
        self.headers.set_trace(trace);
        self
    }

    /// Bytes that this message takes of the server's limit.
    pub(crate) fn size(&self) -> usize {
        self.payload.len() + self.headers.size()
    }
}

/// A message as it lies in a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Where it was published.
    pub subject: String,
    /// Its place in the stream, from 1.
    pub seq: u64,
    /// When the server took it.
    pub time: SystemTime,
    /// Its headers.
    pub headers: Headers,
    /// Its content.
    pub payload: Bytes,
}

impl From<async_nats::jetstream::message::StreamMessage> for Stored {
    fn from(message: async_nats::jetstream::message::StreamMessage) -> Self {
        Self {
            subject: message.subject.into_string(),
            seq: message.sequence,
            time: time_of(message.time.unix_timestamp_nanos()),
            headers: Headers(message.headers),
            payload: message.payload,
        }
    }
}

/// Unix time in milliseconds. For people: nothing is decided by it, except a cap on time.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Turns nanoseconds since 1970 into a time.
pub(crate) fn time_of(nanos: i128) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

/// What the server says about a delivered message, in the subject for its acknowledgement (NATS ADR-15).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeliveryInfo {
    /// How often it was delivered, from 1.
    pub delivered: u64,
    /// Its place in the stream.
    pub stream_seq: u64,
    /// Its place among what the consumer delivered, from 1 without gaps.
    pub consumer_seq: u64,
    /// When the server took it, in nanoseconds since 1970.
    pub nanos: i128,
}

impl DeliveryInfo {
    /// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<cseq>.<time>.<pending>`, with domain and account hash in
    /// front of the stream on servers that write them. The client's own parser needs a context cloned per message.
    pub fn parse(reply: &str) -> Option<Self> {
        let rest = reply.strip_prefix("$JS.ACK.")?;
        let before = match rest.split('.').count() {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut tokens = rest.split('.').skip(before);
        Some(Self {
            delivered: tokens.next()?.parse().ok()?,
            stream_seq: tokens.next()?.parse().ok()?,
            consumer_seq: tokens.next()?.parse().ok()?,
            nanos: tokens.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgement_subjects_of_old_and_new_servers_are_read() {
        let expected = DeliveryInfo {
            delivered: 2,
            stream_seq: 17,
            consumer_seq: 5,
            nanos: 1_700_000_000_000_000_000,
        };
        let old = "$JS.ACK.SIPDO_JOB.learner.2.17.5.1700000000000000000.4";
        let new = "$JS.ACK._.ACCHASH.SIPDO_JOB.learner.2.17.5.1700000000000000000.4.token";
        assert_eq!(DeliveryInfo::parse(old), Some(expected));
        assert_eq!(DeliveryInfo::parse(new), Some(expected));
        assert_eq!(DeliveryInfo::parse("$JS.ACK.a.b.c"), None);
        assert_eq!(DeliveryInfo::parse("_INBOX.x.y"), None);
    }

    #[test]
    fn a_line_break_in_a_header_does_no_harm() {
        let message = NewMessage::new("x").with(header::DEAD_REASON, "first\r\nsecond");
        assert_eq!(message.headers.get(header::DEAD_REASON), Some("first  second"));
        assert_eq!(message.headers.get("sipdo-dead-reason"), None, "names keep their case");
    }

    #[test]
    fn sizes_are_counted_as_the_server_counts_them() {
        assert_eq!(NewMessage::new("1234").size(), 4);
        // 12 for "NATS/1.0" and the two line ends of the block, 14 for "Sipdo-Job: j" and its line end, 4 for the payload.
        assert_eq!(NewMessage::new("1234").with(header::JOB, "j").size(), 30);
    }
}
