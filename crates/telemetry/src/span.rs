//! Spans as sipdo records them: started by name, kind and parent, filled while the work goes on, ended once.
//!
//! Where no collector is named, [`recording`] is false, a [`Span`] is nothing, and whoever builds attributes asks first:
//! tracing that is off costs one read of an atomic. Log lines written inside [`Span::scope`] carry the ids of the span.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::{Link, SpanBuilder, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Array, Context, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SdkTracer;

pub use opentelemetry::trace::SpanKind as Kind;

use crate::{Settings, names};

static TRACER: OnceLock<SdkTracer> = OnceLock::new();
static RECORDING: AtomicBool = AtomicBool::new(false);
static CONTENT: AtomicBool = AtomicBool::new(false);
static LANGFUSE: AtomicBool = AtomicBool::new(false);
/// Room for the attributes of most spans, so that they are moved once.
const ATTRIBUTES: usize = 24;

/// Whether spans are recorded in this process.
#[must_use]
pub fn recording() -> bool {
    RECORDING.load(Ordering::Relaxed)
}

/// Whether prompts and answers may stand on spans: only where an operator has asked for it.
#[must_use]
pub fn capturing_content() -> bool {
    CONTENT.load(Ordering::Relaxed) && recording()
}

/// Whether spans carry what Langfuse alone reads: only where an operator has asked for it.
#[must_use]
pub fn for_langfuse() -> bool {
    LANGFUSE.load(Ordering::Relaxed)
}

pub(crate) fn record_with(tracer: SdkTracer, settings: &Settings) {
    if TRACER.set(tracer).is_ok() {
        CONTENT.store(settings.capture_content, Ordering::Relaxed);
        LANGFUSE.store(settings.for_langfuse, Ordering::Relaxed);
        RECORDING.store(true, Ordering::Relaxed);
    }
}

/// A place in a trace that a span can hang on to: of a span of this process, or read from a message. May be nowhere.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Context>);

impl Trace {
    /// Nowhere: a span with this parent begins a trace of its own.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The span in whose scope this is called.
    #[must_use]
    pub fn current() -> Self {
        if !recording() {
            return Self(None);
        }
        let context = Context::current();
        let valid = context.span().span_context().is_valid();
        Self(valid.then_some(context))
    }

    /// Whether it is nowhere.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Sets an attribute of the span there, if it is one of this process that goes on.
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value));
        }
    }

    /// Notes that something happened in the span there.
    pub fn event(&self, name: &'static str, attributes: Vec<Attribute>) {
        if let Some(context) = &self.0 {
            context.span().add_event(name, attributes);
        }
    }

    /// The trace's id in hexadecimal.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        let context = self.0.as_ref()?;
        Some(context.span().span_context().trace_id().to_string())
    }

    pub(crate) fn of(context: Context) -> Self {
        Self(Some(context))
    }

    pub(crate) fn context(&self) -> Option<&Context> {
        self.0.as_ref()
    }
}

/// A value of an attribute.
pub type Attribute = KeyValue;

/// An attribute of a span or event.
pub fn attribute(name: &'static str, value: impl Into<Value>) -> Attribute {
    KeyValue::new(name, value)
}

/// An attribute that is a list of texts.
pub fn list(name: &'static str, values: impl IntoIterator<Item = String>) -> Attribute {
    let values: Vec<StringValue> = values.into_iter().map(StringValue::from).collect();
    KeyValue::new(name, Value::Array(Array::String(values)))
}

/// A text that stands in several places and is kept once.
pub type Shared = StringValue;

/// Keeps a text so that it can stand in several places.
#[must_use]
pub fn shared(text: &str) -> Shared {
    Arc::<str>::from(text).into()
}

/// A span about to be started.
#[derive(Debug)]
pub struct Start {
    builder: SpanBuilder,
    attributes: Vec<KeyValue>,
    parent: Trace,
    inference: &'static str,
    run: Shared,
}

impl Start {
    /// A span of this name and kind that belongs to `run`. Ask [`recording`] first: names and attributes cost memory.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind, run: &str) -> Self {
        let run = shared(run);
        let mut attributes = Vec::with_capacity(ATTRIBUTES);
        if for_langfuse() {
            attributes.push(KeyValue::new(names::LANGFUSE_RELEASE, env!("CARGO_PKG_VERSION")));
            attributes.push(KeyValue::new(names::LANGFUSE_RUN, run.clone()));
        }
        attributes.extend([
            KeyValue::new(names::RUN_ID, run.clone()),
            KeyValue::new(names::CONVERSATION_ID, run.clone()),
            KeyValue::new(names::SESSION_ID, run.clone()),
        ]);
        Self {
            builder: SpanBuilder::from_name(name).with_kind(kind),
            attributes,
            parent: Trace::none(),
            inference: "CHAIN",
            run,
        }
    }

    /// With the run's id under this name too.
    #[must_use]
    pub fn with_run(self, name: &'static str) -> Self {
        let run = self.run.clone();
        self.with(name, run)
    }

    /// What it is to whoever reads OpenInference; a `CHAIN` where nothing else is said.
    #[must_use]
    pub fn inference(mut self, kind: &'static str) -> Self {
        self.inference = kind;
        self
    }

    /// Under this place. Without one the span begins a trace.
    #[must_use]
    pub fn parent(mut self, parent: &Trace) -> Self {
        self.parent = parent.clone();
        self
    }

    /// With a link to this place, if there is one.
    #[must_use]
    pub fn link(mut self, to: &Trace) -> Self {
        if let Some(context) = &to.0 {
            self.builder = self
                .builder
                .with_links(vec![Link::with_context(context.span().span_context().clone())]);
        }
        self
    }

    /// Begun at this time, not now.
    #[must_use]
    pub fn at(mut self, start: SystemTime) -> Self {
        self.builder = self.builder.with_start_time(start);
        self
    }

    /// With this attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push(KeyValue::new(name, value));
        self
    }

    /// With this attribute, if there is a value.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// With these attributes.
    #[must_use]
    pub fn with_all(mut self, attributes: impl IntoIterator<Item = Attribute>) -> Self {
        self.attributes.extend(attributes);
        self
    }

    /// Starts it.
    #[must_use]
    pub fn start(mut self) -> Span {
        let Some(tracer) = TRACER.get() else {
            return Span::none();
        };
        self.attributes
            .push(KeyValue::new(names::OPENINFERENCE_KIND, self.inference));
        let parent = self.parent.0.unwrap_or_default();
        let span = tracer.build_with_context(self.builder.with_attributes(self.attributes), &parent);
        Span(Some(parent.with_span(span)))
    }
}

/// A span that goes on, or nothing where nothing is recorded. Ends when it is dropped, at the latest.
#[derive(Debug, Default)]
pub struct Span(Option<Context>);

impl Span {
    /// Nothing.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Its place, for children and messages.
    #[must_use]
    pub fn trace(&self) -> Trace {
        Trace(self.0.clone())
    }

    /// Whether it is nothing.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Sets an attribute.
    pub fn set(&self, name: &'static str, value: impl Into<Value>) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value));
        }
    }

    /// Sets an attribute that was made before.
    pub fn set_attribute(&self, attribute: Attribute) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(attribute);
        }
    }

    /// Notes that something happened now.
    pub fn event(&self, name: &'static str, attributes: Vec<Attribute>) {
        if let Some(context) = &self.0 {
            context.span().add_event(name, attributes);
        }
    }

    /// The work failed, in a way of this name. The words of an error stay in the logs: they may hold anything.
    pub fn fail(&self, error_type: impl Into<Cow<'static, str>>) {
        if let Some(context) = &self.0 {
            let span = context.span();
            span.set_attribute(KeyValue::new(names::ERROR_TYPE, error_type.into()));
            span.set_status(Status::error(""));
        }
    }

    /// Ends it now.
    pub fn end(self) {
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }

    /// Ends it as of this time.
    pub fn end_at(self, end: SystemTime) {
        if let Some(context) = &self.0 {
            context.span().end_with_timestamp(end);
        }
    }

    /// Does `work` inside the span: what is started there without another parent can ask for it by [`Trace::current`].
    pub async fn scope<F: Future>(&self, work: F) -> F::Output {
        match &self.0 {
            Some(context) => work.with_context(context.clone()).await,
            None => work.await,
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        // Children keep the context alive, and with it the span: without this it would end with the last of them.
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}
