//! What the simulator is told at its start: from code, a TOML file, the environment or flags.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::faults::FaultKind;

/// All settings of a server. The defaults are a quick and faultless server whose optimizer gives bad advice now and then.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Seed of all random choices.
    pub seed: u64,
    /// Models besides `sim-weak`, `sim-teacher` and `sim-strong`: `name`, or `name=strong` for one that knows all skills.
    pub models: Vec<String>,
    /// The key that callers must send as a bearer token; none is asked for when it is absent.
    pub api_key: Option<Secret>,
    /// How often roles err.
    pub rates: Rates,
    /// How long an answer takes.
    pub latency: Latency,
    /// How many requests are taken.
    pub limit: Limit,
    /// How often each fault strikes by chance, 0..=1.
    pub faults: BTreeMap<FaultKind, f64>,
    /// How long a hanging call hangs, in seconds.
    pub hang_seconds: u64,
    /// The pause between two drops of a slowly dripping body, in milliseconds.
    pub drip_ms: u64,
    /// How many calls the ledger keeps; the oldest are dropped first. Totals are never dropped.
    pub ledger_calls: usize,
}

/// How often each role errs, 0..=1.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Learner answers that are wrong whatever the prompt teaches.
    pub learner_noise: f64,
    /// Generated examples with a wrong target.
    pub label_error: f64,
    /// Wrong solutions of the checker.
    pub checker_error: f64,
    /// Wrong verdicts of the verifier.
    pub verifier_error: f64,
    /// Wrong grades of the judge.
    pub judge_error: f64,
    /// Analyses and recommendations that say nothing of use.
    pub vague_advice: f64,
    /// Refinements that lose a rule taught before.
    pub harmful_advice: f64,
}

/// The time an answer takes, drawn evenly between both ends, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// The least.
    pub min_ms: u64,
    /// The most.
    pub max_ms: u64,
}

/// The limit on requests.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limit {
    /// Most requests in any minute; no limit when absent.
    pub requests_per_minute: Option<usize>,
    /// Whether a refusal says when to come back (`Retry-After`).
    pub retry_after: bool,
}

/// What a model can do as a learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ability {
    /// Makes the mistakes that its prompt does not mend.
    Weak,
    /// Knows all skills.
    Strong,
}

/// A text that is never shown.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether it is this text.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        self.0 == text
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            seed: 1,
            models: Vec::new(),
            api_key: None,
            rates: Rates::default(),
            latency: Latency::default(),
            limit: Limit::default(),
            faults: BTreeMap::new(),
            hang_seconds: 600,
            drip_ms: 250,
            ledger_calls: 200_000,
        }
    }
}

impl Settings {
    /// A mark of all that decides what is answered: seed, models, rates, and the program itself. Two servers with one mark answer a
    /// request alike.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let program = std::env::current_exe().and_then(std::fs::metadata);
        let program = program.map(|file| (file.len(), file.modified().ok()));
        let deciding = format!("{:?} {:?} {:?} {program:?}", self.seed, self.models, self.rates);
        let hash = Sha256::digest(deciding);
        let short: String = hash.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("sipdo-simulator-{short}")
    }
}

impl Default for Rates {
    fn default() -> Self {
        Self {
            learner_noise: 0.0,
            label_error: 0.0,
            checker_error: 0.0,
            verifier_error: 0.0,
            judge_error: 0.0,
            vague_advice: 0.1,
            harmful_advice: 0.05,
        }
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            requests_per_minute: None,
            retry_after: true,
        }
    }
}

impl Settings {
    /// Reads a settings file.
    ///
    /// # Errors
    /// When the file cannot be read or holds an unknown key or a wrong value; the message names the file and the line.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// Checks that all numbers make sense.
    ///
    /// # Errors
    /// When a rate lies outside 0..=1 or the latency's ends are the wrong way round.
    pub fn check(&self) -> anyhow::Result<()> {
        let rates = &self.rates;
        let named = [
            ("learner_noise", rates.learner_noise),
            ("label_error", rates.label_error),
            ("checker_error", rates.checker_error),
            ("verifier_error", rates.verifier_error),
            ("judge_error", rates.judge_error),
            ("vague_advice", rates.vague_advice),
            ("harmful_advice", rates.harmful_advice),
        ];
        let faults = self.faults.iter().map(|(kind, rate)| (kind.name(), *rate));
        for (name, rate) in named.into_iter().chain(faults) {
            ensure!(
                (0.0..=1.0).contains(&rate),
                "the rate {name} is {rate}, but must lie between 0 and 1"
            );
        }
        let Latency { min_ms, max_ms } = self.latency;
        ensure!(
            min_ms <= max_ms,
            "the least latency ({min_ms} ms) is above the greatest ({max_ms} ms)"
        );
        Ok(())
    }

    /// The names of all models.
    pub fn model_names(&self) -> impl Iterator<Item = &str> {
        let own = self.models.iter().map(|model| model.split('=').next().unwrap_or(model));
        ["sim-weak", "sim-teacher", "sim-strong"].into_iter().chain(own)
    }

    /// What the model of this name can do; `None` when there is no such model.
    #[must_use]
    pub fn ability(&self, model: &str) -> Option<Ability> {
        match model {
            "sim-weak" => Some(Ability::Weak),
            "sim-teacher" | "sim-strong" => Some(Ability::Strong),
            _ => self.models.iter().find_map(|entry| match entry.split_once('=') {
                Some((name, "strong")) if name == model => Some(Ability::Strong),
                Some((name, _)) if name == model => Some(Ability::Weak),
                None if entry == model => Some(Ability::Weak),
                _ => None,
            }),
        }
    }
}

/// The command line's settings; what is given wins over the file.
#[derive(Args, Debug, Default)]
pub struct Flags {
    /// Settings file; `simulator.toml` in the current folder is read when it is there.
    #[arg(long, env = "SIPDO_SIM_CONFIG")]
    pub config: Option<PathBuf>,
    /// Seed of all random choices.
    #[arg(long, env = "SIPDO_SIM_SEED")]
    pub seed: Option<u64>,
    /// One more model, `name` or `name=strong`; may be repeated.
    #[arg(long = "model", env = "SIPDO_SIM_MODELS", value_delimiter = ',')]
    pub models: Vec<String>,
    /// Key that callers must send as a bearer token.
    #[arg(long, env = "SIPDO_SIM_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Rate of learner answers that are wrong whatever the prompt teaches.
    #[arg(long, env = "SIPDO_SIM_LEARNER_NOISE")]
    pub learner_noise: Option<f64>,
    /// Rate of generated examples with a wrong target.
    #[arg(long, env = "SIPDO_SIM_LABEL_ERROR_RATE")]
    pub label_error_rate: Option<f64>,
    /// Rate of wrong solutions of the checker.
    #[arg(long, env = "SIPDO_SIM_CHECKER_ERROR_RATE")]
    pub checker_error_rate: Option<f64>,
    /// Rate of wrong verdicts of the verifier.
    #[arg(long, env = "SIPDO_SIM_VERIFIER_ERROR_RATE")]
    pub verifier_error_rate: Option<f64>,
    /// Rate of wrong grades of the judge.
    #[arg(long, env = "SIPDO_SIM_JUDGE_ERROR_RATE")]
    pub judge_error_rate: Option<f64>,
    /// Rate of advice that says nothing of use.
    #[arg(long, env = "SIPDO_SIM_VAGUE_ADVICE_RATE")]
    pub vague_advice_rate: Option<f64>,
    /// Rate of refinements that lose a rule taught before.
    #[arg(long, env = "SIPDO_SIM_HARMFUL_ADVICE_RATE")]
    pub harmful_advice_rate: Option<f64>,
    /// Milliseconds an answer takes: `200`, or `100-400` for a time drawn evenly from this range.
    #[arg(long, env = "SIPDO_SIM_LATENCY_MS", value_parser = latency)]
    pub latency_ms: Option<Latency>,
    /// Most requests in any minute.
    #[arg(long, env = "SIPDO_SIM_REQUESTS_PER_MINUTE")]
    pub requests_per_minute: Option<usize>,
    /// Do not say in a refusal when to come back.
    #[arg(long)]
    pub no_retry_after: bool,
    /// A fault by chance, as `kind=rate`; may be repeated.
    #[arg(long = "fault", env = "SIPDO_SIM_FAULTS", value_delimiter = ',', value_parser = fault)]
    pub faults: Vec<(FaultKind, f64)>,
}

impl Flags {
    /// The file's settings with the flags laid over them.
    ///
    /// # Errors
    /// When the settings file or the result is not sound.
    pub fn settings(self) -> anyhow::Result<Settings> {
        let standard = Path::new("simulator.toml");
        let mut settings = match &self.config {
            Some(path) => Settings::read(path)?,
            None if standard.exists() => Settings::read(standard)?,
            None => Settings::default(),
        };
        let rates = &mut settings.rates;
        set(&mut rates.learner_noise, self.learner_noise);
        set(&mut rates.label_error, self.label_error_rate);
        set(&mut rates.checker_error, self.checker_error_rate);
        set(&mut rates.verifier_error, self.verifier_error_rate);
        set(&mut rates.judge_error, self.judge_error_rate);
        set(&mut rates.vague_advice, self.vague_advice_rate);
        set(&mut rates.harmful_advice, self.harmful_advice_rate);
        set(&mut settings.seed, self.seed);
        set(&mut settings.latency, self.latency_ms);
        settings.models.extend(self.models);
        settings.api_key = self.api_key.map(Secret::new).or(settings.api_key);
        settings.limit.requests_per_minute = self.requests_per_minute.or(settings.limit.requests_per_minute);
        settings.limit.retry_after &= !self.no_retry_after;
        settings.faults.extend(self.faults);
        settings.check()?;
        Ok(settings)
    }
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

fn latency(text: &str) -> Result<Latency, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|_| format!("{text:?} is not a number of milliseconds"))
    };
    let (min, max) = text.split_once('-').unwrap_or((text, text));
    Ok(Latency {
        min_ms: number(min)?,
        max_ms: number(max)?,
    })
}

fn fault(text: &str) -> Result<(FaultKind, f64), String> {
    let (kind, rate) = text
        .split_once('=')
        .ok_or("write kind=rate, such as rate_limited=0.1")?;
    let kind =
        FaultKind::named(kind).ok_or_else(|| format!("there is no fault {kind:?}; known: {}", FaultKind::names()))?;
    Ok((kind, rate.parse().map_err(|_| format!("{rate:?} is not a rate"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("simulator.toml");
        std::fs::write(
            &path,
            "seed = 9\n[rates]\nlabel_error = 0.15\n[faults]\nrate_limited = 0.5\n",
        )
        .unwrap();
        let settings = Settings::read(&path).unwrap();
        assert_eq!(
            (settings.seed, settings.rates.label_error, settings.rates.vague_advice),
            (9, 0.15, 0.1)
        );
        std::fs::write(&path, "\nsed = 9\n").unwrap();
        let error = format!("{:#}", Settings::read(&path).unwrap_err());
        assert!(error.contains("simulator.toml") && error.contains("sed"), "{error}");
    }

    #[test]
    fn flags_win_and_are_checked() {
        let flags = || Flags {
            label_error_rate: Some(0.2),
            latency_ms: latency("100-400").ok(),
            ..Flags::default()
        };
        let settings = flags().settings().unwrap();
        assert_eq!((settings.rates.label_error, settings.latency.max_ms), (0.2, 400));
        let wrong = Flags {
            faults: vec![fault("hang=2").unwrap()],
            ..flags()
        };
        assert!(wrong.settings().unwrap_err().to_string().contains("hang"));
        assert!(fault("nonsense=1").unwrap_err().contains("rate_limited"));
    }

    #[test]
    fn models_are_known_by_name_and_keys_stay_secret() {
        let settings = Settings {
            models: vec!["mine".into(), "big=strong".into()],
            api_key: Some(Secret::new("sk-1")),
            ..Settings::default()
        };
        assert_eq!(settings.ability("mine"), Some(Ability::Weak));
        assert_eq!(settings.ability("big"), Some(Ability::Strong));
        assert_eq!(settings.ability("gpt"), None);
        assert!(!format!("{settings:?}").contains("sk-1"));
    }
}
