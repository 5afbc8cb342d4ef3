//! What stands on a span: texts, numbers, and lists of texts, as the SDK keeps them.

use std::borrow::Cow;

use opentelemetry::{Array, KeyValue, StringValue, Value};

/// An attribute of a span or of an event.
pub type Attribute = KeyValue;

/// What an attribute can hold.
pub trait Attr {
    /// As the SDK keeps it.
    #[doc(hidden)]
    fn value(&self) -> Value;
}

impl<T: Attr + ?Sized> Attr for &T {
    fn value(&self) -> Value {
        (**self).value()
    }
}

impl Attr for str {
    fn value(&self) -> Value {
        self.to_owned().into()
    }
}

impl Attr for String {
    fn value(&self) -> Value {
        self.clone().into()
    }
}

impl Attr for Cow<'_, str> {
    fn value(&self) -> Value {
        self.as_ref().value()
    }
}

impl Attr for bool {
    fn value(&self) -> Value {
        (*self).into()
    }
}

impl Attr for i64 {
    fn value(&self) -> Value {
        (*self).into()
    }
}

impl Attr for f64 {
    fn value(&self) -> Value {
        (*self).into()
    }
}

impl Attr for [&str] {
    fn value(&self) -> Value {
        let texts: Vec<StringValue> = self.iter().map(|text| StringValue::from((*text).to_owned())).collect();
        Value::Array(Array::String(texts))
    }
}
