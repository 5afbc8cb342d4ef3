//! Spans as sipdo records them, over the SDK's: started by name, kind and parent, filled while the work goes on, ended once.
//!
//! Where no collector is named, [`recording`] is false, a [`Span`] is nothing, and whoever builds attributes asks first:
//! tracing that is off costs one read of an atomic. Log lines written inside [`Span::scope`] carry the ids of the span.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use opentelemetry::trace::{FutureExt as _, Link, SpanBuilder, SpanContext, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

pub use opentelemetry::trace::SpanKind as Kind;

pub use crate::attr::{Attr, Attribute};
use crate::{Settings, names};

static TRACER: OnceLock<SdkTracer> = OnceLock::new();
static RECORDING: AtomicBool = AtomicBool::new(false);
static CONTENT: AtomicBool = AtomicBool::new(false);
static LANGFUSE: AtomicBool = AtomicBool::new(false);

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

/// From here on no span is begun: the SDK would warn of each that ends after its shutdown.
pub(crate) fn record_no_more() {
    RECORDING.store(false, Ordering::Relaxed);
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
        Self(Context::map_current(|context| {
            context.has_active_span().then(|| context.clone())
        }))
    }

    /// Whether it is nowhere.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Sets an attribute of the span there, if it is one of this process that goes on.
    pub fn set(&self, name: &'static str, value: impl Attr) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value.value()));
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
        Some(self.place()?.trace_id().to_string())
    }

    /// In this context; nowhere where that has no valid span.
    pub(crate) fn of(context: Context) -> Self {
        let valid = context.span().span_context().is_valid();
        Self(valid.then_some(context))
    }

    pub(crate) fn context(&self) -> Option<&Context> {
        self.0.as_ref()
    }

    pub(crate) fn place(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|context| context.span().span_context().clone())
    }
}

/// An attribute of an event.
pub fn attribute(name: &'static str, value: impl Attr) -> Attribute {
    KeyValue::new(name, value.value())
}

/// A span about to be started.
#[derive(Debug)]
pub struct Start<'a> {
    name: Cow<'static, str>,
    kind: Kind,
    start: Option<SystemTime>,
    attributes: Vec<Attribute>,
    links: Vec<Link>,
    parent: Trace,
    inference: &'static str,
    run: &'a str,
}

/// Room for the attributes of most spans.
const ATTRIBUTES: usize = 24;

impl<'a> Start<'a> {
    /// A span of this name and kind that belongs to `run`. Ask [`recording`] first: names and attributes cost memory.
    pub fn new(name: impl Into<Cow<'static, str>>, kind: Kind, run: &'a str) -> Self {
        let start = Self {
            name: name.into(),
            kind,
            start: None,
            attributes: Vec::with_capacity(ATTRIBUTES),
            links: Vec::new(),
            parent: Trace::none(),
            inference: "CHAIN",
            run,
        };
        let start = start
            .with_run(names::RUN_ID)
            .with_run(names::CONVERSATION_ID)
            .with_run(names::SESSION_ID);
        if !for_langfuse() {
            return start;
        }
        start
            .with(names::LANGFUSE_RELEASE, env!("CARGO_PKG_VERSION"))
            .with_run(names::LANGFUSE_RUN)
    }

    /// With the run's id under this name too.
    #[must_use]
    pub fn with_run(self, name: &'static str) -> Self {
        let run = self.run;
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
        if let Some(place) = to.place() {
            self.links.push(Link::with_context(place));
        }
        self
    }

    /// Begun at this time, not now.
    #[must_use]
    pub fn at(mut self, start: SystemTime) -> Self {
        self.start = Some(start);
        self
    }

    /// With this attribute.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Attr) -> Self {
        self.attributes.push(attribute(name, value));
        self
    }

    /// With this attribute, if there is a value.
    #[must_use]
    pub fn with_some(self, name: &'static str, value: Option<impl Attr>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Starts it.
    #[must_use]
    pub fn start(self) -> Span {
        let Some(tracer) = TRACER.get().filter(|_| recording()) else {
            return Span::none();
        };
        Span(Some(self.start_with(tracer)))
    }

    fn start_with(self, tracer: &SdkTracer) -> Context {
        let inference = self.inference;
        let this = self.with(names::OPENINFERENCE_KIND, inference);
        let mut builder = SpanBuilder::from_name(this.name)
            .with_kind(this.kind)
            .with_attributes(this.attributes)
            .with_links(this.links);
        builder.start_time = this.start;
        let none = Context::new();
        let span = tracer.build_with_context(builder, this.parent.context().unwrap_or(&none));
        none.with_span(span)
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
    pub fn set(&self, name: &'static str, value: impl Attr) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(KeyValue::new(name, value.value()));
        }
    }

    /// Notes that something happened now.
    pub fn event(&self, name: &'static str, attributes: Vec<Attribute>) {
        if let Some(context) = &self.0 {
            context.span().add_event(name, attributes);
        }
    }

    /// The work failed, in a way of this name. The words of an error stay in the logs: they may hold anything.
    pub fn fail(&self, error_type: &str) {
        if let Some(context) = &self.0 {
            self.set(names::ERROR_TYPE, error_type);
            context.span().set_status(Status::error(""));
        }
    }

    /// Ends it now.
    pub fn end(self) {}

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
        // Children and messages keep the context alive: without this the span would never end. Ended before, it stays so.
        if let Some(context) = &self.0 {
            context.span().end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::JsonLines;
    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;
    use tracing_subscriber::fmt::format::JsonFields;
    use tracing_subscriber::layer::SubscriberExt as _;

    type Place = Option<(String, String)>;

    /// Where the lines that leave by OTLP were written.
    #[derive(Debug, Clone, Default)]
    struct Heard(Arc<Mutex<Vec<Place>>>);

    impl LogProcessor for Heard {
        fn emit(&self, line: &mut SdkLogRecord, _: &InstrumentationScope) {
            let place = line.trace_context();
            let place = place.map(|place| (place.trace_id.to_string(), place.span_id.to_string()));
            self.0.lock().unwrap().push(place);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    /// Where the lines on stderr say that they were written.
    fn read(lines: &[u8]) -> Vec<Place> {
        let lines = std::str::from_utf8(lines).unwrap().lines();
        let read = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
        read.map(|line| Some((text(&line["trace_id"])?, text(&line["span_id"])?)))
            .collect()
    }

    #[tokio::test]
    async fn lines_written_in_the_scope_of_a_span_carry_its_ids() {
        let tracer = SdkTracerProvider::builder().build().tracer("test");
        let begin = |name: &'static str| Span(Some(Start::new(name, Kind::Internal, "run").start_with(&tracer)));
        let (outer, inner) = (begin("outer"), begin("inner"));
        let (heard, written) = (Heard::default(), Arc::new(Mutex::new(Vec::new())));
        let provider = SdkLoggerProvider::builder().with_log_processor(heard.clone()).build();
        let stderr = Arc::clone(&written);
        let lines = tracing_subscriber::fmt::layer()
            .fmt_fields(JsonFields::new())
            .event_format(JsonLines)
            .with_writer(move || Lines(Arc::clone(&stderr)));
        let subscriber = tracing_subscriber::registry()
            .with(OpenTelemetryTracingBridge::new(&provider))
            .with(lines);
        let guard = tracing::subscriber::set_default(subscriber);
        let work = async {
            tracing::info!("in the outer");
            inner.scope(async { tracing::info!("in the inner") }).await;
            tokio::task::yield_now().await;
            tracing::info!("in the outer again");
        };
        outer.scope(work).await;
        tracing::info!("outside");
        drop(guard);
        let ids = |span: &Span| {
            let place = span.trace().place().unwrap();
            Some((place.trace_id().to_string(), place.span_id().to_string()))
        };
        let expected = vec![ids(&outer), ids(&inner), ids(&outer), None];
        assert_eq!(*heard.0.lock().unwrap(), expected);
        assert_eq!(read(&written.lock().unwrap()), expected);
    }

    /// A writer into memory.
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
