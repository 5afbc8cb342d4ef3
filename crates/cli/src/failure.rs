//! What can go wrong, in words for people and as an exit code for scripts.

use std::{fmt, process::ExitCode};

use tonic::Code;
use tonic_types::StatusExt as _;

use crate::text::clean_line;

/// What a command comes to. The numbers are the process's exit codes and part of the command's interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Something failed.
    Failure = 1,
    /// Wrong usage, or a bad input file.
    Usage = 2,
    /// The run ended, and its prompt is not shown to be better than the seed prompt.
    NothingBetter = 3,
    /// No such run, prompt or file.
    NotFound = 4,
    /// The coordinator refused the token.
    Auth = 5,
    /// Something that is needed does not answer, or not in time, or has no room.
    Unavailable = 6,
    /// The run ended at a cap of its budget.
    BudgetExhausted = 7,
    /// The run ended, and its prompt is worse than the seed prompt.
    Worse = 8,
    /// A gate of `sipdo eval` failed.
    GateFailed = 9,
    /// Too little was measured for a verdict.
    TooLittleMeasured = 10,
    /// Interrupted by Ctrl-C.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed: an exit code, what happened and where, and what to do next.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// What happened, and where. May have several lines.
    pub message: String,
    /// What to do next; empty where there is nothing to say.
    pub hint: String,
}

/// What commands return.
pub type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure with an exit code of its own.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Failure {
            exit,
            message: message.into(),
            hint: String::new(),
        }
    }

    /// Wrong usage or a bad input file.
    pub fn usage(message: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, message)
    }

    /// Something that is needed does not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Failure::new(Exit::Unavailable, message)
    }

    /// The same failure with what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.hint.is_empty() {
            write!(f, "\n{}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Something inside went wrong that no user input explains.
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Failure::new(Exit::Failure, format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(Exit::Failure, error.to_string())
    }
}

/// A coordinator's refusal, told with the reason and the fields that it names.
impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        let details = status.get_error_details();
        let mut message = clean_line(status.message());
        if message.is_empty() {
            message = format!("the coordinator answered {:?}", status.code());
        }
        if let Some(bad) = details.bad_request() {
            for violation in &bad.field_violations {
                // A choice of a model is given by flags, whatever the message calls its parts.
                if violation.field.starts_with("choice") {
                    message = message.replacen(&format!("{}: ", violation.field), "", 1);
                }
                let told = clean_line(&violation.description);
                if !message.contains(&told) {
                    message.push_str(&format!("\n  {}: {told}", clean_line(&violation.field)));
                }
            }
        }
        if let Some(broken) = details.precondition_failure() {
            for violation in &broken.violations {
                let told = clean_line(&violation.description);
                if !message.contains(&told) {
                    message.push_str(&format!("\n  {}: {told}", clean_line(&violation.subject)));
                }
            }
        }
        if let Some(info) = details.error_info()
            && !info.reason.is_empty()
        {
            message.push_str(&format!("  [{}]", clean_line(&info.reason)));
        }
        let failure = Failure::new(exit_of(status.code()), message);
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                failure.hint("name the file with the coordinator's token: --token-file FILE or SIPDO_TOKEN_FILE")
            }
            Code::Unavailable => failure.hint("`sipdo status` shows what is running, `sipdo doctor` what is missing"),
            _ => failure,
        }
    }
}

/// Why a coordinator refuses, by its name in the contract; empty where it has none.
pub fn refusal_reason(status: &tonic::Status) -> String {
    let details = status.get_error_details();
    details.error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

fn exit_of(code: Code) -> Exit {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::AlreadyExists => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::Unauthenticated | Code::PermissionDenied => Exit::Auth,
        // Exhausted is the server's room: a run that meets its cap ends, and no call is refused for it.
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Exit::Unavailable,
        _ => Exit::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_refusal_names_the_reason_and_the_fields() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("budget.calls", "at least 84 calls are needed");
        details.set_error_info("BUDGET_TOO_SMALL", "sipdo", std::collections::HashMap::new());
        let failure = Failure::from(tonic::Status::with_error_details(
            Code::InvalidArgument,
            "the budget is too small",
            details,
        ));
        assert_eq!(failure.exit, Exit::Usage);
        assert_eq!(
            failure.message,
            "the budget is too small\n  budget.calls: at least 84 calls are needed  [BUDGET_TOO_SMALL]"
        );
    }

    #[test]
    fn what_a_server_says_cannot_move_the_cursor() {
        let failure = Failure::from(tonic::Status::not_found("no run \u{1b}[2Jx"));
        assert_eq!(failure.exit, Exit::NotFound);
        assert!(!failure.message.contains('\u{1b}'), "{}", failure.message);
    }
}
