//! What is known of a span while it goes on: written down as OTLP has it, piece by piece as it becomes known, so that nothing is built
//! in memory to be read once and thrown away. Sampler, limits and ids are the SDK's, as the environment sets them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{Config, SamplingDecision};

use crate::Settings;
use crate::attr::{Attr, Attribute};
use crate::encode;
use crate::sender::Queue;

/// Events that one span may have where the environment sets no other limit: each vote of an iteration is one.
const EVENTS: u32 = 4096;
/// Room for most spans, so that they are not moved while they grow.
const BYTES: usize = 1536;
/// Pieces of memory that one thread keeps for the spans to come: to ask for so much anew costs more than to fill it.
const SPARE: usize = 64;

thread_local! {
    static MEMORY: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Begins and ends the spans of this process.
#[derive(Debug)]
pub(crate) struct Recorder {
    sdk: Config,
    /// Whether the environment chooses who decides what is sampled.
    asks_sampler: bool,
    ended: Arc<Queue>,
}

/// A span before it begins.
#[derive(Debug)]
pub(crate) struct Draft {
    name: Cow<'static, str>,
    kind: SpanKind,
    start: Option<SystemTime>,
    body: Body,
}

/// A span that has begun.
#[derive(Debug)]
pub(crate) struct Record {
    place: SpanContext,
    /// None where it has ended, or is not sampled.
    body: Mutex<Option<Body>>,
    most_events: u32,
}

/// What is written of a span so far.
#[derive(Debug, Default)]
struct Body {
    bytes: Vec<u8>,
    events: u32,
    dropped_events: u32,
    failed: bool,
}

impl Recorder {
    /// Hands what has ended to `ended`.
    pub fn new(ended: Arc<Queue>, settings: &Settings) -> Self {
        let mut sdk = Config::default();
        if !settings.limits_events {
            sdk.span_limits.max_events_per_span = EVENTS;
        }
        Self {
            sdk,
            asks_sampler: settings.asks_sampler,
            ended,
        }
    }

    /// Begins a span below `parent`, or a trace where there is none.
    pub fn begin(&self, draft: Draft, parent: Option<&SpanContext>) -> Record {
        let Draft {
            name,
            kind,
            start,
            mut body,
        } = draft;
        let ids = &self.sdk.id_generator;
        let trace = parent.map_or_else(|| ids.new_trace_id(), SpanContext::trace_id);
        let (sampling, state) = self.sample(trace, parent, &name, &kind);
        let flags = if sampling {
            TraceFlags::SAMPLED
        } else {
            TraceFlags::default()
        };
        let place = SpanContext::new(trace, ids.new_span_id(), flags, false, state);
        if sampling {
            let start = start.unwrap_or_else(SystemTime::now);
            encode::head(&mut body.bytes, &place, parent, &name, &kind, start);
        }
        Record {
            place,
            body: Mutex::new(sampling.then_some(body)),
            most_events: self.sdk.span_limits.max_events_per_span,
        }
    }

    /// Whether a span is recorded, and the state of its trace. Where the environment says nothing, as its parent is, and all traces
    /// are: to ask the SDK's sampler for that would need a context made for each span.
    fn sample(&self, trace: TraceId, parent: Option<&SpanContext>, name: &str, kind: &SpanKind) -> (bool, TraceState) {
        if !self.asks_sampler {
            return parent.map_or((true, TraceState::NONE), |parent| {
                (parent.is_sampled(), parent.trace_state().clone())
            });
        }
        let above = parent.map(|parent| Context::new().with_remote_span_context(parent.clone()));
        let sampled = self
            .sdk
            .sampler
            .should_sample(above.as_ref(), trace, name, kind, &[], &[]);
        (
            sampled.decision == SamplingDecision::RecordAndSample,
            sampled.trace_state,
        )
    }

    /// Ends it, if it goes on.
    pub fn end(&self, record: &Record, end: SystemTime) {
        let body = record.lock().take();
        if let Some(mut body) = body {
            encode::tail(&mut body.bytes, end, body.dropped_events, body.failed);
            self.ended.put(&body.bytes);
            keep(body.bytes);
        }
    }
}

/// Keeps the memory of a span for another, unless it has grown large.
fn keep(mut bytes: Vec<u8>) {
    if bytes.capacity() <= 2 * BYTES {
        bytes.clear();
        let _ = MEMORY.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < SPARE {
                spare.push(bytes);
            }
        });
    }
}

impl Draft {
    pub fn new(name: Cow<'static, str>, kind: SpanKind) -> Self {
        // A span may begin or end while its thread does.
        let spare = MEMORY.try_with(|spare| spare.borrow_mut().pop()).ok().flatten();
        let body = Body {
            bytes: spare.unwrap_or_else(|| Vec::with_capacity(BYTES)),
            ..Body::default()
        };
        Self {
            name,
            kind,
            start: None,
            body,
        }
    }

    pub fn begin_at(&mut self, start: SystemTime) {
        self.start = Some(start);
    }

    pub fn set(&mut self, name: &str, value: &impl Attr) {
        encode::attribute(&mut self.body.bytes, name, value);
    }

    pub fn link(&mut self, to: &SpanContext) {
        encode::link(&mut self.body.bytes, to);
    }
}

impl Record {
    pub fn place(&self) -> &SpanContext {
        &self.place
    }

    pub fn set(&self, name: &str, value: &(impl Attr + ?Sized)) {
        if let Some(body) = self.lock().as_mut() {
            encode::attribute(&mut body.bytes, name, value);
        }
    }

    pub fn event(&self, name: &str, attributes: &[Attribute]) {
        if let Some(body) = self.lock().as_mut() {
            if body.events == self.most_events {
                body.dropped_events += 1;
                return;
            }
            body.events += 1;
            encode::event(&mut body.bytes, name, SystemTime::now(), attributes);
        }
    }

    pub fn fail(&self) {
        if let Some(body) = self.lock().as_mut() {
            body.failed = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Body>> {
        self.body.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
