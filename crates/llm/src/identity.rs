//! The identity of a request: the key under which a completion already bought is found again.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::chat::{ChatRequest, Message, Output, Sampling};

/// The hash of everything that decides which answer a request gets. Shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestKey(pub [u8; 32]);

impl fmt::Display for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestKey({self})")
    }
}

/// The key of `request` to `model` at `endpoint` (its name and address: [`crate::EndpointClient::identity`]).
///
/// `sample` tells independent answers to one request apart. `run_seed` does so for the answers to runs with different seeds; without it
/// they share an answer.
pub fn request_key(
    endpoint: &str,
    model: &str,
    request: &ChatRequest,
    sample: u64,
    run_seed: Option<u64>,
) -> RequestKey {
    // Taken apart in full, so that a new field does not compile until it has its place here.
    let ChatRequest {
        messages,
        sampling,
        output,
    } = request;
    let Sampling {
        temperature,
        top_p,
        max_tokens,
        seed,
    } = sampling;
    let mut hash = Hash(Sha256::new());
    hash.text("sipdo completion 1");
    hash.text(endpoint);
    hash.text(model);
    hash.number(messages.len() as u64);
    for Message { role, text } in messages {
        hash.text(role.as_str());
        hash.text(text);
    }
    hash.option(temperature.map(f64::to_bits));
    hash.option(top_p.map(f64::to_bits));
    hash.number(u64::from(*max_tokens));
    hash.option(*seed);
    match output {
        Output::Text => hash.number(0),
        Output::Json(schema) => {
            hash.number(1);
            hash.text(schema.name());
            hash.text(schema.text());
        }
    }
    hash.number(sample);
    hash.option(run_seed);
    RequestKey(hash.0.finalize().into())
}

/// Writes fields so that no two different lists of fields give the same bytes.
struct Hash(Sha256);

impl Hash {
    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.update(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.0.update(number.to_le_bytes());
    }

    fn option(&mut self, number: Option<u64>) {
        self.0.update([u8::from(number.is_some())]);
        self.number(number.unwrap_or(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Schema;
    use serde_json::json;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    fn request(temperature: Option<f64>) -> ChatRequest {
        let sampling = Sampling {
            temperature,
            top_p: None,
            max_tokens: 100,
            seed: None,
        };
        ChatRequest::text(vec![Message::system("s"), Message::user("u")], sampling)
    }

    #[test]
    fn every_part_of_a_request_changes_its_key() {
        let base = request(Some(0.0));
        let with = |change: &dyn Fn(&mut ChatRequest)| {
            let mut request = base.clone();
            change(&mut request);
            request
        };
        let schema = |name: &str| Arc::new(Schema::new(name, json!({"type": "object"})).unwrap());
        let requests = [
            base.clone(),
            with(&|r| r.messages.push(Message::user(""))),
            with(&|r| r.messages = vec![Message::system("su"), Message::user("")]),
            with(&|r| r.messages = vec![Message::user("s"), Message::user("u")]),
            with(&|r| r.sampling.temperature = Some(0.1)),
            with(&|r| r.sampling.temperature = None),
            with(&|r| r.sampling.top_p = Some(0.5)),
            with(&|r| r.sampling.max_tokens = 101),
            with(&|r| r.sampling.seed = Some(0)),
            with(&|r| r.output = Output::Json(schema("a"))),
            with(&|r| r.output = Output::Json(schema("b"))),
        ];
        let mut keys: BTreeSet<_> = requests.iter().map(|r| request_key("e", "m", r, 0, None)).collect();
        keys.insert(request_key("em", "", &base, 0, None));
        keys.insert(request_key("e", "m2", &base, 0, None));
        keys.insert(request_key("e", "m", &base, 1, None));
        assert_eq!(keys.len(), requests.len() + 3);
    }

    #[test]
    fn the_seed_of_a_run_counts_where_it_is_given() {
        let key = |run_seed| request_key("e", "m", &request(Some(0.0)), 0, run_seed);
        assert_eq!(key(None), key(None));
        assert_ne!(key(None), key(Some(0)));
        assert_ne!(key(Some(1)), key(Some(2)));
    }

    #[test]
    fn a_key_is_64_hex_digits_and_stable() {
        // The store outlives a release: a change of this value throws away what was bought.
        let shown = request_key("e", "m", &request(Some(0.0)), 0, None).to_string();
        assert_eq!(shown.len(), 64);
        assert_eq!(
            shown,
            "827f91e08481b342252e89fd4d99bb2633a843691857a19db61fd90670efe64b"
        );
    }
}
