//! `[models.*]`: which model each role uses, or a pool of it.

use serde::{Deserialize, Serialize};
use sipdo_llm::Effort;
use std::collections::BTreeMap;

/// `[models.*]`: `default`, a role, or `role_pool` for a named pool of it. A role's table is laid over the default one, and a pool's
/// over its role's, key by key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Models(BTreeMap<String, RoleModel>);

/// One role's model, as far as it is set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoleModel {
    /// Name of the endpoint; may be left out where there is only one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Name of the model there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Sampling temperature. Set, it goes before what the method prescribes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Longest completion in tokens, reasoning included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Seconds for one request; the endpoint's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// How much a reasoning model thinks before it answers; the provider's own choice if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<Effort>,
    /// Jobs that one agent of the role works on at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Named pool that the role's agents belong to; they take only the jobs that ask for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// Most requests per minute and process; the endpoint's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Most tokens per minute and process; the endpoint's if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u32>,
}

/// The table that holds for every role.
pub(super) const DEFAULT: &str = "default";

impl Models {
    pub(super) fn of(&self, name: &str) -> RoleModel {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// The tables that are there, by name.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &RoleModel)> {
        self.0.iter().map(|(name, table)| (name.as_str(), table))
    }
}

impl RoleModel {
    /// These settings, and where one is not set, that of `base`.
    #[must_use]
    pub fn over(self, base: RoleModel) -> RoleModel {
        RoleModel {
            endpoint: self.endpoint.or(base.endpoint),
            model: self.model.or(base.model),
            temperature: self.temperature.or(base.temperature),
            top_p: self.top_p.or(base.top_p),
            max_tokens: self.max_tokens.or(base.max_tokens),
            timeout_seconds: self.timeout_seconds.or(base.timeout_seconds),
            reasoning_effort: self.reasoning_effort.or(base.reasoning_effort),
            concurrency: self.concurrency.or(base.concurrency),
            pool: self.pool.or(base.pool),
            requests_per_minute: self.requests_per_minute.or(base.requests_per_minute),
            tokens_per_minute: self.tokens_per_minute.or(base.tokens_per_minute),
        }
    }
}
