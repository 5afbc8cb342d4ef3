//! A choice of a model: read from flags, laid over another, and in words.

use sipdo_protocol::pb;

use crate::{failure::Failure, output::clean_line};

/// `endpoint/model`; models may hold slashes themselves.
///
/// # Errors
/// One of the two is empty.
pub fn split(text: &str) -> Result<(String, String), Failure> {
    let (endpoint, model) = text.split_once('/').unwrap_or(("", text));
    if model.is_empty() || (text.contains('/') && endpoint.is_empty()) {
        return Err(Failure::usage(format!(
            "{text:?} is not ENDPOINT/MODEL, such as openai/gpt-5-mini"
        )));
    }
    Ok((endpoint.to_owned(), model.to_owned()))
}

/// What is given, and else what was set before.
pub fn over(given: &pb::ModelChoice, before: Option<&pb::ModelChoice>) -> pb::ModelChoice {
    let before = before.cloned().unwrap_or_default();
    let or = |given: &String, before: String| if given.is_empty() { before } else { given.clone() };
    pb::ModelChoice {
        endpoint: or(&given.endpoint, before.endpoint),
        model: or(&given.model, before.model),
        temperature: given.temperature.or(before.temperature),
        max_tokens: given.max_tokens.or(before.max_tokens),
        timeout_seconds: given.timeout_seconds.or(before.timeout_seconds),
    }
}

/// A choice in words.
pub fn words(choice: &pb::ModelChoice) -> String {
    let mut words = Vec::new();
    match (choice.endpoint.as_str(), choice.model.as_str()) {
        ("", "") => {}
        ("", model) => words.push(model.to_owned()),
        (endpoint, "") => words.push(format!("{endpoint}/(the agent's)")),
        (endpoint, model) => words.push(format!("{endpoint}/{model}")),
    }
    words.extend(choice.temperature.map(|value| format!("temperature {value}")));
    words.extend(choice.max_tokens.map(|value| format!("max tokens {value}")));
    words.extend(choice.timeout_seconds.map(|value| format!("timeout {value} s")));
    clean_line(&words.join(", "))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::failure::Exit;

    #[test]
    fn the_first_slash_parts_endpoint_and_model() {
        let both = |text: &str| split(text).map_err(|failure| failure.exit);
        assert_eq!(both("openai/gpt-5-mini"), Ok(("openai".into(), "gpt-5-mini".into())));
        assert_eq!(
            both("router/meta/llama-3"),
            Ok(("router".into(), "meta/llama-3".into()))
        );
        assert_eq!(both("gpt-5-mini"), Ok((String::new(), "gpt-5-mini".into())));
        assert_eq!(both("/x"), Err(Exit::Usage));
        assert_eq!(both("openai/"), Err(Exit::Usage));
    }

    /// A choice of endpoint and model alone.
    pub fn choice(endpoint: &str, model: &str) -> pb::ModelChoice {
        pb::ModelChoice {
            endpoint: endpoint.into(),
            model: model.into(),
            ..Default::default()
        }
    }

    #[test]
    fn what_is_not_given_stays_as_it_was_set() {
        let warm = pb::ModelChoice {
            temperature: Some(0.5),
            ..Default::default()
        };
        let both = over(&warm, Some(&choice("openai", "gpt")));
        assert_eq!(words(&both), "openai/gpt, temperature 0.5");
        assert_eq!(
            words(&over(&choice("", "other"), Some(&both))),
            "openai/other, temperature 0.5"
        );
        assert_eq!(words(&over(&warm, None)), "temperature 0.5");
    }
}
