//! The APIs that an endpoint can speak.

use serde::{Deserialize, Serialize};

/// Which API an endpoint speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// `/chat/completions` of any vendor: OpenAI, Azure, vLLM, llama.cpp, LiteLLM, OpenRouter, sipdo's simulator, ...
    Openai,
    /// Ollama, through its OpenAI-compatible API.
    Ollama,
    /// Anthropic's Messages API.
    Anthropic,
    /// Google's Gemini API.
    Gemini,
}

impl Provider {
    /// Its name in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Ollama => "ollama",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gemini",
        }
    }

    /// Where it is asked unless the operator says otherwise.
    pub(crate) fn default_base_url(self) -> &'static str {
        match self {
            Self::Openai => "https://api.openai.com/v1/",
            Self::Ollama => "http://127.0.0.1:11434/v1/",
            Self::Anthropic => "https://api.anthropic.com/v1/",
            Self::Gemini => "https://generativelanguage.googleapis.com/v1beta/",
        }
    }
}
