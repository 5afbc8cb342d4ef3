//! Every name of a span, attribute or propagation field, once.
//!
//! Names follow the OpenTelemetry semantic conventions 1.41.1 where they have one; `sipdo.*` is ours. No other file of
//! the project writes such a name as a literal, so a rename upstream costs one edit.

/// Resource: which product the process belongs to.
pub const SERVICE_NAMESPACE: &str = "service.namespace";
/// Resource: the version of the binary.
pub const SERVICE_VERSION: &str = "service.version";

/// W3C trace context. Written in lower case, because NATS keeps the case of header names.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, the vendors' part.
pub const TRACESTATE: &str = "tracestate";

/// The run a span belongs to.
pub const RUN_ID: &str = "sipdo.run.id";
/// The job a span belongs to.
pub const JOB_ID: &str = "sipdo.job.id";
/// The role that does the work.
pub const ROLE: &str = "sipdo.role";

/// `messaging.system`: always [`NATS`] here.
pub const MESSAGING_SYSTEM: &str = "messaging.system";
/// `messaging.operation.name`: `publish`, `process`, `ack`, `nak` or `term`.
pub const MESSAGING_OPERATION_NAME: &str = "messaging.operation.name";
/// `messaging.operation.type`: `send`, `process` or `settle`.
pub const MESSAGING_OPERATION_TYPE: &str = "messaging.operation.type";
/// `messaging.destination.name`: a subject; never an inbox, never one with a job in it.
pub const MESSAGING_DESTINATION: &str = "messaging.destination.name";
/// The value of [`MESSAGING_SYSTEM`].
pub const NATS: &str = "nats";

/// The coordinator publishes a job.
pub const SPAN_PUBLISH_JOB: &str = "publish job";
/// An agent works on a job.
pub const SPAN_PROCESS_JOB: &str = "process job";
