//! The contract's messages as JSON: protobuf's own mapping with the field names of `proto/`, so that the comments there document it.

use std::sync::OnceLock;

use anyhow::Context as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use serde_json::{Value, value::Serializer};
use sipdo_protocol::pb;

static POOL: OnceLock<Option<DescriptorPool>> = OnceLock::new();

/// A message of package `sipdo.v1` as JSON: every field present, 64-bit integers as numbers, enums by name.
///
/// # Errors
/// A `name` that is not the message's own.
pub fn message<M: prost::Message>(name: &str, message: &M) -> anyhow::Result<Value> {
    let pool = POOL.get_or_init(|| DescriptorPool::decode(pb::DESCRIPTORS).ok());
    let pool = pool.as_ref().context("the contract's descriptors cannot be read")?;
    let descriptor = pool
        .get_message_by_name(&format!("sipdo.v1.{name}"))
        .with_context(|| format!("there is no message sipdo.v1.{name}"))?;
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let options = SerializeOptions::new()
        .stringify_64_bit_integers(false)
        .use_proto_field_name(true)
        .skip_default_fields(false);
    Ok(dynamic.serialize_with_options(Serializer, &options)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_carry_the_names_of_the_contract() {
        let summary = pb::Summary {
            run: "r1".into(),
            state: pb::State::Running.into(),
            unpriced_calls: 3,
            ..Default::default()
        };
        let value = message("Summary", &summary).unwrap();
        assert_eq!(value["run"], "r1");
        assert_eq!(value["state"], "STATE_RUNNING");
        assert_eq!(value["unpriced_calls"], 3);
        assert_eq!(value["prompt_version"], 0);
        assert!(message("Nonsense", &summary).is_err());
    }
}
