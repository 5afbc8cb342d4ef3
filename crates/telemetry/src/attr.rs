//! What stands on a span: written as OTLP has it where it is named, with nothing in between to be made and freed.

use std::borrow::Cow;

use opentelemetry::Value;

use crate::wire::{FIXED64, VARINT, bytes, nested, number, text, varint};

/// An attribute that is kept for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute(Vec<u8>);

impl Attribute {
    /// As a `KeyValue` of OTLP.
    pub(crate) fn pair(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn new(key: &str, value: &impl Attr) -> Self {
        let mut bytes = Vec::new();
        pair(&mut bytes, key, value);
        Self(bytes)
    }
}

/// What an attribute can hold: texts, numbers, and lists of texts.
pub trait Attr {
    /// Writes it as an `AnyValue`. A member of a `oneof` is written also where it is zero or empty.
    #[doc(hidden)]
    fn write(&self, out: &mut Vec<u8>);
}

impl<T: Attr + ?Sized> Attr for &T {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl Attr for str {
    fn write(&self, out: &mut Vec<u8>) {
        bytes(out, 1, self.as_bytes());
    }
}

impl Attr for String {
    fn write(&self, out: &mut Vec<u8>) {
        self.as_str().write(out);
    }
}

impl Attr for Cow<'_, str> {
    fn write(&self, out: &mut Vec<u8>) {
        (**self).write(out);
    }
}

impl Attr for bool {
    fn write(&self, out: &mut Vec<u8>) {
        number(out, 2, VARINT);
        varint(out, u64::from(*self));
    }
}

impl Attr for i64 {
    fn write(&self, out: &mut Vec<u8>) {
        number(out, 3, VARINT);
        varint(out, self.cast_unsigned());
    }
}

impl Attr for f64 {
    fn write(&self, out: &mut Vec<u8>) {
        number(out, 4, FIXED64);
        out.extend(self.to_le_bytes());
    }
}

impl Attr for [&str] {
    fn write(&self, out: &mut Vec<u8>) {
        nested(out, 5, |out| {
            for text in self {
                nested(out, 1, |out| text.write(out));
            }
        });
    }
}

/// What the SDK knows of a process.
impl Attr for Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Value::Bool(value) => value.write(out),
            Value::I64(value) => value.write(out),
            Value::F64(value) => value.write(out),
            // A resource has no lists; one that it gets later is at least readable.
            other => other.as_str().write(out),
        }
    }
}

/// An attribute as a `KeyValue`.
pub(crate) fn pair(out: &mut Vec<u8>, key: &str, value: &(impl Attr + ?Sized)) {
    text(out, 1, key);
    nested(out, 2, |out| value.write(out));
}
