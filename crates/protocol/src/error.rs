//! What can go wrong between the wire and the domain, and the small readers that say so.

/// A message that cannot be read as a domain value.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// A part that every sender sets is absent.
    #[error("{message}.{field} is missing")]
    Missing {
        /// The protobuf message.
        message: &'static str,
        /// Its field.
        field: &'static str,
    },
    /// An enum number that this version does not know, or the one that is never sent.
    #[error("{message}.{field} has the unknown value {value}: was it written by a newer version?")]
    Unknown {
        /// The protobuf message.
        message: &'static str,
        /// Its field.
        field: &'static str,
        /// The number as sent.
        value: i32,
    },
    /// A field that holds JSON does not hold what belongs there.
    #[error("{message}.{field}: {source}")]
    Json {
        /// The protobuf message.
        message: &'static str,
        /// Its field.
        field: &'static str,
        /// What the JSON reader says.
        source: serde_json::Error,
    },
}

/// A domain value that cannot be written: a field carried as JSON refused to become JSON.
#[derive(Debug, thiserror::Error)]
#[error("{message}.{field}: {source}")]
pub struct EncodeError {
    /// The protobuf message.
    pub message: &'static str,
    /// Its field.
    pub field: &'static str,
    /// What the JSON writer says.
    pub source: serde_json::Error,
}

/// A part that must be there.
pub(crate) fn required<T>(part: Option<T>, message: &'static str, field: &'static str) -> Result<T, DecodeError> {
    part.ok_or(DecodeError::Missing { message, field })
}

/// An enum number as the generated enum; the caller refuses its `Unspecified` with [`unspecified`].
pub(crate) fn known<E: TryFrom<i32>>(value: i32, message: &'static str, field: &'static str) -> Result<E, DecodeError> {
    E::try_from(value).map_err(|_| DecodeError::Unknown { message, field, value })
}

/// The refusal of an enum's number 0.
pub(crate) fn unspecified<T>(message: &'static str, field: &'static str) -> Result<T, DecodeError> {
    Err(DecodeError::Unknown {
        message,
        field,
        value: 0,
    })
}

/// Converts each item, infallibly.
pub(crate) fn each<T, U: From<T>>(items: Vec<T>) -> Vec<U> {
    items.into_iter().map(U::from).collect()
}

/// Converts each item; the first that fails is the error.
pub(crate) fn try_each<T, U: TryFrom<T>>(items: Vec<T>) -> Result<Vec<U>, U::Error> {
    items.into_iter().map(U::try_from).collect()
}
