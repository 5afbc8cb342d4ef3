//! Errors of the API, with google.rpc details.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Domain of every `ErrorInfo`.
const DOMAIN: &str = "sipdo";

/// The caller sent something wrong: which field, and what to do.
pub fn bad_request(reason: &str, field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let mut details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    details.add_bad_request_violation(field, &description);
    Status::with_error_details(Code::InvalidArgument, format!("{field}: {description}"), details)
}

/// There is nothing of that name.
pub fn not_found(kind: &str, name: &str) -> Status {
    let mut details = ErrorDetails::with_error_info("NOT_FOUND", DOMAIN, []);
    details.set_resource_info(kind, name, "", "");
    Status::with_error_details(Code::NotFound, format!("there is no {kind} `{name}`"), details)
}

/// The call cannot be done as things stand.
pub fn precondition(reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, []);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// The same request id with something else in it.
pub fn exists(message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info("REQUEST_ID_REUSED", DOMAIN, []);
    Status::with_error_details(Code::AlreadyExists, message, details)
}

/// The bus does not answer: try again.
pub fn unavailable(error: impl std::fmt::Display) -> Status {
    let details = ErrorDetails::with_error_info("BUS_UNAVAILABLE", DOMAIN, []);
    Status::with_error_details(Code::Unavailable, error.to_string(), details)
}

/// There is no room for it on the server.
pub fn no_room(reason: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info("NO_ROOM", DOMAIN, []);
    Status::with_error_details(Code::ResourceExhausted, reason, details)
}

/// The bus did not store it.
pub fn not_taken(error: sipdo_bus::BusError) -> Status {
    match error {
        sipdo_bus::BusError::Full { .. } => no_room(error.to_string()),
        other => unavailable(other),
    }
}

/// Something that should not happen.
pub fn internal(error: impl std::fmt::Display) -> Status {
    let details = ErrorDetails::with_error_info("INTERNAL", DOMAIN, []);
    Status::with_error_details(Code::Internal, error.to_string(), details)
}
