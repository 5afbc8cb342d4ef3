//! Which models a run used, from when on, and whose work each prompt version is.

use std::collections::BTreeMap;

use serde::Serialize;
use sipdo_protocol::pb;

use super::{Report, Spent};
use crate::{
    output::{Table, clean_line, count, plural, when},
    words::pool_words,
};

/// The results that one model produced for one pool of a role.
#[derive(Debug, Clone, Serialize)]
pub struct Stint {
    /// The pool's name; left out for the unnamed one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool: String,
    /// `endpoint/model`.
    pub model: String,
    /// As the provider reports it; empty where it reports none.
    pub revision: String,
    /// Number of its first result among all results of the run, from 1.
    pub first_job: u64,
    /// Number of its last result.
    pub last_job: u64,
    /// How many results.
    pub jobs: u64,
    /// What they cost.
    #[serde(flatten)]
    pub spent: Spent,
    /// Median milliseconds in model calls, of the jobs that called.
    pub p50_ms: u32,
    /// Their 95th percentile.
    pub p95_ms: u32,
    /// How many of the results are answers that were bought before, and when; left out where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused: Option<Reused>,
    /// The provider's marks of the backends that answered, at most eight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<String>,
}

/// Answers that were bought before the run, or by another run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Reused {
    /// How many.
    pub answers: u64,
    /// When the oldest was bought, as Unix time in milliseconds.
    pub from_ms: u64,
    /// When the newest was bought, as Unix time in milliseconds.
    pub to_ms: u64,
}

/// Whose work a prompt version is. Empty where it is the user's own, or nobody had tried it.
#[derive(Debug, Clone, Serialize)]
pub struct PromptModels {
    /// The version.
    pub version: u32,
    /// The optimizer's `endpoint/model`, with its revision where the provider reports one.
    pub written_by: String,
    /// The learner's.
    pub tried_by: String,
}

impl Stint {
    pub(super) fn of(stint: &pb::ModelUsage) -> Self {
        Stint {
            pool: stint.pool.clone(),
            model: format!("{}/{}", stint.endpoint, stint.model),
            revision: stint.revision.clone(),
            first_job: stint.first_job,
            last_job: stint.last_job,
            jobs: stint.jobs,
            spent: Spent::of(&stint.spent.unwrap_or_default(), stint.unpriced_calls),
            p50_ms: stint.p50_ms,
            p95_ms: stint.p95_ms,
            reused: (stint.reused > 0).then_some(Reused {
                answers: stint.reused,
                from_ms: stint.reused_from_ms,
                to_ms: stint.reused_to_ms,
            }),
            fingerprints: stint.fingerprints.clone(),
        }
    }
}

impl Stint {
    /// The model with all that its provider told of its revision.
    fn revision_words(&self) -> String {
        let mut words = clean_line(&self.model);
        let mut told = Vec::new();
        if !self.revision.is_empty() {
            told.push(format!("revision {}", clean_line(&self.revision)));
        }
        if let Some(first) = self.fingerprints.first().filter(|first| **first != self.revision) {
            told.push(format!("fingerprint {}", clean_line(first)));
        }
        match told.is_empty() {
            true => words.push_str(" (no revision told)"),
            false => words.push_str(&format!(" ({})", told.join(", "))),
        }
        words
    }
}

impl PromptModels {
    pub(super) fn of(prompt: &pb::Prompt) -> Self {
        let label = |by: &Option<pb::Provenance>| match by {
            None => String::new(),
            Some(by) if by.revision.is_empty() => clean_line(&format!("{}/{}", by.endpoint, by.model)),
            Some(by) => clean_line(&format!("{}/{} ({})", by.endpoint, by.model, by.revision)),
        };
        PromptModels {
            version: prompt.version,
            written_by: label(&prompt.written_by),
            tried_by: label(&prompt.tried_by),
        }
    }
}

impl Report {
    /// From which job on another model was at work, one sentence for each change.
    pub fn model_changes(&self) -> Vec<String> {
        self.stints_by_pool()
            .iter()
            .flat_map(|(pool, stints)| changes(pool, stints))
            .collect()
    }

    /// How many answers were bought before, when, and by which revision: one sentence for each model.
    pub fn reused_answers(&self) -> Vec<String> {
        let pools = self.stints_by_pool();
        let stints = pools
            .iter()
            .flat_map(|(pool, stints)| stints.iter().map(move |stint| (pool, stint)));
        stints
            .filter_map(|(pool, stint)| {
                let reused = stint.reused?;
                let (from, to) = (when(reused.from_ms), when(reused.to_ms));
                let bought = match from == to {
                    true => from,
                    false => format!("{from} to {to}"),
                };
                Some(format!(
                    "{} of {} of the {pool} were bought before ({bought}) from {}",
                    count(reused.answers),
                    plural(stint.jobs, "answer"),
                    stint.revision_words()
                ))
            })
            .collect()
    }

    /// What was done by `ROLE`, or by `ROLE_POOL`: pools of a role carry different models on purpose.
    fn stints_by_pool(&self) -> BTreeMap<String, Vec<&Stint>> {
        let mut pools: BTreeMap<String, Vec<&Stint>> = BTreeMap::new();
        for (role, stints) in &self.model_stints {
            for stint in stints {
                pools.entry(pool_words(role, &stint.pool)).or_default().push(stint);
            }
        }
        pools
    }

    /// What each model did for each role: how fast it was, and what it cost. None where nothing has been answered.
    pub fn model_table(&self) -> Option<Table> {
        let mut table =
            Table::new(&["role", "model", "jobs", "p50", "p95", "calls", "tokens", "cost"]).right(&[2, 3, 4, 5, 6, 7]);
        for (pool, stints) in self.stints_by_pool() {
            for stint in stints {
                table.row([
                    pool.clone(),
                    clean_line(&stint.model),
                    count(stint.jobs),
                    latency(stint.p50_ms),
                    latency(stint.p95_ms),
                    count(stint.spent.calls),
                    count(stint.spent.tokens),
                    stint.spent.price(),
                ]);
            }
        }
        (!table.is_empty()).then_some(table)
    }

    /// Whose work the prompt to use is; none for the user's own.
    pub(super) fn authors(&self) -> Option<String> {
        let best = self
            .prompt_models
            .iter()
            .find(|prompt| prompt.version == self.best_version)?;
        (!best.written_by.is_empty()).then(|| format!("written by {}, tried by {}", best.written_by, best.tried_by))
    }
}

fn latency(ms: u32) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        _ => format!("{:.2} s", f64::from(ms) / 1000.0),
    }
}

fn changes<'a>(role: &'a str, stints: &'a [&'a Stint]) -> impl Iterator<Item = String> + 'a {
    stints.windows(2).filter_map(move |pair| {
        let [before, after] = pair else { return None };
        let revision = match after.revision.as_str() {
            "" => String::new(),
            revision => format!(" (revision {})", clean_line(revision)),
        };
        let (model, from) = (clean_line(&after.model), count(after.first_job));
        // Results that come later from the old model were asked before, or another agent still uses it.
        Some(match before.last_job < after.first_job {
            true => format!("from job {from} on, the {role} was {model}{revision}"),
            false => format!("from job {from} on, the {role} was {model}{revision} as well"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_told_with_the_job_from_which_on_it_held() {
        let mut run = crate::report::render::tests::run();
        let stint = |model: &str, first_job, last_job| pb::ModelUsage {
            endpoint: "openai".into(),
            model: model.into(),
            revision: if model == "large" {
                "2026-01".into()
            } else {
                String::new()
            },
            first_job,
            last_job,
            jobs: 2,
            spent: Some(pb::Amount {
                calls: 2,
                tokens: 1_500,
                nano_usd: 20_000_000,
            }),
            unpriced_calls: if model == "tiny" { 2 } else { 0 },
            p50_ms: 310,
            p95_ms: 2_040,
            ..Default::default()
        };
        let checker = pb::RoleUsage {
            stints: vec![
                stint("small", 3, 811),
                stint("large", 812, 900),
                stint("tiny", 850, 901),
                pb::ModelUsage {
                    pool: "a".into(),
                    ..stint("huge", 6, 700)
                },
            ],
            ..Default::default()
        };
        run.model_use.insert("checker".into(), checker);
        if let Some(prompt) = run.outcome.as_mut().and_then(|outcome| outcome.prompts.get_mut(1)) {
            let by = |model: &str| {
                Some(pb::Provenance {
                    endpoint: "openai".into(),
                    model: model.into(),
                    ..Default::default()
                })
            };
            (prompt.written_by, prompt.tried_by) = (by("writer"), by("small"));
        }
        let text = Report::of(&run, false).text();
        for part in [
            "from job 812 on, the checker was openai/large (revision 2026-01)\n",
            "from job 850 on, the checker was openai/tiny as well\n",
            "written by openai/writer, tried by openai/small",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(
            !text.contains("the checker was openai/huge"),
            "that is another pool: {text}"
        );
        let table = Report::of(&run, false).model_table().map(|table| table.render(false));
        let table = table.unwrap_or_default();
        for part in [
            "checker    openai/large     2  310 ms  2.04 s      2   1,500          $0.02\n",
            "checker    openai/tiny      2  310 ms  2.04 s      2   1,500  price unknown\n",
            "checker_a  openai/huge      2  310 ms  2.04 s      2   1,500          $0.02\n",
        ] {
            assert!(table.contains(part), "{part:?} is not in\n{table}");
        }
    }

    #[test]
    fn reused_answers_are_told_with_their_revision() {
        let mut run = crate::report::render::tests::run();
        let learner = pb::ModelUsage {
            endpoint: "openai".into(),
            model: "small".into(),
            revision: "small-2026-01-01".into(),
            fingerprints: vec!["fp_1".into()],
            jobs: 360,
            reused: 120,
            reused_from_ms: 1_760_000_000_000,
            reused_to_ms: 1_760_000_000_000,
            ..Default::default()
        };
        let checker = pb::ModelUsage {
            jobs: 9,
            ..learner.clone()
        };
        let of = |stint| pb::RoleUsage {
            stints: vec![stint],
            ..Default::default()
        };
        run.model_use.insert("learner".into(), of(learner));
        run.model_use
            .insert("checker".into(), of(pb::ModelUsage { reused: 0, ..checker }));
        let report = Report::of(&run, false);
        let when = crate::output::when(1_760_000_000_000);
        let told = format!(
            "120 of 360 answers of the learner were bought before ({when}) from openai/small \
             (revision small-2026-01-01, fingerprint fp_1)"
        );
        assert_eq!(report.reused_answers().join("\n"), told);
        assert!(report.text().contains(&told) && report.eval_text().contains(&told));
    }
}
