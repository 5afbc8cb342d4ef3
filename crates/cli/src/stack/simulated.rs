//! The operator's file of a stack with simulated models.

/// The operator's file of a simulated stack. Prices are zero because that is what these calls cost. Stored answers are found again by
/// what the simulator answers by, since its port is another one at each start.
pub(super) fn simulated_config(port: u16, fingerprint: &str) -> String {
    let mut text = format!(
        "# Written by sipdo at each start of a simulated stack; changes are lost.\n\
         [endpoints.simulator]\nprovider = \"openai\"\nbase_url = \"http://127.0.0.1:{port}/v1\"\n\
         identity = \"{fingerprint}\"\nconcurrency = 256\n"
    );
    for model in ["sim-weak", "sim-teacher", "sim-strong"] {
        text.push_str(&format!(
            "[endpoints.simulator.prices.{model}]\ninput_per_million = 0\noutput_per_million = 0\n"
        ));
    }
    text.push_str(
        "[models.default]\nendpoint = \"simulator\"\nmodel = \"sim-teacher\"\n\
         [models.learner]\nendpoint = \"simulator\"\nmodel = \"sim-weak\"\nconcurrency = 64\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sipdo_agent::settings::Settings;
    use sipdo_domain::Role;

    #[test]
    fn the_simulated_file_gives_every_role_a_model_that_costs_nothing() {
        let settings = Settings::parse("simulated.toml".as_ref(), &simulated_config(1234, "sim-1")).unwrap();
        for role in Role::ALL {
            let model = settings.model(role).unwrap();
            let expected = if role == Role::Learner {
                "sim-weak"
            } else {
                "sim-teacher"
            };
            assert_eq!((model.endpoint.as_str(), model.model.as_str()), ("simulator", expected));
            assert!(settings.endpoints["simulator"].prices.contains_key(expected));
        }
        assert_eq!(
            settings.endpoints["simulator"].base_url.as_deref(),
            Some("http://127.0.0.1:1234/v1")
        );
    }
}
