//! What an endpoint and a model can be asked for, and what has to be left out.
//!
//! Three sources, the later one stronger: a small table by provider and model name; the operator's overrides; and what
//! the endpoint itself has rejected ("unsupported parameter ..."), remembered per model for the life of the process.
//! Whatever is left out is named in [`crate::Completion::dropped`].

use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use crate::chat::Sampling;
use crate::provider::Provider;

/// `[endpoints.<name>.abilities]`: overrides of the table; absent means what provider and model name suggest.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Abilities {
    /// Answers can be constrained to a JSON schema. Where not, to JSON (`json_object`), and the schema is put into the prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<bool>,
    /// Answers can be constrained to a JSON object. Where neither this nor `json_schema`, the prompt alone asks for JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json_object: Option<bool>,
    /// Takes messages of the role `system`. Where not, their text is put before the user's first message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_role: Option<bool>,
    /// Takes a seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<bool>,
    /// Takes a temperature (OpenAI's reasoning models do not).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<bool>,
    /// Takes `top_p`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<bool>,
    /// Takes the model's setting `reasoning_effort`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_effort: Option<bool>,
    /// Wants the token limit as `max_completion_tokens` (OpenAI's reasoning models) instead of `max_tokens`, the only
    /// name that many compatible servers know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<bool>,
}

/// The answer of all three sources for one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Able {
    pub(crate) json_schema: bool,
    pub(crate) json_object: bool,
    pub(crate) system_role: bool,
    pub(crate) seed: bool,
    pub(crate) temperature: bool,
    pub(crate) top_p: bool,
    pub(crate) reasoning_effort: bool,
    pub(crate) max_completion_tokens: bool,
}

impl Able {
    pub(crate) fn of(provider: Provider, model: &str, overrides: &Abilities, learned: &Learned) -> Self {
        let reasoning = provider == Provider::Openai && is_openai_reasoning(model);
        let able =
            |option, by_override: Option<bool>, by_table| !learned.knows(option) && by_override.unwrap_or(by_table);
        Self {
            json_schema: able(Param::JsonSchema, overrides.json_schema, true),
            // Anthropic has no such thing.
            json_object: provider != Provider::Anthropic && able(Param::JsonObject, overrides.json_object, true),
            system_role: able(Param::SystemRole, overrides.system_role, true),
            seed: able(
                Param::Seed,
                overrides.seed,
                provider != Provider::Anthropic && !reasoning,
            ),
            temperature: able(Param::Temperature, overrides.temperature, !reasoning),
            top_p: able(Param::TopP, overrides.top_p, !reasoning),
            reasoning_effort: able(Param::ReasoningEffort, overrides.reasoning_effort, true),
            // Here the endpoint's complaint says that it is the other name.
            max_completion_tokens: overrides.max_completion_tokens.unwrap_or(reasoning)
                != learned.knows(Param::MaxTokens),
        }
    }

    /// `sampling` without what cannot be sent, and the names of what was left out.
    pub(crate) fn fit(&self, sampling: &Sampling) -> (Sampling, Vec<&'static str>) {
        let mut fitted = sampling.clone();
        let mut dropped = Vec::new();
        if !self.temperature && fitted.temperature.take().is_some() {
            dropped.push("temperature");
        }
        if !self.top_p && fitted.top_p.take().is_some() {
            dropped.push("top_p");
        }
        if !self.seed && fitted.seed.take().is_some() {
            dropped.push("seed");
        }
        (fitted, dropped)
    }

    /// What it cannot do, and what is done instead: one clause each, in a fixed order. Empty if it can do all.
    pub(crate) fn lacks(&self) -> Vec<&'static str> {
        let instead_of_schema = match self.json_object {
            true => "no json_schema: json_object is asked for, with the schema in the prompt",
            false => "no json_schema and no json_object: the prompt asks for JSON",
        };
        let clauses = [
            (self.json_schema, instead_of_schema),
            (self.system_role, "no system role: its text stands before the user's"),
            (self.temperature, "temperature is left out"),
            (self.top_p, "top_p is left out"),
            (self.seed, "seed is left out"),
            (self.reasoning_effort, "reasoning_effort is left out"),
            (
                !self.max_completion_tokens,
                "the token limit is sent as max_completion_tokens",
            ),
        ];
        clauses
            .into_iter()
            .filter(|(able, _)| !able)
            .map(|(_, clause)| clause)
            .collect()
    }
}

/// OpenAI's o-series and GPT-5 and later, also behind a vendor prefix; they reject the sampling settings and the name
/// `max_tokens`. (`gpt-5-chat` is not one, nor are `gpt-oss` and Azure's `gpt-35-turbo`.)
fn is_openai_reasoning(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let o_series = name
        .strip_prefix('o')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let version = name
        .strip_prefix("gpt-")
        .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let version = version.flatten().and_then(|digits| digits.parse::<u32>().ok());
    o_series || (version.is_some_and(|version| (5..30).contains(&version)) && !name.contains("-chat"))
}

/// A request option that endpoints are known to reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Param {
    JsonSchema = 1,
    Seed = 2,
    Temperature = 4,
    TopP = 8,
    MaxTokens = 16,
    JsonObject = 32,
    SystemRole = 64,
    ReasoningEffort = 128,
}

impl Param {
    /// Whether it is the form of the answer.
    pub(crate) fn is_form(self) -> bool {
        matches!(self, Self::JsonSchema | Self::JsonObject)
    }

    /// Its name in messages.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JsonSchema => "json_schema",
            Self::JsonObject => "json_object",
            Self::SystemRole => "the system role",
            Self::Seed => "seed",
            Self::Temperature => "temperature",
            Self::TopP => "top_p",
            Self::MaxTokens => "the name of the token limit",
            Self::ReasoningEffort => "reasoning_effort",
        }
    }
}

/// What an endpoint has rejected for one model.
#[derive(Debug, Default)]
pub(crate) struct Learned(AtomicU8);

impl Learned {
    fn knows(&self, param: Param) -> bool {
        self.0.load(Ordering::Relaxed) & param as u8 != 0
    }

    /// Remembers it; true if it is news.
    pub(crate) fn add(&self, param: Param) -> bool {
        self.0.fetch_or(param as u8, Ordering::Relaxed) & param as u8 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able(provider: Provider, model: &str) -> Able {
        Able::of(provider, model, &Abilities::default(), &Learned::default())
    }

    #[test]
    fn reasoning_models_are_known_by_name() {
        for name in ["o1", "o3-mini", "gpt-5", "gpt-5.1-mini", "openai/gpt-5-mini", "gpt-6"] {
            assert!(is_openai_reasoning(name), "{name}");
        }
        for name in [
            "gpt-4o",
            "gpt-4.1",
            "gpt-oss-20b",
            "gpt-5-chat-latest",
            "gpt-35-turbo",
            "llama-3",
            "olmo-2",
            "gpt-3.5-turbo",
        ] {
            assert!(!is_openai_reasoning(name), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_taken_out_by_name() {
        let asked = Sampling {
            temperature: Some(0.7),
            top_p: None,
            max_tokens: 5,
            seed: Some(1),
        };
        let (sent, dropped) = able(Provider::Anthropic, "claude-x").fit(&asked);
        assert_eq!((sent.seed, sent.temperature, dropped), (None, Some(0.7), vec!["seed"]));
        let (sent, dropped) = able(Provider::Openai, "gpt-5-mini").fit(&asked);
        assert_eq!((sent.temperature, dropped), (None, vec!["temperature", "seed"]));
        assert_eq!(able(Provider::Openai, "gpt-4o").fit(&asked), (asked, vec![]));
    }

    #[test]
    fn overrides_beat_the_table_and_complaints_beat_both() {
        let overrides = Abilities {
            seed: Some(true),
            json_schema: Some(false),
            ..Abilities::default()
        };
        let learned = Learned::default();
        let before = Able::of(Provider::Anthropic, "m", &overrides, &learned);
        assert!(before.seed && !before.json_schema && !before.max_completion_tokens);
        learned.add(Param::Seed);
        learned.add(Param::MaxTokens);
        let after = Able::of(Provider::Anthropic, "m", &overrides, &learned);
        assert!(!after.seed && after.max_completion_tokens);
    }

    #[test]
    fn what_is_lacking_is_said_once_in_words() {
        let learned = Learned::default();
        let said = |learned: &Learned| {
            Able::of(Provider::Openai, "m", &Abilities::default(), learned)
                .lacks()
                .join("; ")
        };
        assert_eq!(said(&learned), "");
        assert!(learned.add(Param::JsonSchema) && !learned.add(Param::JsonSchema));
        learned.add(Param::Temperature);
        assert_eq!(
            said(&learned),
            "no json_schema: json_object is asked for, with the schema in the prompt; temperature is left out"
        );
        learned.add(Param::JsonObject);
        assert!(said(&learned).starts_with("no json_schema and no json_object: the prompt asks for JSON"));
    }
}
