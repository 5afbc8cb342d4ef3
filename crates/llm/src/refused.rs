//! Which option of a request an endpoint refuses: known by the status and the parameter that it names, then by its words.

use crate::abilities::Param;
use crate::complaint::Complaint;

/// The option that an error of this `status` complains about, among those that were `sent`. What the body names by structure goes
/// before its words.
pub(crate) fn rejected_param(status: u16, complaint: &Complaint, sent: &[Param]) -> Option<Param> {
    let named = |place: &str| {
        sent.iter()
            .copied()
            .find(|param| names(*param).iter().any(|name| place.contains(name)))
    };
    match status {
        400 | 422 => {}
        // Servers that fail inside a chat template say so with a 500 (llama.cpp's, some vLLM).
        500 | 501 => {
            return (complaint.says(ROLE_WORDS) && complaint.says(REFUSALS))
                .then(|| named("system role"))
                .flatten();
        }
        _ => return None,
    }
    if let Some(place) = complaint.places.first() {
        let param = complaint.places.iter().find_map(|place| named(place));
        // `messages` is where most roles stand.
        let param = param.or_else(|| {
            (place.contains("messages") && complaint.says(ROLE_WORDS))
                .then(|| named("system role"))
                .flatten()
        })?;
        // Whatever is wrong with the form that was asked for, another form is the remedy.
        return (param.is_form() || refuses(complaint)).then_some(param);
    }
    if !refuses(complaint) {
        return None;
    }
    // Of two that exclude each other the rarer one goes.
    let both = complaint.says(&["cannot both", "both be", "not both"]) && sent.contains(&Param::TopP);
    if both && complaint.says(names(Param::TopP)) {
        return Some(Param::TopP);
    }
    named(&complaint.words)
}

/// Whether it says that something cannot be had at all, and not that a value is out of range.
fn refuses(complaint: &Complaint) -> bool {
    complaint.has_code(REFUSAL_CODES) || complaint.says(REFUSALS)
}

const REFUSAL_CODES: &[&str] = &[
    "unsupported_parameter",
    "unsupported_value",
    "unknown_parameter",
    "unsupportedparamserror",
    "extra_forbidden",
];

/// How servers say that an option is not theirs.
const REFUSALS: &[&str] = &[
    "unsupported",
    "not support",
    "n't support",
    "unrecognized",
    "unknown",
    "not permitted",
    "extra inputs",
    "extra_forbidden",
    "not allowed",
    "not available",
    "unavailable",
    "deprecated",
    "not enabled",
    "not one of",
    "must be one of",
    "must be 'json_schema' or 'text'",
    "only 1 is allowed",
    "only be set to",
    "is allowed for this model",
    "only the default",
    "only supports",
    "cannot both",
    "not both",
    "invalid role",
    "failed to parse grammar",
    "failed to compile grammar",
    "grammar error",
    "invalid schema for response_format",
    "invalid json schema",
];

/// How the role `system` is called.
const ROLE_WORDS: &[&str] = &[
    "system role",
    "role system",
    "role: system",
    "role 'system'",
    "role \"system\"",
    "role \\\"system\\\"",
    "role `system`",
    "variant `system`",
    "'system' is not one of",
    "system message",
    "system prompt",
    "system instruction",
    "systeminstruction",
    "developer instruction",
];

/// How providers call an option in their complaints.
fn names(param: Param) -> &'static [&'static str] {
    match param {
        Param::JsonSchema | Param::JsonObject => &[
            "response_format",
            "json_schema",
            "json_object",
            "output_config",
            "output_format",
            "output format",
            "responsejsonschema",
            "responsemimetype",
            "response_schema",
            "response_mime_type",
            "json mode",
            "structured output",
            "grammar",
            "guided_json",
        ],
        Param::SystemRole => ROLE_WORDS,
        Param::Seed => &["seed"],
        Param::Temperature => &["temperature"],
        Param::TopP => &["top_p", "topp"],
        Param::MaxTokens => &["max_tokens", "max_completion_tokens"],
        Param::ReasoningEffort => &[
            "reasoning_effort",
            "reasoning effort",
            "thinkinglevel",
            "thinking_level",
            "effort",
            "thinking",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_of_real_providers_are_understood() {
        let all = [
            Param::JsonSchema,
            Param::SystemRole,
            Param::Temperature,
            Param::TopP,
            Param::Seed,
            Param::MaxTokens,
            Param::ReasoningEffort,
        ];
        let cases = [
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                Some(Param::MaxTokens),
            ),
            (
                "Unsupported value: 'temperature' does not support 0.7 with this model.",
                Some(Param::Temperature),
            ),
            (
                "invalid temperature: only 1 is allowed for this model",
                Some(Param::Temperature),
            ),
            (
                "`temperature` may only be set to 1 when thinking is enabled",
                Some(Param::Temperature),
            ),
            (
                "`temperature` and `top_p` cannot both be specified for this model",
                Some(Param::TopP),
            ),
            ("Unrecognized request argument supplied: seed", Some(Param::Seed)),
            (
                "This response_format type is unavailable; json_schema is not supported",
                Some(Param::JsonSchema),
            ),
            ("This response_format type is unavailable now", Some(Param::JsonSchema)),
            ("failed to parse grammar", Some(Param::JsonSchema)),
            (
                r#"{"error": {"message": "Invalid value: 'json_schema'. Supported values are: 'text'.", "param": "response_format.type", "code": "invalid_value"}}"#,
                Some(Param::JsonSchema),
            ),
            (
                r#"{"detail": [{"loc": ["body", "response_format", "type"], "msg": "value is not one of the allowed values", "type": "enum"}]}"#,
                Some(Param::JsonSchema),
            ),
            (
                "'response_format.type' must be 'json_schema' or 'text'",
                Some(Param::JsonSchema),
            ),
            ("output_config: Extra inputs are not permitted", Some(Param::JsonSchema)),
            ("System role not supported", Some(Param::SystemRole)),
            (
                "messages[0].role: unknown variant `system`, expected `user` or `assistant`",
                Some(Param::SystemRole),
            ),
            (
                "Developer instruction is not enabled for models/gemma-3-4b-it",
                Some(Param::SystemRole),
            ),
            (
                r#"{"error": {"message": "'system' is not one of ['user', 'assistant']", "param": "messages.0.role"}}"#,
                Some(Param::SystemRole),
            ),
            (
                "litellm.UnsupportedParamsError: x does not support parameters: ['reasoning_effort']",
                Some(Param::ReasoningEffort),
            ),
            // A value out of range is the caller's fault, not a lack of the endpoint.
            ("temperature: range: 0..1", None),
            (
                "max_tokens is too large: 9999. This model supports at most 4096 completion tokens.",
                None,
            ),
            ("messages: at least one message is required", None),
            (
                r#"{"error": {"message": "Unknown value in a prompt on temperature", "param": "messages"}}"#,
                None,
            ),
            (
                r#"{"error": {"message": "Unsupported: seed with temperature", "param": "seed"}}"#,
                Some(Param::Seed),
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(rejected_param(400, &Complaint::read(body), &all), expected, "{body}");
        }
        let read = Complaint::read("unsupported: seed");
        assert_eq!(rejected_param(400, &read, &[Param::Temperature]), None);
        assert_eq!(
            rejected_param(403, &read, &[Param::Seed]),
            None,
            "a 403 is about the key"
        );
        let template = Complaint::read("Jinja: System role not supported");
        assert_eq!(rejected_param(500, &template, &all), Some(Param::SystemRole));
        assert_eq!(
            rejected_param(500, &read, &[Param::Seed]),
            None,
            "a server that broke is asked again"
        );
    }
}
