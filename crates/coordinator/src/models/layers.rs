//! Which models may answer: the agents' own, the run's own choice over it, and the registry's entries over both.

use crate::roster::{Roster, Used};
use sipdo_domain::{Pool, independence};
use sipdo_protocol::models::{Choices, resolve_all};
use std::collections::BTreeSet;

/// Everything that decides which model answers, weakest first: the agents' own, the run's own, the registry's.
pub struct ModelOverrides<'a> {
    /// The agents; their status names their own model, with the registry's entry for all runs once they have read it.
    pub roster: &'a Roster,
    /// The registry.
    pub registry: &'a Choices,
    /// The run's own choices by pool.
    pub own: &'a Choices,
    /// The run; none for the deployment.
    pub run: Option<&'a str>,
}

impl ModelOverrides<'_> {
    /// Every model that may answer for a pool, as `endpoint/model`.
    fn labels(&self, pool: &Pool) -> BTreeSet<String> {
        let choices = resolve_all(self.own, self.registry, self.run);
        let choice = choices.get(&pool.to_string());
        let used = self.roster.of(pool).iter().map(|status| Used::by(status, choice));
        used.map(|used| format!("{}/{}", used.endpoint, used.model)).collect()
    }

    /// Models that may answer for a pool, and whose price nobody knows, as `pool endpoint/model`.
    pub fn unpriced(&self, pool: &Pool) -> BTreeSet<String> {
        let choices = resolve_all(self.own, self.registry, self.run);
        self.roster.unpriced(pool, choices.get(&pool.to_string()))
    }

    /// What is to be said of pools that judge each other's work with one model; only where `about` is among them, if it is given.
    pub fn shared(&self, pools: &BTreeSet<Pool>, judged: bool, about: Option<&Pool>) -> Vec<String> {
        let models = pools.iter().map(|pool| (pool.clone(), self.labels(pool))).collect();
        let shared = independence::shared(&models, judged);
        let wanted = shared
            .iter()
            .filter(|(_, pools)| about.is_none_or(|pool| pools.contains(pool)));
        wanted
            .map(|(label, pools)| independence::sentence(label, pools))
            .collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use sipdo_protocol::pb;

    pub fn status(pool: &str, model: &str) -> pb::AgentStatus {
        let pool: Pool = pool.parse().unwrap();
        pb::AgentStatus {
            agent: format!("{pool}-1"),
            role: pool.role.name().into(),
            pool: pool.name,
            endpoint: "cloud".into(),
            model: model.into(),
            endpoints: vec!["cloud".into(), "local".into()],
            ..Default::default()
        }
    }

    fn choices(given: &[(&str, &str)]) -> Choices {
        let choice = |model: &str| pb::ModelChoice {
            model: model.into(),
            ..Default::default()
        };
        given
            .iter()
            .map(|(key, model)| ((*key).to_owned(), choice(model)))
            .collect()
    }

    #[test]
    fn the_last_word_on_a_model_decides_who_shares_it() {
        let roster = Roster::new(vec![
            status("generator", "m"),
            status("checker", "m"),
            status("verifier", "v"),
        ]);
        let pools = ["generator", "checker", "verifier"]
            .map(|pool| pool.parse().unwrap())
            .into();
        let shared = |registry: &[(&str, &str)], own: &[(&str, &str)], run| {
            let (registry, own) = (choices(registry), choices(own));
            let layers = ModelOverrides {
                roster: &roster,
                registry: &registry,
                own: &own,
                run,
            };
            layers.shared(&pools, false, None)
        };
        let plain = shared(&[], &[], None);
        assert!(
            plain.len() == 1 && plain[0].starts_with("generator and checker vote with the same model, cloud/m"),
            "{plain:?}"
        );
        assert!(
            shared(&[], &[("checker", "c")], None).is_empty(),
            "the run's own choice counts"
        );
        assert_eq!(
            shared(&[("checker", "m")], &[("checker", "c")], None).len(),
            1,
            "the registry goes before it"
        );
        assert!(shared(&[("r1.checker", "c")], &[], Some("r1")).is_empty());
        assert_eq!(
            shared(&[("r1.checker", "c")], &[], Some("r2")).len(),
            1,
            "another run's entry is not ours"
        );
        assert_eq!(shared(&[("r1.checker", "v")], &[], Some("r1")).len(), 1);
    }
}
