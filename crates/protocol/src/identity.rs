//! Identities: the same ask is the same job, the same request is the same run.
//!
//! These hashes are written into journals. Changing what goes into them buys every finished job of every open run again, so the
//! golden values in `tests/identity.rs` must never change within a schema version.

use crate::{pb, schema};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use sipdo_domain::Role;

/// A job's identity: 32 hex digits of a SHA-256 over run, role, operation, sample and the canonical encoding of what is asked.
///
/// The encoding is canonical because prost writes fields in the order of their numbers, leaves defaults out, keeps no unknown
/// fields, and maps are ordered. `sample` tells independent samples of one ask apart. The model is no part of it: swapping a
/// model in the middle of a run buys nothing again.
pub fn job_id(run: &str, ask: &pb::Ask, sample: u32) -> String {
    let (role, operation) = identity_of(ask).map_or(("", ""), |(role, operation)| (role.name(), operation));
    let mut hash = Hash::new("job");
    hash.part(run.as_bytes());
    hash.part(role.as_bytes());
    hash.part(operation.as_bytes());
    hash.part(&sample.to_be_bytes());
    hash.part(&ask.encode_to_vec());
    hash.hex(32)
}

/// A run's identity from the client's request id: `r` and 20 hex digits. The same request gives the same run, whichever
/// coordinator takes it, and the id is a valid token of a NATS subject whatever the client sent.
pub fn run_id(request_id: &str) -> String {
    let mut hash = Hash::new("run");
    hash.part(request_id.as_bytes());
    format!("r{}", hash.hex(20))
}

/// The role that does an ask, and its operation's name; none where the message holds no ask that this version knows.
pub fn identity_of(ask: &pb::Ask) -> Option<(Role, &'static str)> {
    use pb::ask::Ask as Wire;
    Some(match ask.ask.as_ref()? {
        Wire::Answer(_) => (Role::Learner, "answer"),
        Wire::Synthesize(_) => (Role::Generator, "synthesize"),
        Wire::Solve(_) => (Role::Checker, "solve"),
        Wire::Check(_) => (Role::Checker, "check"),
        Wire::Judge(_) => (Role::Verifier, "judge"),
        Wire::Grade(_) => (Role::Verifier, "grade"),
        Wire::Edit(_) => (Role::Optimizer, "edit"),
    })
}

/// SHA-256 over parts, each preceded by its length, so that no two lists of parts run together.
struct Hash(Sha256);

impl Hash {
    fn new(domain: &str) -> Self {
        let mut hash = Hash(Sha256::new());
        hash.part(schema::VERSION.as_bytes());
        hash.part(domain.as_bytes());
        hash
    }

    fn part(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn hex(self, digits: usize) -> String {
        let text: String = self.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        text.chars().take(digits).collect()
    }
}
